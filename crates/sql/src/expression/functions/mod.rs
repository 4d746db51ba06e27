//! The functions, each with MySQL's name and meaning: one table, used on the leaves, for constants and in queries.
//!
//! Names that begin with two underscores are what syntax is turned into (`CAST(x AS SIGNED)` is `__signed(x)`);
//! nobody can write them, because `parse` refuses such calls.
//! Not here: what depends on the session or the clock. That is a value before a function sees it.

mod casts;
mod control;
mod numbers;
mod text;
mod times;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use baton_model::errors::{ErrorCode, SqlError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::text::unhex;
use super::Value;

/// What a function answers with, as far as its name tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Returns {
    Text,
    Bytes,
    Int,
    UInt,
    Double,
    Date,
    DateTime,
    /// A decimal with the precision and scale that the second and third argument name.
    Decimal,
    /// What all arguments from this one on can be turned into.
    Common(usize),
    /// The number that the arguments together make: integer, decimal or double.
    Number,
    /// An integer, unsigned if an argument is.
    Integer,
    /// The number that the argument is, and signed if it is an integer.
    Opposite,
    /// What sums are made of: the number that the argument is, and a decimal if it is an integer.
    Summand,
    /// As the first argument, with the digits behind the point that the second names; none without it.
    Rounded,
    /// A decimal with four digits more than the first argument has, or a double.
    Quotient,
    /// As the first argument, but without digits behind the point.
    WholeNumber,
    /// A day if the first argument is a day and the third a unit of days; else a moment.
    Moved,
}

/// A function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// How many arguments it takes.
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) returns: Returns,
    /// Whether two calls with the same arguments may differ.
    pub(crate) volatile: bool,
    body: Body,
}

/// Arguments to value. The number of arguments was checked.
type Body = for<'a> fn(Vec<Value<'a>>) -> Result<Value<'a>, SqlError>;

const MANY: usize = 1024;

const fn function(name: &'static str, arguments: (usize, usize), returns: Returns, body: Body) -> Function {
    Function { name, least: arguments.0, most: arguments.1, returns, volatile: false, body }
}

static ALL: LazyLock<BTreeMap<&'static str, &'static Function>> = LazyLock::new(|| {
    [casts::ALL, control::ALL, numbers::ALL, text::ALL, times::ALL]
        .into_iter()
        .flatten()
        .map(|function| (function.name, function))
        .collect()
});

/// A function of the table.
#[derive(Clone, Copy)]
pub struct FunctionRef(pub(crate) &'static Function);

impl FunctionRef {
    /// Every function.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        ALL.values().map(|function| Self(function))
    }

    /// The function of this name, without case.
    pub(crate) fn find(name: &str) -> Option<Self> {
        ALL.get(name.to_ascii_lowercase().as_str()).map(|function| Self(function))
    }

    /// Refuses a wrong number of arguments.
    pub(crate) fn check(self, arguments: usize) -> Result<(), SqlError> {
        if (self.0.least..=self.0.most).contains(&arguments) {
            return Ok(());
        }
        let text = format!("Incorrect parameter count in the call to native function '{}'", self.0.name);
        Err(SqlError::new(ErrorCode::WrongArguments, text))
    }

    pub(crate) const fn is_volatile(self) -> bool {
        self.0.volatile
    }

    pub(crate) fn call<'a>(self, arguments: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
        (self.0.body)(arguments)
    }
}

impl PartialEq for FunctionRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl fmt::Debug for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Serialize for FunctionRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl<'de> Deserialize<'de> for FunctionRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown function {name}")))
    }
}

/// The arguments as an array of the length that the table promises, missing ones as NULL.
fn arguments<'a, const N: usize>(values: Vec<Value<'a>>) -> [Value<'a>; N] {
    let mut values = values.into_iter();
    std::array::from_fn(|_| values.next().unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of a call whose arguments are written as literals, as text.
    fn result(name: &str, literals: &[&str]) -> String {
        let values = literals.iter().map(|literal| match super::super::parse_number(literal) {
            Some(number) => number.into_value().unwrap(),
            None if *literal == "NULL" => Value::Null,
            None => Value::text(*literal),
        });
        let function = FunctionRef::find(name).unwrap();
        function.check(literals.len()).unwrap();
        match function.call(values.collect()) {
            Ok(value) => value.shown(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn functions_answer_as_mysql_does() {
        for (name, literals, expected) in [
            ("concat", &["a", "1", "b"][..], "a1b"),
            ("concat", &["a", "NULL"], "NULL"),
            ("concat_ws", &[",", "a", "NULL", "b"], "a,b"),
            ("substring", &["baton", "2"], "aton"),
            ("substring", &["baton", "-3", "2"], "to"),
            ("substring", &["baton", "0"], ""),
            ("left", &["grüße", "3"], "grü"),
            ("right", &["grüße", "2"], "ße"),
            ("length", &["grüße"], "7"),
            ("char_length", &["grüße"], "5"),
            ("lpad", &["5", "3", "0"], "005"),
            ("rpad", &["hello", "2", "x"], "he"),
            ("instr", &["foobar", "bar"], "4"),
            ("locate", &["bar", "foobarbar", "5"], "7"),
            ("substring_index", &["www.baton.db", ".", "2"], "www.baton"),
            ("substring_index", &["www.baton.db", ".", "-1"], "db"),
            ("replace", &["aXbX", "X", "-"], "a-b-"),
            ("__trim", &["BOTH", "x", "xxbarxx"], "bar"),
            ("hex", &["255"], "FF"),
            ("unhex", &["4D79"], "My"),
            ("field", &["b", "a", "b"], "2"),
            ("find_in_set", &["b", "a,b,c"], "2"),
            ("if", &["1", "yes", "no"], "yes"),
            ("ifnull", &["NULL", "2"], "2"),
            ("nullif", &["1", "1.0"], "NULL"),
            ("coalesce", &["NULL", "NULL", "x"], "x"),
            ("greatest", &["1", "3", "2"], "3"),
            ("least", &["1", "NULL"], "NULL"),
            ("round", &["2.5"], "3"),
            ("round", &["-1.255", "2"], "-1.26"),
            ("round", &["1234", "-2"], "1200"),
            ("truncate", &["1.999", "1"], "1.9"),
            ("floor", &["-1.5"], "-2"),
            ("ceil", &["-1.5"], "-1"),
            ("abs", &["-9223372036854775807"], "9223372036854775807"),
            ("mod", &["7", "3"], "1"),
            ("pow", &["2", "10"], "1024"),
            ("sqrt", &["-1"], "NULL"),
            ("log", &["0"], "NULL"),
            ("date", &["2024-02-29 12:00:00"], "2024-02-29"),
            ("year", &["2024-02-29"], "2024"),
            ("dayofweek", &["2024-02-29"], "5"),
            ("last_day", &["2024-02-01"], "2024-02-29"),
            ("datediff", &["2024-03-01", "2024-02-28 23:00:00"], "2"),
            ("__date_add", &["2024-01-31", "1", "MONTH"], "2024-02-29 00:00:00"),
            ("timestampdiff", &["DAY", "2024-01-01", "2024-02-01"], "31"),
            ("unix_timestamp", &["1970-01-02"], "86400"),
            ("from_unixtime", &["86400"], "1970-01-02 00:00:00"),
            ("date_format", &["2024-02-29", "%d.%m.%Y"], "29.02.2024"),
            ("__signed", &["12.7"], "13"),
            ("__signed", &["12abc"], "12"),
            ("__decimal", &["1.255", "5", "2"], "1.26"),
            ("__date", &["nothing"], "NULL"),
            ("__integers", &["..+.*", "1", "2", "5"], "15"),
            ("__integers", &["...*-", "1", "2", "5"], "-9"),
            ("__integers", &["..+", "1", "NULL"], "NULL"),
            ("repeat", &["x", "-1"], ""),
            ("repeat", &["x", "9999999999"], "NULL"),
        ] {
            assert_eq!(result(name, literals), expected, "{name}{literals:?}");
        }
    }
}
