//! What DataFusion complains about, in the words of the table of errors.

use baton_model::errors::{ErrorCode, SqlError};
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use crate::expression::out_of_range;
use crate::limits::QUERY_MEMORY_BYTES_MAX;
use crate::parse::unsupported;

/// An error of ours on its way through DataFusion.
pub(super) fn pass(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The error that the client sees.
pub(super) fn sql_error(error: DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(nested) => sql_error(*nested),
                Err(other) => SqlError::new(ErrorCode::UnknownError, other.to_string()),
            },
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => sql_error(*inner),
        DataFusionError::Shared(inner) => of_shared(&inner),
        DataFusionError::Collection(errors) => errors.into_iter().next().map_or_else(
            || SqlError::new(ErrorCode::UnknownError, "The query failed without a reason"),
            sql_error,
        ),
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(inner) => sql_error(DataFusionError::External(inner)),
            other => of_arrow(&other),
        },
        other => plain(&other),
    }
}

/// An error that several parts of a plan have at once.
fn of_shared(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::new(ErrorCode::UnknownError, inner.to_string()),
        },
        DataFusionError::Shared(inner) => of_shared(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_shared(inner),
        DataFusionError::ArrowError(inner, _) => of_arrow(inner),
        other => plain(other),
    }
}

fn of_arrow(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::new(ErrorCode::UnknownError, inner.to_string()),
        },
        ArrowError::ArithmeticOverflow(_) => out_of_range("DECIMAL"),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            SqlError::new(ErrorCode::IncorrectValue, text.clone())
        }
        other => SqlError::new(ErrorCode::UnknownError, other.to_string()),
    }
}

fn plain(error: &DataFusionError) -> SqlError {
    let text = error.strip_backtrace();
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    match error {
        DataFusionError::SchemaError(inner, _) => match &**inner {
            SchemaError::FieldNotFound { field, .. } => {
                crate::bind::unknown_column(&field.flat_name().replace(['`', '"'], ""), "field list")
            }
            SchemaError::AmbiguousReference { field } => {
                let text = format!("Column '{}' in field list is ambiguous", field.name);
                SqlError::new(ErrorCode::UnknownColumn, text)
            }
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => {
                SqlError::new(ErrorCode::DuplicateColumn, format!("Duplicate column name '{name}'"))
            }
        },
        DataFusionError::ResourcesExhausted(_) => SqlError::new(
            ErrorCode::TooBig,
            format!(
                "The query needs more than the {QUERY_MEMORY_BYTES_MAX} bytes of memory that queries have here"
            ),
        ),
        DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) => {
            let why = first_line(text.split_once(": ").map_or(text.as_str(), |(_, why)| why));
            unsupported(&format!("this query: {why}"))
        }
        _ => SqlError::new(ErrorCode::UnknownError, first_line(&text)),
    }
}
