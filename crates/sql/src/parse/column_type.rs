//! The types of columns.

use baton_model::ColumnType;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::database::character_set;
use super::source::Refusal;
use super::words::Words;

/// Characters of a VARCHAR and bytes of a VARBINARY, at most.
const LENGTH_MAX: u64 = 4 << 20;
/// Digits of a DECIMAL, at most.
const PRECISION_MAX: u64 = 38;
/// Digits of a DECIMAL behind the point, at most.
const SCALE_MAX: u64 = 30;

/// A type, with its length, sign and character set.
pub(super) fn column_type(parser: &mut Parser<'_>) -> Result<ColumnType, Refusal> {
    let place = parser.place();
    let word = parser.name("a type")?.to_ascii_uppercase();
    Ok(match word.as_str() {
        "BOOL" | "BOOLEAN" => ColumnType::Bool,
        "TINYINT" => {
            let width = length(parser, 0..=255)?;
            let unsigned = unsigned(parser)?;
            if width == Some(1) && !unsigned {
                ColumnType::Bool
            } else {
                ColumnType::Int { bits: 8, unsigned }
            }
        }
        "SMALLINT" => integer(parser, 16)?,
        "MEDIUMINT" => integer(parser, 24)?,
        "INT" | "INTEGER" => integer(parser, 32)?,
        "BIGINT" => integer(parser, 64)?,
        "FLOAT" | "DOUBLE" | "REAL" => {
            let _ = word == "DOUBLE" && parser.take("PRECISION");
            precision(parser, 255)?;
            if unsigned(parser)? {
                return Err(Refusal::Unsupported(format!("{word} UNSIGNED"), place));
            }
            if word == "FLOAT" { ColumnType::Float } else { ColumnType::Double }
        }
        "DECIMAL" | "NUMERIC" | "DEC" | "FIXED" => {
            let (digits, scale) = precision(parser, PRECISION_MAX)?.unwrap_or((10, 0));
            if unsigned(parser)? {
                return Err(Refusal::Unsupported("DECIMAL UNSIGNED".into(), place));
            }
            if scale > digits {
                return Err(Refusal::Expected("a scale that is not above the precision", place));
            }
            // Both fit: they are at most 38.
            ColumnType::Decimal { precision: digits as u8, scale: scale as u8 }
        }
        "CHAR" | "CHARACTER" | "NCHAR" => {
            let varying = parser.take("VARYING");
            text_of(parser, varying)?
        }
        "VARCHAR" | "NVARCHAR" => text_of(parser, true)?,
        "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" => {
            length(parser, 0..=u64::MAX)?;
            character_sets(parser)?;
            ColumnType::Text
        }
        "BINARY" => ColumnType::Varbinary(length(parser, 1..=255)?.unwrap_or(1)),
        "VARBINARY" => match length(parser, 1..=LENGTH_MAX)? {
            Some(length) => ColumnType::Varbinary(length),
            None => return parser.refuse("the length of the VARBINARY"),
        },
        "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
            length(parser, 0..=u64::MAX)?;
            ColumnType::Blob
        }
        "DATE" => ColumnType::Date,
        "DATETIME" => {
            length(parser, 0..=6)?;
            ColumnType::DateTime
        }
        "TIMESTAMP" => {
            length(parser, 0..=6)?;
            ColumnType::Timestamp
        }
        "JSON" => ColumnType::Json,
        _ => return Err(Refusal::Unsupported(format!("the type {word}"), place)),
    })
}

fn integer(parser: &mut Parser<'_>, bits: u8) -> Result<ColumnType, Refusal> {
    length(parser, 0..=255)?;
    Ok(ColumnType::Int { bits, unsigned: unsigned(parser)? })
}

/// CHAR or VARCHAR, from its length on.
fn text_of(parser: &mut Parser<'_>, varying: bool) -> Result<ColumnType, Refusal> {
    let declared = length(parser, 0..=if varying { LENGTH_MAX } else { 255 })?;
    let column_type = match (varying, declared) {
        (true, Some(length)) => ColumnType::Varchar(length),
        (true, None) => return parser.refuse("the length of the VARCHAR"),
        (false, length) => ColumnType::Char(length.unwrap_or(1)),
    };
    character_sets(parser)?;
    Ok(column_type)
}

/// `[CHARACTER SET x] [COLLATE x]`.
fn character_sets(parser: &mut Parser<'_>) -> Result<(), Refusal> {
    while character_set(parser)? {}
    Ok(())
}

fn unsigned(parser: &mut Parser<'_>) -> Result<bool, Refusal> {
    let unsigned = parser.take("UNSIGNED");
    if !unsigned {
        let _ = parser.take("SIGNED");
    }
    if parser.at("ZEROFILL") {
        return parser.unsupported("ZEROFILL");
    }
    Ok(unsigned)
}

/// `(n)`, if there is one.
fn length(parser: &mut Parser<'_>, range: std::ops::RangeInclusive<u64>) -> Result<Option<u32>, Refusal> {
    if !parser.take_sign(&Token::LParen) {
        return Ok(None);
    }
    let length = parser.number("a length that the type allows", range)?;
    parser.want_sign(&Token::RParen, ")")?;
    Ok(Some(u32::try_from(length).unwrap_or(u32::MAX)))
}

/// `(digits[, scale])`, if there is one.
fn precision(parser: &mut Parser<'_>, most: u64) -> Result<Option<(u64, u64)>, Refusal> {
    if !parser.take_sign(&Token::LParen) {
        return Ok(None);
    }
    let digits = parser.number("a precision that the type allows", 1..=most)?;
    let scale = if parser.take_sign(&Token::Comma) {
        parser.number("a scale from 0 to 30", 0..=SCALE_MAX)?
    } else {
        0
    };
    parser.want_sign(&Token::RParen, ")")?;
    Ok(Some((digits, scale)))
}
