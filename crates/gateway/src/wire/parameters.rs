//! The values of a prepared statement's parameters, as COM_STMT_EXECUTE carries them.

use std::collections::BTreeMap;

use baton_model::Datum;

use super::bytes::{Malformed, Take};
use super::calendar::Moment;

/// What a parameter was bound as. A client sends it with the first execution, and again when it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bound {
    code: u8,
    unsigned: bool,
}

/// The values of `count` parameters. `bound` is what the last execution bound, and is updated;
/// `long` are the values that came ahead by COM_STMT_SEND_LONG_DATA.
pub(crate) fn decode_parameters(
    values: &[u8],
    count: usize,
    bound: &mut Vec<Bound>,
    long: &BTreeMap<u16, Vec<u8>>,
) -> Result<Vec<Datum>, Malformed> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut take = Take::new(values, "parameters of a prepared statement");
    let nulls = take.bytes(count.div_ceil(8))?;
    if take.u8()? != 0 {
        let types = take.bytes(2 * count)?;
        *bound = types
            .chunks_exact(2)
            .map(|pair| Bound { code: pair[0], unsigned: pair[1] & 0x80 != 0 })
            .collect();
    }
    if bound.len() != count {
        return Err(Malformed("parameters of a prepared statement: they have no types"));
    }
    bound
        .iter()
        .enumerate()
        .map(|(at, parameter)| {
            if let Some(data) = u16::try_from(at).ok().and_then(|at| long.get(&at)) {
                return Ok(long_value(*parameter, data));
            }
            if nulls[at / 8] & 1 << (at % 8) != 0 { Ok(Datum::Null) } else { value(*parameter, &mut take) }
        })
        .collect()
}

/// Binary types stay bytes, all others are text if they can be.
fn long_value(Bound { code, .. }: Bound, data: &[u8]) -> Datum {
    if matches!(code, 0xf9..=0xfc | 0x10 | 0xff) {
        return Datum::Bytes(data.to_vec());
    }
    String::from_utf8(data.to_vec()).map_or_else(|refused| Datum::Bytes(refused.into_bytes()), Datum::Text)
}

fn value(bound: Bound, take: &mut Take<'_>) -> Result<Datum, Malformed> {
    let Bound { code, unsigned } = bound;
    let integer = |signed: i64, plain: u64| if unsigned { Datum::UInt(plain) } else { Datum::Int(signed) };
    Ok(match code {
        // TINY
        0x01 => {
            let raw = take.u8()?;
            integer((raw as i8).into(), raw.into())
        }
        // SHORT, YEAR
        0x02 | 0x0d => {
            let raw = take.u16()?;
            integer((raw as i16).into(), raw.into())
        }
        // LONG, INT24
        0x03 | 0x09 => {
            let raw = take.u32()?;
            integer((raw as i32).into(), raw.into())
        }
        // LONGLONG
        0x08 => {
            let raw = take.u64()?;
            integer(raw as i64, raw)
        }
        // FLOAT, DOUBLE
        0x04 => Datum::Double(f32::from_le_bytes(take.array()?).into()),
        0x05 => Datum::Double(f64::from_le_bytes(take.array()?)),
        // NULL
        0x06 => Datum::Null,
        // DATE, NEWDATE; some clients send a moment as a DATE
        0x0a | 0x0e => match moment(take)? {
            (moment, 4) => Datum::Date(moment.days().ok_or_else(|| take.malformed())?),
            (moment, _) => Datum::DateTime(moment.micros().ok_or_else(|| take.malformed())?),
        },
        // TIMESTAMP, DATETIME and their newer codes
        0x07 | 0x0c | 0x11 | 0x12 => {
            Datum::DateTime(moment(take)?.0.micros().ok_or_else(|| take.malformed())?)
        }
        // TIME
        0x0b | 0x13 => Datum::Text(time(take)?),
        // DECIMAL, VARCHAR, BIT, JSON, NEWDECIMAL, ENUM, SET, the BLOBs, VAR_STRING, STRING, GEOMETRY
        0x00 | 0x0f | 0x10 | 0xf5..=0xff => long_value(bound, take.lenenc_bytes()?),
        _ => return Err(Malformed("parameters of a prepared statement: one has an unknown type")),
    })
}

/// A date, perhaps with a time, and how many bytes it had. The date of no bytes, 0000-00-00, is no date.
fn moment(take: &mut Take<'_>) -> Result<(Moment, u8), Malformed> {
    let length = take.u8()?;
    if !matches!(length, 4 | 7 | 11) {
        return Err(take.malformed());
    }
    let mut moment =
        Moment { year: take.u16()?.into(), month: take.u8()?, day: take.u8()?, ..Moment::default() };
    if length >= 7 {
        [moment.hour, moment.minute, moment.second] = take.array()?;
    }
    if length == 11 {
        moment.micros = take.u32()?;
    }
    Ok((moment, length))
}

/// A span of time as text: there is no value of that kind.
fn time(take: &mut Take<'_>) -> Result<String, Malformed> {
    let length = take.u8()?;
    if length == 0 {
        return Ok("00:00:00".into());
    }
    if length != 8 && length != 12 {
        return Err(take.malformed());
    }
    let sign = if take.u8()? != 0 { "-" } else { "" };
    let days = take.u32()?;
    let [hours, minutes, seconds] = take.array()?;
    let text = format!("{sign}{:02}:{minutes:02}:{seconds:02}", u64::from(days) * 24 + u64::from(hours));
    Ok(if length == 12 { format!("{text}.{:06}", take.u32()?) } else { text })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(values: &[u8], count: usize) -> Result<Vec<Datum>, Malformed> {
        decode_parameters(values, count, &mut Vec::new(), &BTreeMap::new())
    }

    #[test]
    fn each_type_becomes_its_value() {
        let values = [
            &[0b100, 1][..],
            &[0x01, 0, 0x02, 0x80, 0x08, 0, 0x05, 0, 0xfd, 0, 0xfc, 0, 0x0a, 0, 0x0c, 0, 0x0b, 0][..],
            &[0xff][..],
            &[0xff, 0xff][..],
            &1.5f64.to_le_bytes()[..],
            &[3, b'a', b'b', b'c'][..],
            &[1, 0xff][..],
            &[4, 0xe8, 0x07, 1, 2][..],
            &[11, 0xe8, 0x07, 1, 2, 3, 4, 5, 6, 0, 0, 0][..],
            &[8, 1, 1, 0, 0, 0, 2, 3, 4][..],
        ];
        // Nine parameters need two bytes of bitmap.
        let mut packet = vec![0b100, 0];
        packet.extend(&values.concat()[1..]);
        let micros = 19_724 * 86_400_000_000 + 3 * 3_600_000_000 + 4 * 60_000_000 + 5_000_006;
        assert_eq!(
            decoded(&packet, 9).unwrap(),
            [
                Datum::Int(-1),
                Datum::UInt(65_535),
                Datum::Null,
                Datum::Double(1.5),
                Datum::Text("abc".into()),
                Datum::Bytes(vec![0xff]),
                Datum::Date(19_724),
                Datum::DateTime(micros),
                Datum::Text("-26:03:04".into()),
            ]
        );
    }

    #[test]
    fn dates_that_are_none_are_malformed() {
        assert!(decoded(&[0, 1, 0x0a, 0, 4, 0xe7, 0x07, 2, 29], 1).is_err());
        assert!(decoded(&[0, 1, 0x0a, 0, 0], 1).is_err());
        assert!(decoded(&[0, 0], 1).is_err(), "no types were ever bound");
    }

    proptest! {
        #[test]
        fn no_bytes_can_panic_it(values: Vec<u8>, count in 0..20usize) {
            let _ = decoded(&values, count);
            let mut typed = vec![0; count.div_ceil(8)];
            typed.push(1);
            typed.extend(&values);
            let _ = decoded(&typed, count);
        }
    }
}
