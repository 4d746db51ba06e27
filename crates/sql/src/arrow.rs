//! Rows as Arrow columns and back.
//!
//! The declared type of a column travels with its Arrow field, so that a result knows a VARCHAR from a TEXT where the
//! column reaches it unchanged.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{Column, ColumnType, Datum};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder, new_null_array,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use crate::expression::Value;

/// The key under which a field carries its declared type.
const DECLARED: &str = "baton.type";

/// What Arrow calls a column's type.
pub(crate) fn arrow_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Bool | ColumnType::Int { bits: 8, unsigned: false } => DataType::Int8,
        ColumnType::Int { bits: 8, unsigned: true } => DataType::UInt8,
        ColumnType::Int { bits: 16, unsigned: false } => DataType::Int16,
        ColumnType::Int { bits: 16, unsigned: true } => DataType::UInt16,
        ColumnType::Int { bits: 24 | 32, unsigned: false } => DataType::Int32,
        ColumnType::Int { bits: 24 | 32, unsigned: true } => DataType::UInt32,
        ColumnType::Int { unsigned: false, .. } => DataType::Int64,
        ColumnType::Int { unsigned: true, .. } => DataType::UInt64,
        ColumnType::Float | ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
        ColumnType::Char(_) | ColumnType::Varchar(_) | ColumnType::Text | ColumnType::Json => DataType::Utf8,
        ColumnType::Varbinary(_) | ColumnType::Blob => DataType::Binary,
        ColumnType::Date => DataType::Date32,
        ColumnType::DateTime | ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// The field of a column, under its name in lower case: in queries names have no case.
pub(crate) fn field(column: &Column) -> Field {
    let declared = serde_json::to_string(&column.column_type).unwrap_or_default();
    Field::new(column.name.to_lowercase(), arrow_type(column.column_type), true)
        .with_metadata(HashMap::from([(DECLARED.to_owned(), declared)]))
}

/// The type of a result's column.
pub(crate) fn column_type(field: &Field) -> Result<ColumnType, SqlError> {
    let declared = field.metadata().get(DECLARED).and_then(|text| serde_json::from_str(text).ok());
    if let Some(declared) = declared.filter(|declared| arrow_type(*declared) == *field.data_type()) {
        return Ok(declared);
    }
    Ok(match field.data_type() {
        DataType::Null => ColumnType::Varchar(0),
        DataType::Boolean => ColumnType::Int { bits: 64, unsigned: false },
        DataType::Int8 => ColumnType::Int { bits: 8, unsigned: false },
        DataType::Int16 => ColumnType::Int { bits: 16, unsigned: false },
        DataType::Int32 => ColumnType::Int { bits: 32, unsigned: false },
        DataType::Int64 => ColumnType::Int { bits: 64, unsigned: false },
        DataType::UInt8 => ColumnType::Int { bits: 8, unsigned: true },
        DataType::UInt16 => ColumnType::Int { bits: 16, unsigned: true },
        DataType::UInt32 => ColumnType::Int { bits: 32, unsigned: true },
        DataType::UInt64 => ColumnType::Int { bits: 64, unsigned: true },
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ColumnType::Double,
        DataType::Decimal128(_, scale) if *scale < 0 => ColumnType::Double,
        DataType::Decimal128(precision, scale) => {
            ColumnType::Decimal { precision: *precision, scale: (*scale).max(0).cast_unsigned() }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ColumnType::Blob
        }
        DataType::Date32 | DataType::Date64 => ColumnType::Date,
        DataType::Timestamp(..) => ColumnType::DateTime,
        other => return Err(crate::parse::unsupported(&format!("a result of type {other}"))),
    })
}

/// The value at a row of an array.
pub(crate) fn value_at(array: &dyn Array, row: usize) -> Result<Value<'_>, SqlError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let days = |days: i64| i32::try_from(days).map_or(Value::Null, Value::Date);
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::truth(array.as_boolean().value(row)),
        DataType::Int8 => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Value::UInt(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Value::UInt(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Value::UInt(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Value::UInt(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => Value::Double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            match u8::try_from(*scale) {
                Ok(scale) => Value::Decimal(unscaled, scale),
                Err(_) => Value::Double(unscaled as f64 * 10_f64.powi(-i32::from(*scale))),
            }
        }
        DataType::Utf8 => Value::Text(Cow::Borrowed(array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Value::Text(Cow::Borrowed(array.as_string::<i64>().value(row))),
        DataType::Utf8View => Value::Text(Cow::Borrowed(array.as_string_view().value(row))),
        DataType::Binary => Value::Bytes(Cow::Borrowed(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Value::Bytes(Cow::Borrowed(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Value::Bytes(Cow::Borrowed(array.as_binary_view().value(row))),
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Date64 => days(array.as_primitive::<Date64Type>().value(row).div_euclid(86_400_000)),
        DataType::Timestamp(unit, _) => Value::DateTime(match unit {
            TimeUnit::Second => {
                array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000_000)
            }
            TimeUnit::Millisecond => {
                array.as_primitive::<TimestampMillisecondType>().value(row).saturating_mul(1000)
            }
            TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
            TimeUnit::Nanosecond => {
                array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1000)
            }
        }),
        other => return Err(crate::parse::unsupported(&format!("a value of type {other}"))),
    })
}

/// The datum at a row of an array, of the type that [`column_type`] says.
pub(crate) fn datum_at(array: &dyn Array, row: usize) -> Result<Datum, SqlError> {
    Ok(match value_at(array, row)? {
        Value::Null => Datum::Null,
        Value::Int(v) => Datum::Int(v),
        Value::UInt(v) => Datum::UInt(v),
        Value::Double(v) => Datum::Double(v),
        Value::Decimal(v, _) => Datum::Decimal(v),
        Value::Text(v) => Datum::Text(v.into_owned()),
        Value::Bytes(v) => Datum::Bytes(v.into_owned()),
        Value::Date(v) => Datum::Date(v),
        Value::DateTime(v) => Datum::DateTime(v),
    })
}

/// Gathers the values of one column.
pub(crate) enum ColumnBuilder {
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    DateTime(TimestampMicrosecondBuilder),
    /// Of no type: NULLs alone.
    Null(usize),
}

impl ColumnBuilder {
    /// A builder of one of the types that [`arrow_type`] gives, or of none.
    pub(crate) fn new(data_type: &DataType, rows: usize) -> Result<Self, ArrowError> {
        Ok(match data_type {
            DataType::Int8 => Self::Int8(Int8Builder::with_capacity(rows)),
            DataType::Int16 => Self::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            DataType::UInt8 => Self::UInt8(UInt8Builder::with_capacity(rows)),
            DataType::UInt16 => Self::UInt16(UInt16Builder::with_capacity(rows)),
            DataType::UInt32 => Self::UInt32(UInt32Builder::with_capacity(rows)),
            DataType::UInt64 => Self::UInt64(UInt64Builder::with_capacity(rows)),
            DataType::Float64 => Self::Double(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(precision, scale) => {
                let builder =
                    Decimal128Builder::with_capacity(rows).with_precision_and_scale(*precision, *scale)?;
                Self::Decimal(builder, (*scale).max(0).cast_unsigned())
            }
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            DataType::Binary => Self::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(rows)),
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                Self::DateTime(TimestampMicrosecondBuilder::with_capacity(rows))
            }
            DataType::Null => Self::Null(0),
            other => return Err(ArrowError::NotYetImplemented(format!("a column of type {other}"))),
        })
    }

    /// Adds a value, turned into the column's type; what cannot be is NULL.
    pub(crate) fn push(&mut self, value: Value<'_>) {
        let int = |value: &Value<'_>| value.integer();
        match self {
            Self::Int8(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::Int16(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::Int32(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::Int64(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::UInt8(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::UInt16(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::UInt32(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::UInt64(b) => b.append_option(int(&value).and_then(|v| v.try_into().ok())),
            Self::Double(b) => b.append_option(value.double()),
            Self::Decimal(b, scale) => b.append_option(decimal(&value, *scale)),
            Self::Text(b) => b.append_option(value.into_text()),
            Self::Bytes(b) => b.append_option(value.into_bytes()),
            Self::Date(b) => b.append_option(value.date()),
            Self::DateTime(b) => b.append_option(value.datetime()),
            Self::Null(rows) => *rows += 1,
        }
    }

    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            Self::Int8(mut b) => Arc::new(b.finish()),
            Self::Int16(mut b) => Arc::new(b.finish()),
            Self::Int32(mut b) => Arc::new(b.finish()),
            Self::Int64(mut b) => Arc::new(b.finish()),
            Self::UInt8(mut b) => Arc::new(b.finish()),
            Self::UInt16(mut b) => Arc::new(b.finish()),
            Self::UInt32(mut b) => Arc::new(b.finish()),
            Self::UInt64(mut b) => Arc::new(b.finish()),
            Self::Double(mut b) => Arc::new(b.finish()),
            Self::Decimal(mut b, _) => Arc::new(b.finish()),
            Self::Text(mut b) => Arc::new(b.finish()),
            Self::Bytes(mut b) => Arc::new(b.finish()),
            Self::Date(mut b) => Arc::new(b.finish()),
            Self::DateTime(mut b) => Arc::new(b.finish()),
            Self::Null(rows) => new_null_array(&DataType::Null, rows),
        }
    }
}

fn decimal(value: &Value<'_>, scale: u8) -> Option<i128> {
    use crate::expression::{Number, parse_number, rescale};
    match value.number()? {
        Number::Int(v) => rescale(v, 0, scale),
        Number::Decimal(v, from) => rescale(v, from, scale),
        Number::Double(v) => match parse_number(&format!("{v:.*}", usize::from(scale)))? {
            Number::Int(v) => rescale(v, 0, scale),
            Number::Decimal(v, from) => rescale(v, from, scale),
            Number::Double(_) => None,
        },
    }
}

fn broken(error: &ArrowError) -> SqlError {
    SqlError::new(ErrorCode::UnknownError, format!("A batch of rows could not be read or written: {error}"))
}

/// A batch as bytes: an Arrow IPC stream of one batch.
pub(crate) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
    let write = || {
        let mut writer = StreamWriter::try_new(Vec::with_capacity(4096), &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        writer.into_inner()
    };
    write().map_err(|error| broken(&error))
}

/// The batches that [`encode`] made these bytes of.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, SqlError> {
    let read = || StreamReader::try_new(bytes, None)?.collect::<Result<Vec<_>, ArrowError>>();
    read().map_err(|error| broken(&error))
}
