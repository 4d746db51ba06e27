//! Values as the binary protocol sends them, in the answers to prepared statements.

use baton_model::{ColumnType, Datum};

use super::bytes::Put;
use super::calendar::Moment;
use super::text::{Unfit, printable, text_of};

/// Whether the value is sent as a bit in the row's NULL bitmap.
pub(super) fn is_null(value: &Datum) -> bool {
    match value {
        Datum::Null => true,
        Datum::Double(number) => !number.is_finite(),
        _ => false,
    }
}

/// Writes a value that is not NULL.
pub(super) fn put_value(packet: &mut Vec<u8>, value: &Datum, column_type: ColumnType) -> Result<(), Unfit> {
    match column_type {
        ColumnType::Bool => put_integer(packet, value, 8, false),
        ColumnType::Int { bits, unsigned } => put_integer(packet, value, bits, unsigned),
        ColumnType::Float => {
            packet.extend((double_of(value)? as f32).to_le_bytes());
            Ok(())
        }
        ColumnType::Double => {
            packet.extend(double_of(value)?.to_le_bytes());
            Ok(())
        }
        ColumnType::Date => match value {
            Datum::Date(days) => put_moment(packet, &printable(Moment::from_days(i64::from(*days)))?),
            _ => Err(Unfit),
        },
        ColumnType::DateTime | ColumnType::Timestamp => match value {
            Datum::Date(days) => put_moment(packet, &printable(Moment::from_days(i64::from(*days)))?),
            Datum::DateTime(micros) => put_moment(packet, &printable(Moment::from_micros(*micros))?),
            _ => Err(Unfit),
        },
        ColumnType::Decimal { .. }
        | ColumnType::Char(_)
        | ColumnType::Varchar(_)
        | ColumnType::Text
        | ColumnType::Varbinary(_)
        | ColumnType::Blob
        | ColumnType::Json => {
            packet.put_lenenc_bytes(&text_of(value, column_type)?.ok_or(Unfit)?);
            Ok(())
        }
    }
}

fn put_integer(packet: &mut Vec<u8>, value: &Datum, bits: u8, unsigned: bool) -> Result<(), Unfit> {
    let number = match value {
        Datum::Int(number) => i128::from(*number),
        Datum::UInt(number) => i128::from(*number),
        _ => return Err(Unfit),
    };
    let range = if unsigned { 0..1 << bits } else { -(1 << (bits - 1))..1 << (bits - 1) };
    if !range.contains(&number) {
        return Err(Unfit);
    }
    let width = match bits {
        8 => 1,
        16 => 2,
        24 | 32 => 4,
        _ => 8,
    };
    packet.extend(&number.to_le_bytes()[..width]);
    Ok(())
}

fn double_of(value: &Datum) -> Result<f64, Unfit> {
    match value {
        Datum::Double(number) => Ok(*number),
        Datum::Int(number) => Ok(*number as f64),
        Datum::UInt(number) => Ok(*number as f64),
        _ => Err(Unfit),
    }
}

fn put_moment(packet: &mut Vec<u8>, moment: &Moment) -> Result<(), Unfit> {
    let year = u16::try_from(moment.year).map_err(|_| Unfit)?;
    let has_time = (moment.hour, moment.minute, moment.second) != (0, 0, 0);
    packet.push(match (has_time, moment.micros) {
        (false, 0) => 4,
        (true, 0) => 7,
        _ => 11,
    });
    packet.put_u16(year);
    packet.extend([moment.month, moment.day]);
    if has_time || moment.micros > 0 {
        packet.extend([moment.hour, moment.minute, moment.second]);
    }
    if moment.micros > 0 {
        packet.put_u32(moment.micros);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_beyond_its_column_is_unfit_not_cut() {
        let mut packet = Vec::new();
        let byte = ColumnType::Int { bits: 8, unsigned: false };
        assert_eq!(put_value(&mut packet, &Datum::Int(-128), byte), Ok(()));
        assert_eq!(put_value(&mut packet, &Datum::Int(128), byte), Err(Unfit));
        assert_eq!(
            put_value(&mut packet, &Datum::Int(-1), ColumnType::Int { bits: 64, unsigned: true }),
            Err(Unfit)
        );
        assert_eq!(
            put_value(&mut packet, &Datum::UInt(u64::MAX), ColumnType::Int { bits: 64, unsigned: true }),
            Ok(())
        );
        assert_eq!(packet, [0x80, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
}
