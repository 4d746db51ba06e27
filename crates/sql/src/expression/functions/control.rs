//! Choosing one of the arguments.

use std::cmp::Ordering;

use baton_model::errors::SqlError;

use super::{Function, MANY, Returns, Value, arguments, function};
use crate::expression::compare;

pub(super) const ALL: &[Function] = &[
    function("if", (3, 3), Returns::Common(1), |values| {
        let [condition, then, otherwise] = arguments(values);
        Ok(if condition.is_true() == Some(true) { then } else { otherwise })
    }),
    function("ifnull", (2, 2), Returns::Common(0), first_given),
    function("nvl", (2, 2), Returns::Common(0), first_given),
    function("coalesce", (1, MANY), Returns::Common(0), first_given),
    function("nullif", (2, 2), Returns::Common(0), |values| {
        let [value, other] = arguments(values);
        let same = compare(&value, &other) == Some(Ordering::Equal);
        Ok(if same { Value::Null } else { value })
    }),
    function("isnull", (1, 1), Returns::Int, |values| {
        let [value] = arguments(values);
        Ok(Value::truth(value.is_null()))
    }),
    function("greatest", (2, MANY), Returns::Common(0), |values| Ok(extreme(values, Ordering::Greater))),
    function("least", (2, MANY), Returns::Common(0), |values| Ok(extreme(values, Ordering::Less))),
    function("field", (2, MANY), Returns::Int, |values| {
        let (wanted, list) = values.split_first().expect("it takes two arguments or more");
        let found = list.iter().position(|item| compare(wanted, item) == Some(Ordering::Equal));
        Ok(Value::Int(found.map_or(0, |position| position as i64 + 1)))
    }),
    function("elt", (2, MANY), Returns::Common(1), |values| {
        let index =
            values[0].integer64().and_then(|index| usize::try_from(index).ok()).filter(|index| *index > 0);
        Ok(index.and_then(|index| values.into_iter().nth(index)).unwrap_or(Value::Null))
    }),
];

fn first_given<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    Ok(values.into_iter().find(|value| !value.is_null()).unwrap_or(Value::Null))
}

/// The value that comes out on this side of all others; NULL if one is NULL.
fn extreme(values: Vec<Value<'_>>, side: Ordering) -> Value<'_> {
    let mut values = values.into_iter();
    let mut best = values.next().unwrap_or(Value::Null);
    for value in values {
        match compare(&value, &best) {
            None => return Value::Null,
            Some(order) if order == side => best = value,
            Some(_) => {}
        }
    }
    best
}
