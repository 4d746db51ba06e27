//! Expressions over one row, with MySQL's meaning, and how they are computed.
//!
//! An [`Expression`] is what an UPDATE, a DELETE or a scan sends to a leaf, and what constants of an INSERT are made
//! of. It is data: names are resolved, `NOW()` and session functions are already values, so that every leaf computes
//! the same. NULL, truth (0, 1, NULL), conversions between text and numbers and the results of division are MySQL's.
//! Strings compare by their bytes.
//! Not here: aggregates and subqueries, which are queries (`read`).

pub(crate) mod calendar;
pub(crate) mod coerce;
pub(crate) mod functions;
mod like;
mod operators;
mod value;

use std::cmp::Ordering;

use baton_model::errors::SqlError;
use baton_model::{ColumnType, Datum};
use serde::{Deserialize, Serialize};

pub(crate) use functions::FunctionRef;
pub(crate) use like::{Pattern, REGULAR_ESCAPE};
pub(crate) use operators::{arithmetic, bit_not, compare, negate};
pub use value::Value;
pub(crate) use value::{Number, exact_number, out_of_range, parse_number, rescale};

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds for values in this order.
    pub(crate) const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    /// The same comparison with its sides exchanged.
    pub(crate) const fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// An operation on two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    IntegerDivide,
    Modulo,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
}

/// An expression over the columns of one table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Expression {
    /// A value.
    Literal(Value<'static>),
    /// A column, by its position in the row.
    Column(usize, ColumnType),
    /// True if any is false, NULL if none is false and one is NULL: logical AND of at least one.
    And(Vec<Expression>),
    /// Logical OR of at least one.
    Or(Vec<Expression>),
    /// Logical XOR.
    Xor(Box<Expression>, Box<Expression>),
    /// Logical NOT.
    Not(Box<Expression>),
    /// `-x`.
    Negate(Box<Expression>),
    /// `~x`.
    BitNot(Box<Expression>),
    /// `=` and its kin; NULL if a side is NULL.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// `<=>`: never NULL.
    NullSafeEqual(Box<Expression>, Box<Expression>),
    /// `+` and its kin.
    Arithmetic(Arithmetic, Box<Expression>, Box<Expression>),
    /// `x IS NULL`.
    IsNull(Box<Expression>),
    /// `x IS TRUE` or `x IS FALSE`.
    Is(Box<Expression>, bool),
    /// `x IN (…)`.
    In(Box<Expression>, Vec<Expression>),
    /// `x LIKE pattern`, and the character that takes a wildcard its meaning.
    Like(Box<Expression>, Box<Expression>, Option<char>),
    /// `CASE WHEN condition THEN result … ELSE otherwise END`.
    Case(Vec<(Expression, Expression)>, Option<Box<Expression>>),
    /// A function and its arguments.
    Call(FunctionRef, Vec<Expression>),
}

impl Expression {
    /// The value for a row. A row that is shorter than its table (a column was added later) has NULLs at its end.
    ///
    /// # Errors
    /// A number out of range.
    pub fn evaluate<'a>(&'a self, row: &'a [Datum]) -> Result<Value<'a>, SqlError> {
        Ok(match self {
            Self::Literal(value) => value.borrowed(),
            Self::Column(index, column_type) => {
                row.get(*index).map_or(Value::Null, |datum| Value::of_column(datum, *column_type))
            }
            Self::And(terms) => connect(terms, row, false)?,
            Self::Or(terms) => connect(terms, row, true)?,
            Self::Xor(left, right) => match (left.truth(row)?, right.truth(row)?) {
                (Some(left), Some(right)) => Value::truth(left != right),
                _ => Value::Null,
            },
            Self::Not(inner) => truth_value(inner.truth(row)?.map(|truth| !truth)),
            Self::Negate(inner) => negate(&inner.evaluate(row)?)?,
            Self::BitNot(inner) => bit_not(&inner.evaluate(row)?),
            Self::Compare(comparison, left, right) => {
                let order = compare(&left.evaluate(row)?, &right.evaluate(row)?);
                truth_value(order.map(|order| comparison.holds(order)))
            }
            Self::NullSafeEqual(left, right) => {
                let (left, right) = (left.evaluate(row)?, right.evaluate(row)?);
                let both_null = left.is_null() && right.is_null();
                Value::truth(both_null || compare(&left, &right).is_some_and(Ordering::is_eq))
            }
            Self::Arithmetic(operation, left, right) => {
                arithmetic(*operation, &left.evaluate(row)?, &right.evaluate(row)?)?
            }
            Self::IsNull(inner) => Value::truth(inner.evaluate(row)?.is_null()),
            Self::Is(inner, wanted) => Value::truth(inner.truth(row)? == Some(*wanted)),
            Self::In(inner, list) => is_in(&inner.evaluate(row)?, list, row)?,
            Self::Like(inner, pattern, escape) => {
                let (text, pattern) = (inner.evaluate(row)?.into_text(), pattern.evaluate(row)?.into_text());
                match (text, pattern) {
                    (Some(text), Some(pattern)) => {
                        Value::truth(Pattern::new(&pattern, *escape).matches(&text))
                    }
                    _ => Value::Null,
                }
            }
            Self::Case(branches, otherwise) => {
                for (condition, result) in branches {
                    if condition.truth(row)? == Some(true) {
                        return result.evaluate(row);
                    }
                }
                match otherwise {
                    Some(otherwise) => otherwise.evaluate(row)?,
                    None => Value::Null,
                }
            }
            Self::Call(function, arguments) => {
                let arguments: Result<Vec<_>, _> = arguments.iter().map(|a| a.evaluate(row)).collect();
                function.call(arguments?)?
            }
        })
    }

    /// Whether it holds for a row; None is NULL.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn truth(&self, row: &[Datum]) -> Result<Option<bool>, SqlError> {
        Ok(self.evaluate(row)?.is_true())
    }

    /// Whether its value is the same for every row and every time.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Column(..) => false,
            Self::And(terms) | Self::Or(terms) => terms.iter().all(Self::is_constant),
            Self::Not(a) | Self::Negate(a) | Self::BitNot(a) | Self::IsNull(a) | Self::Is(a, _) => {
                a.is_constant()
            }
            Self::Xor(a, b)
            | Self::Compare(_, a, b)
            | Self::NullSafeEqual(a, b)
            | Self::Arithmetic(_, a, b)
            | Self::Like(a, b, _) => a.is_constant() && b.is_constant(),
            Self::In(a, list) => a.is_constant() && list.iter().all(Self::is_constant),
            Self::Case(branches, otherwise) => {
                branches.iter().all(|(c, r)| c.is_constant() && r.is_constant())
                    && otherwise.as_ref().is_none_or(|o| o.is_constant())
            }
            Self::Call(function, arguments) => {
                !function.is_volatile() && arguments.iter().all(Self::is_constant)
            }
        }
    }

    /// The same expression, computed now if it is constant. One that would fail stays, to fail where it is used.
    pub(crate) fn folded(self) -> Self {
        if matches!(self, Self::Literal(_)) || !self.is_constant() {
            return self;
        }
        match self.evaluate(&[]).map(Value::into_owned) {
            Ok(value) => Self::Literal(value),
            Err(_) => self,
        }
    }
}

fn truth_value(truth: Option<bool>) -> Value<'static> {
    truth.map_or(Value::Null, Value::truth)
}

/// AND (`decisive` false) and OR (`decisive` true): the first decisive term decides; else NULL if one is NULL.
fn connect<'a>(terms: &'a [Expression], row: &'a [Datum], decisive: bool) -> Result<Value<'a>, SqlError> {
    let mut unknown = false;
    for term in terms {
        match term.truth(row)? {
            Some(truth) if truth == decisive => return Ok(Value::truth(decisive)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::truth(!decisive) })
}

fn is_in<'a>(value: &Value<'a>, list: &'a [Expression], row: &'a [Datum]) -> Result<Value<'a>, SqlError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let mut unknown = false;
    for item in list {
        match compare(value, &item.evaluate(row)?) {
            Some(Ordering::Equal) => return Ok(Value::truth(true)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::truth(false) })
}
