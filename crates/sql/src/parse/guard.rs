//! What is refused before it is parsed, because a tree of it would be too deep or too large.
//!
//! The parser itself bounds how deep parentheses and subqueries go. Operators in one row (`a + b + c`) are parsed in
//! a loop, but make a tree as deep as the row is long, which everything after the parser walks down.

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::PACKET_BYTES_MAX;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::source::Refusal;
use crate::limits::{CHAIN_MAX, NESTING_MAX, SET_OPERATIONS_MAX, TOKENS_MAX};

/// Refuses a text that is too long, before it is cut into tokens.
pub(super) fn check_text(sql: &str) -> Result<(), SqlError> {
    if sql.len() > PACKET_BYTES_MAX {
        let text = format!("Got a statement bigger than {PACKET_BYTES_MAX} bytes");
        return Err(SqlError::new(ErrorCode::PacketTooLarge, text));
    }
    if sql.len() <= TOKENS_MAX {
        return Ok(());
    }
    // At least one token ends at each of these, outside of literals.
    let mut quote = None;
    let mut escaped = false;
    let mut tokens = 0_usize;
    for byte in sql.bytes() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'\'' | b'"' | b'`') => quote = Some(byte),
            None if byte.is_ascii() && !byte.is_ascii_alphanumeric() => tokens += 1,
            None => {}
        }
    }
    if tokens > TOKENS_MAX {
        return Err(SqlError::new(
            ErrorCode::TooBig,
            format!("A statement has at most {TOKENS_MAX} words and signs"),
        ));
    }
    Ok(())
}

/// Refuses tokens that would make a tree too deep, and names that are ours.
pub(super) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    let mut chains = vec![0_usize];
    let mut set_operations = 0_usize;
    let mut previous: Option<&Token> = None;
    for TokenWithSpan { token, span } in tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => {
                if matches!(previous, Some(Token::Word(word)) if word.value.starts_with("__")) {
                    return Err(Refusal::Expected("a function", span.start));
                }
                if chains.len() > NESTING_MAX {
                    return Err(too_much(
                        format!("a statement with more than {NESTING_MAX} levels"),
                        span.start,
                    ));
                }
                chains.push(0);
            }
            Token::RParen | Token::RBracket | Token::RBrace if chains.len() > 1 => {
                chains.pop();
            }
            Token::Comma => *chains.last_mut().expect("the outermost level is never popped") = 0,
            Token::Lt if matches!(previous, Some(Token::Word(word)) if word.keyword == Keyword::ARRAY) => {
                return Err(too_much("ARRAY".into(), span.start));
            }
            token if is_operator(token) => {
                let chain = chains.last_mut().expect("the outermost level is never popped");
                *chain += 1;
                if *chain > CHAIN_MAX {
                    return Err(too_much(format!("more than {CHAIN_MAX} operators in a row"), span.start));
                }
            }
            Token::Word(word) if word.quote_style.is_none() && is_set_operation(word.keyword) => {
                set_operations += 1;
                if set_operations > SET_OPERATIONS_MAX {
                    return Err(too_much(format!("more than {SET_OPERATIONS_MAX} UNIONs"), span.start));
                }
            }
            _ => {}
        }
        previous = Some(token);
    }
    Ok(())
}

fn too_much(what: String, at: Location) -> Refusal {
    Refusal::Unsupported(what, at)
}

fn is_set_operation(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS)
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_none() => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::DIV
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::INTERVAL
                | Keyword::BINARY
                | Keyword::JOIN
                | Keyword::STRAIGHT_JOIN
                | Keyword::PIVOT
                | Keyword::UNPIVOT
                | Keyword::MATCH_RECOGNIZE
        ),
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::SemiColon
        | Token::AtSign
        | Token::EOF => false,
        _ => true,
    }
}
