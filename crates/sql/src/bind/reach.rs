//! Which rows a condition can be about: by the keys it names, so that the rest need not be read.
//!
//! A narrowing is never wrong, only sometimes too wide: whoever reads the rows tests the condition again.

use std::borrow::Cow;

use baton_model::{ColumnType, Datum, Key, TableKind, TableSchema, encode_key, shard_ordinal};
use serde::{Deserialize, Serialize};

use crate::expression::coerce::store;
use crate::expression::{Comparison, Expression, Number, Value};
use crate::limits::POINT_KEYS_MAX;

/// Below this one every integer is a double of its own, so that doubles and integers compare as integers do.
const EXACT_DOUBLE_END: f64 = (1_u64 << 53) as f64;

/// Which rows of a partition may be meant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Those with these keys, if they are there. Sorted, each once.
    Keys(Vec<Key>),
    /// Those whose key begins so.
    Prefix(Key),
    /// All.
    All,
}

/// Which partitions may hold rows that are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Partitions {
    /// All; and of a reference table the one place where it is.
    All,
    /// Those with these ordinals, sorted. May be none.
    These(Vec<u32>),
}

/// What a condition narrows to.
pub(crate) struct Reach {
    pub(crate) partitions: Partitions,
    pub(crate) access: Access,
    /// The keys with the ordinals they live at, if `access` is by keys.
    pub(crate) keys: Vec<(u32, Key)>,
}

impl Reach {
    /// What is to be read of one partition.
    pub(crate) fn of(&self, ordinal: u32) -> Access {
        match &self.access {
            Access::Keys(_) => {
                let mut keys: Vec<Key> =
                    self.keys.iter().filter(|(at, _)| *at == ordinal).map(|(_, key)| key.clone()).collect();
                keys.sort_unstable();
                Access::Keys(keys)
            }
            other => other.clone(),
        }
    }
}

/// What a condition narrows to in a table with so many partitions.
pub(crate) fn reach(schema: &TableSchema, condition: Option<&Expression>, partitions: u32) -> Reach {
    let mut pins: Vec<Option<Vec<Datum>>> = vec![None; schema.columns.len()];
    if let Some(condition) = condition {
        pin(schema, condition, &mut pins);
    }
    let sharded = schema.kind == TableKind::Sharded;
    let keys = product(&schema.primary_key, &pins);
    if let Some(rows) = keys.filter(|_| !schema.primary_key.is_empty()) {
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            // A key that is too long for a row is no row's.
            let Ok(key) = encode_key(row.iter().copied()) else { continue };
            let shard = schema.shard_key.iter().filter_map(|position| {
                schema.primary_key.iter().position(|of_key| of_key == position).map(|at| row[at])
            });
            let ordinal = if sharded { shard_ordinal(shard, partitions) } else { 0 };
            keys.push((ordinal, key));
        }
        keys.sort_unstable();
        keys.dedup();
        let mut ordinals: Vec<u32> = keys.iter().map(|(ordinal, _)| *ordinal).collect();
        ordinals.dedup();
        let mut all: Vec<Key> = keys.iter().map(|(_, key)| key.clone()).collect();
        all.sort_unstable();
        let partitions = if sharded { Partitions::These(ordinals) } else { Partitions::All };
        return Reach { partitions, access: Access::Keys(all), keys };
    }
    let partitions = match product(&schema.shard_key, &pins) {
        Some(rows) if sharded && !schema.shard_key.is_empty() => {
            let mut ordinals: Vec<u32> = rows.into_iter().map(|row| shard_ordinal(row, partitions)).collect();
            ordinals.sort_unstable();
            ordinals.dedup();
            Partitions::These(ordinals)
        }
        _ => Partitions::All,
    };
    Reach { partitions, access: prefix(schema, &pins), keys: Vec::new() }
}

/// The beginning of the key, as far as each of its columns has one value.
fn prefix(schema: &TableSchema, pins: &[Option<Vec<Datum>>]) -> Access {
    let values: Vec<&Datum> = schema
        .primary_key
        .iter()
        .map_while(|position| match pins[*position].as_deref() {
            Some([only]) => Some(only),
            _ => None,
        })
        .collect();
    match encode_key(values.iter().copied()) {
        Ok(prefix) if !values.is_empty() => Access::Prefix(prefix),
        _ => Access::All,
    }
}

/// Every combination of the values that these columns may have; None if one may have any, or if there are too many.
fn product<'a>(columns: &[usize], pins: &'a [Option<Vec<Datum>>]) -> Option<Vec<Vec<&'a Datum>>> {
    let mut rows: Vec<Vec<&Datum>> = vec![Vec::new()];
    for position in columns {
        let values = pins[*position].as_ref()?;
        if rows.len() * values.len() > POINT_KEYS_MAX {
            return None;
        }
        rows = rows
            .iter()
            .flat_map(|row| values.iter().map(move |value| row.iter().copied().chain([value]).collect()))
            .collect();
    }
    Some(rows)
}

/// Notes the columns that a condition leaves a few values only.
fn pin(schema: &TableSchema, condition: &Expression, pins: &mut [Option<Vec<Datum>>]) {
    match condition {
        Expression::And(terms) => terms.iter().for_each(|term| pin(schema, term, pins)),
        Expression::Compare(Comparison::Equal, left, right) | Expression::NullSafeEqual(left, right) => {
            let (column, literal) = match (&**left, &**right) {
                (Expression::Column(column, _), Expression::Literal(literal))
                | (Expression::Literal(literal), Expression::Column(column, _)) => (*column, literal),
                _ => return,
            };
            // `a <=> NULL` is true of rows, `a = NULL` of none.
            if literal.is_null() && matches!(condition, Expression::NullSafeEqual(..)) {
                return;
            }
            note(schema, column, std::slice::from_ref(literal).iter(), pins);
        }
        Expression::Or(terms) => {
            // `a = 1 OR a = 2` is `a IN (1, 2)`.
            let mut of = None;
            let mut literals = Vec::with_capacity(terms.len());
            for term in terms {
                let Expression::Compare(Comparison::Equal, left, right) = term else { return };
                let (Expression::Column(column, _), Expression::Literal(literal)) = (&**left, &**right)
                else {
                    return;
                };
                if *of.get_or_insert(*column) != *column {
                    return;
                }
                literals.push(literal);
            }
            if let Some(column) = of {
                note(schema, column, literals.into_iter(), pins);
            }
        }
        Expression::In(inner, list) => {
            let Expression::Column(column, _) = &**inner else { return };
            let literals: Option<Vec<&Value<'static>>> = list
                .iter()
                .map(|item| match item {
                    Expression::Literal(literal) => Some(literal),
                    _ => None,
                })
                .collect();
            if let Some(literals) = literals {
                note(schema, *column, literals.into_iter(), pins);
            }
        }
        _ => {}
    }
}

/// Notes the values that a column may have; nothing if one of them is not exactly one datum.
fn note<'a>(
    schema: &TableSchema,
    column: usize,
    literals: impl Iterator<Item = &'a Value<'static>>,
    pins: &mut [Option<Vec<Datum>>],
) {
    let (Some(pin), Some(declared)) = (pins.get_mut(column), schema.columns.get(column)) else { return };
    let mut values = Vec::new();
    for literal in literals {
        match stored_as(literal, declared.column_type) {
            Stored::One(datum) => values.push(datum),
            Stored::Never => {}
            Stored::Unclear => return,
        }
    }
    values.sort_unstable();
    values.dedup();
    // Of two conditions on the same column both hold; either narrows rightly.
    if pin.as_ref().is_none_or(|earlier| earlier.len() > values.len()) {
        *pin = Some(values);
    }
}

/// The stored values that are equal to a literal.
enum Stored {
    /// This one alone.
    One(Datum),
    /// None.
    Never,
    /// Not so simple.
    Unclear,
}

fn stored_as(literal: &Value<'static>, column_type: ColumnType) -> Stored {
    match (column_type, literal) {
        (_, Value::Null) => Stored::Never,
        (ColumnType::Bool | ColumnType::Int { .. }, literal) => {
            // A text that is an integer was bound as one.
            let number = match literal {
                Value::Int(_) | Value::UInt(_) | Value::Double(_) => literal.number(),
                _ => None,
            };
            let exact = match number {
                Some(Number::Int(v)) => Some(v),
                Some(Number::Double(v)) if v.fract() == 0.0 && v.abs() < EXACT_DOUBLE_END => Some(v as i128),
                _ => None,
            };
            match exact {
                None => Stored::Unclear,
                Some(v) => match Number::Int(v).into_value().map(|value| store(value, column_type)) {
                    Ok(Ok(datum)) => Stored::One(datum),
                    _ => Stored::Never,
                },
            }
        }
        (
            ColumnType::Float | ColumnType::Double,
            Value::Int(_) | Value::UInt(_) | Value::Decimal(..) | Value::Double(_),
        ) => match literal.double() {
            Some(v) if v.is_finite() => Stored::One(Datum::Double(if v == 0.0 { 0.0 } else { v })),
            _ => Stored::Unclear,
        },
        (ColumnType::Decimal { scale, .. }, Value::Int(_) | Value::UInt(_) | Value::Decimal(..)) => {
            let fits = match literal.number() {
                Some(Number::Decimal(_, of_literal)) => of_literal <= scale,
                _ => true,
            };
            match store(literal.clone(), column_type) {
                Ok(datum) if fits => Stored::One(datum),
                _ => Stored::Unclear,
            }
        }
        (
            ColumnType::Char(_) | ColumnType::Varchar(_) | ColumnType::Text | ColumnType::Json,
            Value::Text(text),
        ) => Stored::One(Datum::Text(text.clone().into_owned())),
        (ColumnType::Varbinary(_) | ColumnType::Blob, Value::Bytes(bytes)) => {
            Stored::One(Datum::Bytes(bytes.clone().into_owned()))
        }
        (ColumnType::Varbinary(_) | ColumnType::Blob, Value::Text(Cow::Borrowed(text))) => {
            Stored::One(Datum::Bytes(text.as_bytes().to_vec()))
        }
        (ColumnType::Varbinary(_) | ColumnType::Blob, Value::Text(Cow::Owned(text))) => {
            Stored::One(Datum::Bytes(text.clone().into_bytes()))
        }
        (ColumnType::Date, Value::Text(_) | Value::Date(_) | Value::DateTime(_)) => {
            match (literal.datetime(), literal.date()) {
                (Some(moment), Some(day)) if Value::Date(day).datetime() == Some(moment) => {
                    Stored::One(Datum::Date(day))
                }
                _ => Stored::Unclear,
            }
        }
        (
            ColumnType::DateTime | ColumnType::Timestamp,
            Value::Text(_) | Value::Date(_) | Value::DateTime(_),
        ) => literal.datetime().map_or(Stored::Unclear, |moment| Stored::One(Datum::DateTime(moment))),
        _ => Stored::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expression::compare;

    fn column_type() -> impl Strategy<Value = ColumnType> {
        prop_oneof![
            Just(ColumnType::Bool),
            Just(ColumnType::Int { bits: 64, unsigned: false }),
            Just(ColumnType::Int { bits: 64, unsigned: true }),
            Just(ColumnType::Double),
            Just(ColumnType::Decimal { precision: 10, scale: 2 }),
            Just(ColumnType::Char(3)),
            Just(ColumnType::Text),
            Just(ColumnType::Blob),
            Just(ColumnType::Date),
            Just(ColumnType::DateTime),
        ]
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        prop_oneof![
            (-3_i64..4).prop_map(Value::Int),
            any::<i64>().prop_map(Value::Int),
            (0_u64..3).prop_map(Value::UInt),
            (-300_i128..300, 0_u8..4).prop_map(|(v, scale)| Value::Decimal(v, scale)),
            (-4..4).prop_map(|v| Value::Double(f64::from(v) / 2.0)),
            "[ 0-2]{0,3}".prop_map(Value::text),
            Just(Value::text("1970-01-01")),
            Just(Value::text("1970-01-02 00:00:00")),
            Just(Value::text("1970-01-02 00:00:01")),
            (0..3).prop_map(Value::Date),
            (0_i64..3).prop_map(|v| Value::DateTime(v * 43_200_000_000)),
        ]
    }

    proptest! {
        /// Whatever is stored and equal to the literal is found where the literal says that it is.
        #[test]
        fn a_pinned_column_misses_no_row(column_type in column_type(), stored in value(), literal in value()) {
            if let Ok(datum) = store(stored, column_type) {
                let equal = compare(&Value::of_column(&datum, column_type), &literal).is_some_and(|o| o.is_eq());
                match stored_as(&literal, column_type) {
                    Stored::One(only) => prop_assert!(!equal || only == datum, "{only} is not {datum}"),
                    Stored::Never => prop_assert!(!equal),
                    Stored::Unclear => {}
                }
            }
        }
    }
}
