//! Our functions as DataFusion's, so that they mean the same in queries as on the leaves.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use baton_model::errors::SqlError;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature, Volatility, cast,
};

use super::errors::pass;
use crate::arrow::{ColumnBuilder, value_at};
use crate::expression::functions::Returns;
use crate::expression::{FunctionRef, Value, out_of_range};

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// Digits of a decimal whose size nobody knows.
const DIGITS: u8 = 38;

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    FunctionRef::all().map(|function| Arc::new(ScalarUDF::new_from_impl(Adapter::new(function)))).collect()
}

/// One of our functions.
#[derive(Debug)]
struct Adapter {
    function: FunctionRef,
    signature: Signature,
}

impl Adapter {
    fn new(function: FunctionRef) -> Self {
        let volatility = if function.is_volatile() { Volatility::Volatile } else { Volatility::Immutable };
        let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
        Self { function, signature: Signature::new(any, volatility) }
    }
}

impl PartialEq for Adapter {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Adapter {}

impl Hash for Adapter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.0.name.hash(state);
    }
}

impl ScalarUDFImpl for Adapter {
    fn name(&self) -> &str {
        self.function.0.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let arguments: Vec<&DataType> = arguments.iter().collect();
        Ok(result_type(self.function.0.returns, &arguments, &[]))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.check(args.arg_fields.len()).map_err(pass)?;
        let arguments: Vec<&DataType> = args.arg_fields.iter().map(|field| field.data_type()).collect();
        let data_type = result_type(self.function.0.returns, &arguments, args.scalar_arguments);
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    /// What is of the wanted type already is itself, so that a condition on it can go to the leaves; and integers are
    /// made decimals column by column, not value by value.
    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let plain = |args: &[Expr]| matches!(self.function.0.name, "__char" | "__summand") && args.len() == 1;
        if !plain(&args) {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let Ok(given) = args[0].get_type(info.schema()) else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let wanted = result_type(self.function.0.returns, &[&given], &[]);
        Ok(if given == wanted {
            ExprSimplifyResult::Simplified(args.remove(0))
        } else if given.is_integer() && self.function.0.returns == Returns::Summand {
            ExprSimplifyResult::Simplified(cast(args.remove(0), wanted))
        } else {
            ExprSimplifyResult::Original(args)
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant =
            !self.function.is_volatile() && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        // A scalar is one row of an array, read again and again.
        let arrays = args
            .args
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Array(array) => Ok((Arc::clone(array), false)),
                ColumnarValue::Scalar(scalar) => Ok((scalar.to_array()?, true)),
            })
            .collect::<Result<Vec<(ArrayRef, bool)>>>()?;
        let mut builder = ColumnBuilder::new(args.return_field.data_type(), rows)?;
        for row in 0..rows {
            let values = arrays
                .iter()
                .map(|(array, scalar)| value_at(array, if *scalar { 0 } else { row }).map_err(pass))
                .collect::<Result<Vec<Value<'_>>>>()?;
            let value = self.function.call(values).map_err(pass)?;
            builder.push(fitting(value, args.return_field.data_type()).map_err(pass)?);
        }
        let array = builder.finish();
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

/// A result, unless it is an integer that its column does not hold: that is an error, as in the other evaluator.
fn fitting<'a>(value: Value<'a>, of: &DataType) -> Result<Value<'a>, SqlError> {
    let integer = || value.integer();
    match of {
        DataType::Int64 if integer().is_some_and(|v| i64::try_from(v).is_err()) => {
            Err(out_of_range("BIGINT"))
        }
        DataType::UInt64 if integer().is_some_and(|v| u64::try_from(v).is_err()) => {
            Err(out_of_range("BIGINT UNSIGNED"))
        }
        _ => Ok(value),
    }
}

/// What a function's result is to DataFusion.
fn result_type(returns: Returns, arguments: &[&DataType], scalars: &[Option<&ScalarValue>]) -> DataType {
    let first = arguments.first().copied().unwrap_or(&DataType::Null);
    let whole = |n: usize| {
        let scalar = scalars.get(n).copied().flatten()?;
        scalar.cast_to(&DataType::Int64).ok().and_then(|value| match value {
            ScalarValue::Int64(value) => value,
            _ => None,
        })
    };
    match returns {
        Returns::Text => DataType::Utf8,
        Returns::Bytes => DataType::Binary,
        Returns::Int => DataType::Int64,
        Returns::UInt => DataType::UInt64,
        Returns::Double => DataType::Float64,
        Returns::Date => DataType::Date32,
        Returns::DateTime => MOMENT,
        Returns::Decimal => match (whole(1), whole(2)) {
            (Some(precision), Some(scale)) => DataType::Decimal128(
                precision.clamp(1, 38) as u8,
                scale.clamp(0, precision.clamp(1, 30)) as i8,
            ),
            _ => DataType::Decimal128(DIGITS, 10),
        },
        Returns::Common(from) => common(arguments.get(from..).unwrap_or_default()),
        Returns::Number => {
            arguments.iter().map(|argument| number(argument)).reduce(wider).unwrap_or(DataType::Float64)
        }
        Returns::Integer => {
            let unsigned = arguments.iter().any(|argument| argument.is_unsigned_integer());
            if unsigned { DataType::UInt64 } else { DataType::Int64 }
        }
        Returns::Opposite => match number(first) {
            DataType::UInt64 => DataType::Int64,
            other => other,
        },
        Returns::Summand => match first {
            DataType::Decimal128(..) => first.clone(),
            DataType::Int8 | DataType::UInt8 => DataType::Decimal128(3, 0),
            DataType::Int16 | DataType::UInt16 => DataType::Decimal128(5, 0),
            DataType::Int32 | DataType::UInt32 => DataType::Decimal128(10, 0),
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Null => DataType::Float64,
            other => match number(other) {
                DataType::Int64 => DataType::Decimal128(19, 0),
                other => other,
            },
        },
        Returns::Rounded => match number(first) {
            DataType::Decimal128(_, scale) => {
                let kept = if arguments.len() < 2 { Some(0) } else { whole(1) };
                let kept = kept.map_or(i64::from(scale), |kept| kept.clamp(0, scale.into()));
                DataType::Decimal128(DIGITS, kept as i8)
            }
            other => other,
        },
        Returns::WholeNumber => match number(first) {
            DataType::Decimal128(..) => DataType::Decimal128(DIGITS, 0),
            other => other,
        },
        Returns::Quotient => match arguments.iter().map(|argument| number(argument)).reduce(wider) {
            Some(DataType::Float64) | None => DataType::Float64,
            Some(_) => {
                let scale = match number(first) {
                    DataType::Decimal128(_, scale) => scale,
                    _ => 0,
                };
                DataType::Decimal128(DIGITS, (scale + 4).min(30).max(scale))
            }
        },
        Returns::Moved => {
            let unit = scalars.get(2).copied().flatten().map(ToString::to_string);
            let unit = unit.and_then(|unit| crate::expression::calendar::Unit::parse(&unit));
            match (first, unit) {
                (DataType::Date32, Some(unit)) if unit.keeps_days() => DataType::Date32,
                _ => MOMENT,
            }
        }
    }
}

/// What a type is as a number.
fn number(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal128(_, scale) => DataType::Decimal128(DIGITS, (*scale).max(0)),
        DataType::UInt64 | DataType::UInt32 | DataType::UInt16 | DataType::UInt8 => DataType::UInt64,
        DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary => DataType::Float64,
        _ => DataType::Int64,
    }
}

/// The number type that holds both.
fn wider(left: DataType, right: DataType) -> DataType {
    match (left, right) {
        (DataType::Float64, _) | (_, DataType::Float64) => DataType::Float64,
        (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) => DataType::Decimal128(DIGITS, a.max(b)),
        (decimal @ DataType::Decimal128(..), _) | (_, decimal @ DataType::Decimal128(..)) => decimal,
        (DataType::UInt64, DataType::UInt64) => DataType::UInt64,
        (DataType::UInt64, _) | (_, DataType::UInt64) => DataType::Decimal128(DIGITS, 0),
        _ => DataType::Int64,
    }
}

/// What all of these can be turned into: their own type if it is one, a number if all are, else text.
fn common(types: &[&DataType]) -> DataType {
    let given: Vec<&DataType> =
        types.iter().copied().filter(|data_type| **data_type != DataType::Null).collect();
    let Some(first) = given.first() else { return DataType::Null };
    let plain = |data_type: &DataType| match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Boolean => DataType::Int64,
        DataType::Float32 => DataType::Float64,
        DataType::Timestamp(..) => MOMENT,
        other => other.clone(),
    };
    if given.iter().all(|data_type| plain(data_type) == plain(first)) {
        return plain(first);
    }
    let is_number = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    if given.iter().all(|data_type| is_number(data_type)) {
        given.into_iter().map(number).reduce(wider).unwrap_or(DataType::Int64)
    } else if given.iter().all(|data_type| is_time(data_type)) {
        MOMENT
    } else if given.iter().any(|data_type| matches!(plain(data_type), DataType::Binary)) {
        DataType::Binary
    } else {
        DataType::Utf8
    }
}
