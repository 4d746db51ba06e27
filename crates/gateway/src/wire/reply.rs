//! Answers as packets: OK, ERR, column definitions and rows, in the text and the binary protocol.

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum, Row};
use tokio::io::{AsyncRead, AsyncWrite};

use super::binary;
use super::bytes::Put;
use super::handshake::UTF8MB4;
use super::packet::{PacketStream, WireError};
use super::text::{Unfit, text_of};
use super::{STATUS_AUTOCOMMIT, STATUS_IN_TRANSACTION, capability};
use crate::limits::FIELDS_MAX;
use crate::session::{Answer, AnswerColumn, TransactionStatus};

/// NULL in a row of the text protocol.
const TEXT_NULL: u8 = 0xfb;
/// The character set of what is no text.
const CHARSET_BINARY: u8 = 63;

const FLAG_BLOB: u16 = 16;
const FLAG_UNSIGNED: u16 = 32;
const FLAG_BINARY: u16 = 128;

/// "Not fixed": a FLOAT or DOUBLE shows as many decimals as it has.
const DECIMALS_NOT_FIXED: u8 = 31;

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rendering {
    /// For COM_QUERY.
    Text,
    /// For COM_STMT_EXECUTE.
    Binary,
}

/// An ERR packet.
pub(crate) fn error_packet(error: &SqlError) -> Vec<u8> {
    let mut packet = vec![0xff];
    packet.put_u16(error.code.number());
    packet.push(b'#');
    packet.extend(error.code.sqlstate().as_bytes());
    packet.extend(error.message.as_bytes());
    packet
}

/// The flags that say it.
fn flags(status: TransactionStatus) -> u16 {
    let autocommit = if status.autocommit { STATUS_AUTOCOMMIT } else { 0 };
    autocommit | if status.open { STATUS_IN_TRANSACTION } else { 0 }
}

fn ok_packet(
    header: u8,
    affected_rows: u64,
    last_insert_id: u64,
    status: TransactionStatus,
    info: &str,
) -> Vec<u8> {
    let mut packet = vec![header];
    packet.put_lenenc_int(affected_rows);
    packet.put_lenenc_int(last_insert_id);
    packet.put_u16(flags(status));
    packet.put_u16(0);
    // The documentation says "the rest of the packet"; the server has always sent a length, and clients expect it.
    if !info.is_empty() {
        packet.put_lenenc_bytes(info.as_bytes());
    }
    packet
}

/// Writes answers for one client.
pub(crate) struct Replies<'a, S> {
    pub(crate) stream: &'a mut PacketStream<S>,
    pub(crate) capabilities: u32,
    pub(crate) status: TransactionStatus,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Replies<'_, S> {
    pub(crate) fn ok(&mut self) {
        self.stream.push(&ok_packet(0, 0, 0, self.status, ""));
    }

    pub(crate) fn error(&mut self, error: &SqlError) {
        self.stream.push(&error_packet(error));
    }

    /// A line without a header, the answer to COM_STATISTICS.
    pub(crate) fn line(&mut self, text: &str) {
        self.stream.push(text.as_bytes());
    }

    /// The end of rows, or of what would have been rows.
    pub(crate) fn end_of_rows(&mut self) {
        if self.capabilities & capability::DEPRECATE_EOF != 0 {
            self.stream.push(&ok_packet(0xfe, 0, 0, self.status, ""));
        } else {
            self.eof();
        }
    }

    fn eof(&mut self) {
        let mut packet = vec![0xfe];
        packet.put_u16(0);
        packet.put_u16(flags(self.status));
        self.stream.push(&packet);
    }

    /// What a statement came to. Rows are sent while they are written, so that an answer is not held twice.
    pub(crate) async fn answer(&mut self, answer: &Answer, rendering: Rendering) -> Result<(), WireError> {
        match answer {
            Answer::Done { affected_rows, last_insert_id, info } => {
                self.stream.push(&ok_packet(0, *affected_rows, *last_insert_id, self.status, info));
            }
            Answer::Rows { columns, .. } if columns.is_empty() || columns.len() > FIELDS_MAX => {
                self.error(&SqlError::new(
                    ErrorCode::UnknownError,
                    format!("an answer of {} columns cannot be sent", columns.len()),
                ));
            }
            Answer::Rows { columns, rows } => self.rows(columns, rows, rendering).await?,
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        columns: &[AnswerColumn],
        rows: &[Row],
        rendering: Rendering,
    ) -> Result<(), WireError> {
        let mut packet = Vec::new();
        packet.put_lenenc_int(columns.len() as u64);
        self.stream.push(&packet);
        self.definitions(columns);
        if self.capabilities & capability::DEPRECATE_EOF == 0 {
            self.eof();
        }
        for row in rows {
            packet.clear();
            let written = match rendering {
                Rendering::Text => put_text_row(&mut packet, columns, row),
                Rendering::Binary => put_binary_row(&mut packet, columns, row),
            };
            if let Err(error) = written {
                tracing::error!(%error, "an answer's row does not fit its columns");
                self.error(&error);
                return Ok(());
            }
            self.stream.push(&packet);
            self.stream.flush_full().await?;
        }
        self.end_of_rows();
        Ok(())
    }

    /// The answer to COM_STMT_PREPARE. Both counts are at most [`FIELDS_MAX`].
    pub(crate) fn prepared(&mut self, statement: u32, parameters: usize, columns: &[AnswerColumn]) {
        let mut packet = vec![0];
        packet.put_u32(statement);
        packet.put_u16(columns.len() as u16);
        packet.put_u16(parameters as u16);
        packet.push(0);
        packet.put_u16(0);
        self.stream.push(&packet);
        // What a parameter will be is the client's to say; MySQL describes each as a string.
        let parameter = AnswerColumn::new("?", ColumnType::Varchar(0));
        for _ in 0..parameters {
            self.stream.push(&definition(&parameter));
        }
        if parameters > 0 && self.capabilities & capability::DEPRECATE_EOF == 0 {
            self.eof();
        }
        self.definitions(columns);
        if !columns.is_empty() && self.capabilities & capability::DEPRECATE_EOF == 0 {
            self.eof();
        }
    }

    fn definitions(&mut self, columns: &[AnswerColumn]) {
        for column in columns {
            self.stream.push(&definition(column));
        }
    }
}

/// Protocol::ColumnDefinition41.
fn definition(column: &AnswerColumn) -> Vec<u8> {
    let shape = Shape::of(column.column_type);
    let mut packet = Vec::with_capacity(32 + column.name.len());
    packet.put_lenenc_bytes(b"def");
    // Schema, table and the table's own name: an answer's column may come from anywhere.
    packet.extend([0, 0, 0]);
    packet.put_lenenc_bytes(column.name.as_bytes());
    packet.push(0);
    packet.put_lenenc_int(0x0c);
    packet.put_u16(shape.charset.into());
    packet.put_u32(shape.length);
    packet.push(shape.code);
    packet.put_u16(shape.flags);
    packet.push(shape.decimals);
    packet.put_u16(0);
    packet
}

/// How a column type is described to clients.
struct Shape {
    code: u8,
    charset: u8,
    /// Bytes of the longest value as text.
    length: u32,
    flags: u16,
    decimals: u8,
}

impl Shape {
    fn of(column_type: ColumnType) -> Self {
        let number =
            |code, length| Self { code, charset: CHARSET_BINARY, length, flags: FLAG_BINARY, decimals: 0 };
        let text = |code, length| Self { code, charset: UTF8MB4, length, flags: 0, decimals: 0 };
        let characters = |count: u32| count.saturating_mul(4);
        match column_type {
            ColumnType::Bool => number(0x01, 1),
            ColumnType::Int { bits, unsigned } => {
                let (code, length) = match bits {
                    8 => (0x01, 4),
                    16 => (0x02, 6),
                    24 => (0x09, 9),
                    32 => (0x03, 11),
                    _ => (0x08, 20),
                };
                let flags = FLAG_BINARY | if unsigned { FLAG_UNSIGNED } else { 0 };
                Self { flags, ..number(code, length) }
            }
            ColumnType::Float => Self { decimals: DECIMALS_NOT_FIXED, ..number(0x04, 12) },
            ColumnType::Double => Self { decimals: DECIMALS_NOT_FIXED, ..number(0x05, 22) },
            ColumnType::Decimal { precision, scale } => {
                Self { decimals: scale, ..number(0xf6, u32::from(precision) + 1 + u32::from(scale > 0)) }
            }
            ColumnType::Char(count) => text(0xfe, characters(count)),
            ColumnType::Varchar(count) => text(0xfd, characters(count)),
            ColumnType::Text => Self { flags: FLAG_BLOB, ..text(0xfc, u32::MAX) },
            ColumnType::Varbinary(length) => number(0xfd, length),
            ColumnType::Blob => Self { flags: FLAG_BLOB | FLAG_BINARY, ..number(0xfc, u32::MAX) },
            ColumnType::Date => number(0x0a, 10),
            ColumnType::DateTime => Self { decimals: 6, ..number(0x0c, 26) },
            ColumnType::Timestamp => Self { decimals: 6, ..number(0x07, 26) },
            ColumnType::Json => Self { flags: FLAG_BLOB, ..text(0xf5, u32::MAX) },
        }
    }
}

fn put_text_row(packet: &mut Vec<u8>, columns: &[AnswerColumn], row: &[Datum]) -> Result<(), SqlError> {
    check_width(columns, row)?;
    for (column, value) in columns.iter().zip(row) {
        match text_of(value, column.column_type).map_err(|Unfit| unfit(column, value))? {
            Some(text) => packet.put_lenenc_bytes(&text),
            None => packet.push(TEXT_NULL),
        }
    }
    Ok(())
}

fn put_binary_row(packet: &mut Vec<u8>, columns: &[AnswerColumn], row: &[Datum]) -> Result<(), SqlError> {
    check_width(columns, row)?;
    packet.push(0);
    // The bitmap's first two bits are unused in answers.
    let bitmap_at = packet.len();
    packet.resize(bitmap_at + (columns.len() + 2).div_ceil(8), 0);
    for (at, (column, value)) in columns.iter().zip(row).enumerate() {
        if binary::is_null(value) {
            packet[bitmap_at + (at + 2) / 8] |= 1 << ((at + 2) % 8);
        } else {
            binary::put_value(packet, value, column.column_type).map_err(|Unfit| unfit(column, value))?;
        }
    }
    Ok(())
}

fn check_width(columns: &[AnswerColumn], row: &[Datum]) -> Result<(), SqlError> {
    if columns.len() == row.len() {
        return Ok(());
    }
    Err(SqlError::new(
        ErrorCode::UnknownError,
        format!("a row of {} values cannot be sent in {} columns", row.len(), columns.len()),
    ))
}

fn unfit(column: &AnswerColumn, value: &Datum) -> SqlError {
    let kind = match value {
        Datum::Null => "NULL",
        Datum::Int(_) => "an integer",
        Datum::UInt(_) => "an unsigned integer",
        Datum::Double(_) => "a double",
        Datum::Decimal(_) => "a decimal",
        Datum::Text(_) => "text",
        Datum::Bytes(_) => "bytes",
        Datum::Date(_) => "a date",
        Datum::DateTime(_) => "a datetime",
    };
    SqlError::new(
        ErrorCode::UnknownError,
        format!("{kind} cannot be sent in column '{}' of type {}", column.name, column.column_type),
    )
}
