//! Statements as text. Clients send bytes within them raw: `_binary'…'` with anything between the quotes.
//!
//! Each such literal, and any other that is no UTF-8, becomes `X'…'`; all else stays as it was.

use std::borrow::Cow;

use baton_model::errors::{ErrorCode, SqlError};

/// What marks the literal after it as bytes.
const INTRODUCER: &[u8] = b"_binary";

/// The statement as text.
///
/// # Errors
/// 1064 if it is no UTF-8 outside its literals.
pub(crate) fn readable(statement: &[u8]) -> Result<Cow<'_, str>, SqlError> {
    if let Ok(text) = std::str::from_utf8(statement)
        && !statement.windows(INTRODUCER.len()).any(|window| window.eq_ignore_ascii_case(INTRODUCER))
    {
        return Ok(Cow::Borrowed(text));
    }
    match String::from_utf8(rewrite(statement)) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => {
            let at = std::str::from_utf8(statement).map_or_else(|error| error.valid_up_to(), str::len);
            Err(SqlError::new(
                ErrorCode::ParseError,
                format!("You have an error in your SQL syntax: no UTF-8 near byte {}", at + 1),
            ))
        }
    }
}

fn rewrite(statement: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(statement.len() * 2);
    // Where in `out` the present stretch outside of literals and comments began.
    let mut plain_from = 0;
    let mut rest = statement;
    while let Some((&first, after)) = rest.split_first() {
        let length = match first {
            b'\'' | b'"' => {
                let length = literal_length(rest);
                let literal = &rest[..length];
                let introduced = introducer_at(&out, plain_from);
                if introduced.is_some() || std::str::from_utf8(literal).is_err() {
                    out.truncate(introduced.unwrap_or(out.len()));
                    out.extend(b"X'");
                    for byte in unescaped(literal) {
                        out.extend(format!("{byte:02X}").as_bytes());
                    }
                    out.push(b'\'');
                } else {
                    out.extend(literal);
                }
                length
            }
            b'`' => copied(&mut out, rest, 1 + until(after, b"`")),
            b'#' => copied(&mut out, rest, 1 + until(after, b"\n")),
            b'-' if rest.starts_with(b"-- ") => copied(&mut out, rest, until(rest, b"\n")),
            b'/' if rest.starts_with(b"/*") => copied(&mut out, rest, 2 + until(&rest[2..], b"*/")),
            _ => {
                out.push(first);
                rest = after;
                continue;
            }
        };
        plain_from = out.len();
        rest = &rest[length..];
    }
    out
}

fn copied(out: &mut Vec<u8>, from: &[u8], length: usize) -> usize {
    out.extend(&from[..length]);
    length
}

/// The number of bytes up to and with the next `end`, or all.
fn until(bytes: &[u8], end: &[u8]) -> usize {
    bytes.windows(end.len()).position(|window| window == end).map_or(bytes.len(), |at| at + end.len())
}

/// The length of the literal at the front, with its quotes. A doubled quote does not end it, nor an escaped one.
fn literal_length(bytes: &[u8]) -> usize {
    let quote = bytes[0];
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    bytes.len()
}

/// Where the introducer begins that `out` ends in, if it does.
fn introducer_at(out: &[u8], plain_from: usize) -> Option<usize> {
    let plain = out[plain_from..].trim_ascii_end();
    let at = plain.len().checked_sub(INTRODUCER.len())?;
    let alone = at == 0 || !(plain[at - 1].is_ascii_alphanumeric() || matches!(plain[at - 1], b'_' | b'$'));
    (alone && plain[at..].eq_ignore_ascii_case(INTRODUCER)).then_some(plain_from + at)
}

/// What the literal stands for.
fn unescaped(literal: &[u8]) -> Vec<u8> {
    let quote = literal[0];
    let inner = &literal[1..];
    let inner = inner.strip_suffix(&[quote]).unwrap_or(inner);
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'0') => 0,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'b') => 8,
                Some(b'Z') => 26,
                Some(other) => other,
                None => b'\\',
            },
            _ if byte == quote => {
                bytes.next();
                quote
            }
            _ => byte,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_become_hexadecimal_and_the_rest_stays() {
        for (statement, expected) in [
            (
                &b"SELECT 'it''s', \"a\\\"b\" -- _binary\n'x'"[..],
                "SELECT 'it''s', \"a\\\"b\" -- _binary\n'x'",
            ),
            (
                b"INSERT INTO t VALUES (_binary'\xff\\0\\'''', 'ok')",
                "INSERT INTO t VALUES (X'FF002727', 'ok')",
            ),
            (b"SELECT _Binary ''", "SELECT X''"),
            (b"SELECT '\xfe', `_binary` 'b', my_binary'c'", "SELECT X'FE', `_binary` 'b', my_binary'c'"),
            (b"/* _binary */ 'a' # _binary'b'\n, _binary 'c'", "/* _binary */ 'a' # _binary'b'\n, X'63'"),
        ] {
            assert_eq!(readable(statement).unwrap(), expected);
        }
    }

    #[test]
    fn no_text_outside_of_literals_is_an_error_with_its_place() {
        let error = readable(b"SELECT \xff").unwrap_err();
        assert_eq!((error.code, error.message.ends_with("byte 8")), (ErrorCode::ParseError, true), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_can_panic_it(statement: Vec<u8>) {
            let _ = readable(&statement);
            let _ = readable(&[b"_binary'", &statement[..]].concat());
            let _ = readable(&[&statement[..], b" _binary'\\"].concat());
        }

        #[test]
        fn any_bytes_arrive(bytes: Vec<u8>) {
            let mut statement = b"_binary'".to_vec();
            for byte in &bytes {
                match byte {
                    b'\'' | b'\\' => statement.extend([b'\\', *byte]),
                    _ => statement.push(*byte),
                }
            }
            statement.push(b'\'');
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            prop_assert_eq!(readable(&statement).unwrap(), format!("X'{hex}'"));
        }
    }
}
