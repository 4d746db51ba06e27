//! Functions of text. Positions count characters from 1.

use std::borrow::Cow;

use baton_model::errors::SqlError;
use baton_model::limits::PACKET_BYTES_MAX;

use super::numbers::as_unsigned;
use super::{Function, MANY, Returns, Value, arguments, function};
use crate::expression::compare;

pub(super) const ALL: &[Function] = &[
    function("concat", (1, MANY), Returns::Text, |values| {
        let mut out = String::new();
        for value in values {
            match value.into_text() {
                Some(text) if out.len() + text.len() <= PACKET_BYTES_MAX => out.push_str(&text),
                _ => return Ok(Value::Null),
            }
        }
        Ok(Value::text(out))
    }),
    function("concat_ws", (2, MANY), Returns::Text, |values| {
        let mut texts = values.into_iter().map(Value::into_text);
        let Some(separator) = texts.next().flatten() else { return Ok(Value::Null) };
        let parts: Vec<Cow<'_, str>> = texts.flatten().collect();
        Ok(Value::text(parts.join(&separator)))
    }),
    function("length", (1, 1), Returns::Int, length),
    function("octet_length", (1, 1), Returns::Int, length),
    function("bit_length", (1, 1), Returns::Int, |values| {
        let [value] = arguments(values);
        Ok(value.into_bytes().map_or(Value::Null, |bytes| Value::Int(bytes.len() as i64 * 8)))
    }),
    function("char_length", (1, 1), Returns::Int, characters),
    function("character_length", (1, 1), Returns::Int, characters),
    function("lower", (1, 1), Returns::Text, |values| map(values, |text| text.to_lowercase())),
    function("lcase", (1, 1), Returns::Text, |values| map(values, |text| text.to_lowercase())),
    function("upper", (1, 1), Returns::Text, |values| map(values, |text| text.to_uppercase())),
    function("ucase", (1, 1), Returns::Text, |values| map(values, |text| text.to_uppercase())),
    function("reverse", (1, 1), Returns::Text, |values| map(values, |text| text.chars().rev().collect())),
    function("ltrim", (1, 1), Returns::Text, |values| {
        map(values, |text| text.trim_start_matches(' ').into())
    }),
    function("rtrim", (1, 1), Returns::Text, |values| map(values, |text| text.trim_end_matches(' ').into())),
    function("__trim", (3, 3), Returns::Text, |values| {
        let [side, what, text] = arguments(values).map(Value::into_text);
        let (Some(side), Some(what), Some(text)) = (side, what, text) else { return Ok(Value::Null) };
        let mut rest: &str = &text;
        if !what.is_empty() {
            if side != "TRAILING" {
                rest = rest.trim_start_matches(&*what);
            }
            if side != "LEADING" {
                rest = rest.trim_end_matches(&*what);
            }
        }
        Ok(Value::text(rest))
    }),
    function("left", (2, 2), Returns::Text, |values| {
        let [text, count] = arguments(values);
        let (Some(text), Some(count)) = (text.into_text(), count.integer64()) else { return Ok(Value::Null) };
        Ok(Value::text(text.chars().take(count.max(0) as usize).collect::<String>()))
    }),
    function("right", (2, 2), Returns::Text, |values| {
        let [text, count] = arguments(values);
        let (Some(text), Some(count)) = (text.into_text(), count.integer64()) else { return Ok(Value::Null) };
        let skipped = text.chars().count().saturating_sub(count.max(0) as usize);
        Ok(Value::text(text.chars().skip(skipped).collect::<String>()))
    }),
    function("substring", (2, 3), Returns::Text, substring),
    function("substr", (2, 3), Returns::Text, substring),
    function("mid", (3, 3), Returns::Text, substring),
    function("substring_index", (3, 3), Returns::Text, |values| {
        let [text, separator, count] = arguments(values);
        let (Some(text), Some(separator), Some(count)) =
            (text.into_text(), separator.into_text(), count.integer64())
        else {
            return Ok(Value::Null);
        };
        if separator.is_empty() || count == 0 {
            return Ok(Value::text(""));
        }
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) - 1;
        let cut = if count > 0 {
            text.match_indices(&*separator).nth(wanted).map(|(at, _)| &text[..at])
        } else {
            text.rmatch_indices(&*separator).nth(wanted).map(|(at, _)| &text[at + separator.len()..])
        };
        Ok(Value::text(cut.unwrap_or(&text)))
    }),
    function("replace", (3, 3), Returns::Text, |values| {
        let [text, from, to] = arguments(values).map(Value::into_text);
        let (Some(text), Some(from), Some(to)) = (text, from, to) else { return Ok(Value::Null) };
        if from.is_empty() {
            return Ok(Value::Text(text));
        }
        let grown = text.len() + text.matches(&*from).count() * to.len();
        Ok(if grown > PACKET_BYTES_MAX { Value::Null } else { Value::text(text.replace(&*from, &to)) })
    }),
    function("repeat", (2, 2), Returns::Text, |values| {
        let [text, count] = arguments(values);
        let (Some(text), Some(count)) = (text.into_text(), count.integer64()) else { return Ok(Value::Null) };
        repeat(&text, count)
    }),
    function("space", (1, 1), Returns::Text, |values| {
        let [count] = arguments(values);
        count.integer64().map_or(Ok(Value::Null), |count| repeat(" ", count))
    }),
    function("lpad", (3, 3), Returns::Text, |values| pad(values, true)),
    function("rpad", (3, 3), Returns::Text, |values| pad(values, false)),
    function("instr", (2, 2), Returns::Int, |values| {
        let [text, part] = arguments(values);
        locate(part, text, 1)
    }),
    function("locate", (2, 3), Returns::Int, |values| {
        let from = values.get(2).map_or(Some(1), Value::integer64);
        let [part, text] = arguments(values);
        from.map_or(Ok(Value::Null), |from| locate(part, text, from))
    }),
    function("ascii", (1, 1), Returns::Int, |values| {
        let [value] = arguments(values);
        Ok(value
            .into_bytes()
            .map_or(Value::Null, |bytes| Value::Int(bytes.first().copied().unwrap_or(0).into())))
    }),
    function("hex", (1, 1), Returns::Text, |values| {
        let [value] = arguments(values);
        Ok(match value {
            Value::Null => Value::Null,
            Value::Text(_) | Value::Bytes(_) | Value::Date(_) | Value::DateTime(_) => {
                let bytes = value.into_bytes().unwrap_or_default();
                Value::text(bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
            }
            number => as_unsigned(&number).map_or(Value::Null, |v| Value::text(format!("{v:X}"))),
        })
    }),
    function("unhex", (1, 1), Returns::Bytes, |values| {
        let [value] = arguments(values);
        let bytes = value.into_text().and_then(|text| unhex(&text));
        Ok(bytes.map_or(Value::Null, |bytes| Value::Bytes(Cow::Owned(bytes))))
    }),
    function("strcmp", (2, 2), Returns::Int, |values| {
        let [left, right] = arguments(values).map(Value::into_text);
        let (Some(left), Some(right)) = (left, right) else { return Ok(Value::Null) };
        let order = compare(&Value::Text(left), &Value::Text(right));
        Ok(order.map_or(Value::Null, |order| Value::Int(order as i64)))
    }),
    function("find_in_set", (2, 2), Returns::Int, |values| {
        let [wanted, set] = arguments(values).map(Value::into_text);
        let (Some(wanted), Some(set)) = (wanted, set) else { return Ok(Value::Null) };
        let found = set.split(',').position(|item| item == wanted);
        Ok(Value::Int(found.map_or(0, |position| position as i64 + 1)))
    }),
];

/// The bytes that these digits name; an odd number of digits has a zero before it.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let mut digits = digits?;
    if digits.len() % 2 == 1 {
        digits.insert(0, 0);
    }
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn map<'a>(values: Vec<Value<'a>>, of: fn(&str) -> String) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    Ok(value.into_text().map_or(Value::Null, |text| Value::text(of(&text))))
}

fn length<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    Ok(value.into_bytes().map_or(Value::Null, |bytes| Value::Int(bytes.len() as i64)))
}

fn characters<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    let [value] = arguments(values);
    Ok(value.into_text().map_or(Value::Null, |text| Value::Int(text.chars().count() as i64)))
}

fn substring<'a>(values: Vec<Value<'a>>) -> Result<Value<'a>, SqlError> {
    let count = values.get(2).map_or(Some(i64::MAX), Value::integer64);
    let [text, from] = arguments(values);
    let (Some(text), Some(from), Some(count)) = (text.into_text(), from.integer64(), count) else {
        return Ok(Value::Null);
    };
    let length = text.chars().count() as i64;
    let start = if from < 0 { length.saturating_add(from) } else { from - 1 };
    if start < 0 || count <= 0 {
        return Ok(Value::text(""));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Value::text(text.chars().skip(start as usize).take(count).collect::<String>()))
}

fn repeat<'a>(text: &str, count: i64) -> Result<Value<'a>, SqlError> {
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    let size = text.len().checked_mul(count).filter(|size| *size <= PACKET_BYTES_MAX);
    Ok(size.map_or(Value::Null, |_| Value::text(text.repeat(count))))
}

fn pad<'a>(values: Vec<Value<'a>>, left: bool) -> Result<Value<'a>, SqlError> {
    let [text, length, filler] = arguments(values);
    let (Some(text), Some(length), Some(filler)) = (text.into_text(), length.integer64(), filler.into_text())
    else {
        return Ok(Value::Null);
    };
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= PACKET_BYTES_MAX / 4) else {
        return Ok(Value::Null);
    };
    let missing = length.saturating_sub(text.chars().count());
    if missing > 0 && filler.is_empty() {
        return Ok(Value::text(""));
    }
    let kept = text.chars().take(length);
    let padding = filler.chars().cycle().take(missing);
    Ok(Value::text(if left {
        padding.chain(kept).collect::<String>()
    } else {
        kept.chain(padding).collect()
    }))
}

fn locate<'a>(part: Value<'a>, text: Value<'a>, from: i64) -> Result<Value<'a>, SqlError> {
    let (Some(part), Some(text)) = (part.into_text(), text.into_text()) else { return Ok(Value::Null) };
    let Some(skipped) = usize::try_from(from).ok().and_then(|from| from.checked_sub(1)) else {
        return Ok(Value::Int(0));
    };
    let Some(start) = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(skipped) else {
        return Ok(Value::Int(0));
    };
    let found = text[start..].find(&*part).map(|at| text[..start + at].chars().count() as i64 + 1);
    Ok(Value::Int(found.unwrap_or(0)))
}
