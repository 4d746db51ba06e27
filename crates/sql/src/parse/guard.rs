//! What is refused before it is parsed, because a tree of it would be too deep or too large.
//!
//! The parser itself bounds how deep parentheses and subqueries go. Operators in one row (`a + b + c`) are parsed in
//! a loop, but make a tree as deep as the row is long, which everything after the parser walks down. Rows within
//! parentheses within rows make a tree as deep as all of them together, and so do the tables of a WITH, where each
//! may be computed from the one before it.

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::PACKET_BYTES_MAX;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::source::Refusal;
use crate::limits::{CHAIN_MAX, DEPTH_MAX, NESTING_MAX, SELECTS_MAX, SET_OPERATIONS_MAX, TOKENS_MAX};

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

/// What stands between two parentheses, as far as it was read.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Operators since the last comma.
    chain: usize,
    /// The depth of what stands in parentheses since the last comma.
    inner: usize,
    /// The depth of the deepest item before the last comma.
    earlier: usize,
    /// The depth of the subqueries, of which any item may be computed.
    queries: usize,
    /// Whether it is a subquery itself.
    is_query: bool,
    /// Whether something other than a space was read.
    is_begun: bool,
}

impl Level {
    /// How deep its tree is: the planner puts what a subquery computes in the place of its column.
    fn depth(self) -> usize {
        self.earlier.max(self.chain + self.inner) + self.queries
    }

    /// Items that commas divide do not stand within each other.
    fn next_item(&mut self) {
        self.earlier = self.earlier.max(self.chain + self.inner);
        (self.chain, self.inner) = (0, 0);
    }

    /// Takes in what stood in parentheses. With a WITH each subquery may be computed from the one before it.
    fn close(&mut self, closed: Self, has_with: bool) {
        let depth = closed.depth() + 1;
        self.is_query |= closed.is_query;
        match (closed.is_query, has_with) {
            (false, _) => self.inner = self.inner.max(depth),
            (true, false) => self.queries = self.queries.max(depth),
            (true, true) => self.queries += depth,
        }
    }
}

/// Refuses tokens that would make a tree too deep, and names that are ours.
pub(super) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    let mut levels: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let (mut set_operations, mut selects) = (0_usize, 0_usize);
    let mut has_with = false;
    let mut previous: Option<&Token> = None;
    for TokenWithSpan { token, span } in tokens {
        let keyword = match token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        if !level.is_begun {
            level.is_begun = true;
            level.is_query =
                matches!(keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE);
        }
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                if matches!(previous, Some(Token::Word(word)) if word.value.starts_with("__")) {
                    return Err(Refusal::Expected("a function", span.start));
                }
                if levels.len() >= NESTING_MAX {
                    return Err(too_much(
                        format!("a statement with more than {NESTING_MAX} levels"),
                        span.start,
                    ));
                }
                levels.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if let Some(outer) = levels.pop() {
                    let closed = std::mem::replace(&mut level, outer);
                    level.close(closed, has_with);
                }
            }
            Token::Comma => level.next_item(),
            Token::Lt if matches!(previous, Some(Token::Word(word)) if word.keyword == Keyword::ARRAY) => {
                return Err(too_much("ARRAY".into(), span.start));
            }
            token if is_operator(token) => {
                level.chain += 1;
                if level.chain > CHAIN_MAX {
                    return Err(too_much(format!("more than {CHAIN_MAX} operators in a row"), span.start));
                }
            }
            _ => {}
        }
        match keyword {
            Keyword::WITH => has_with = true,
            Keyword::SELECT => {
                selects += 1;
                if selects > SELECTS_MAX {
                    return Err(too_much(format!("more than {SELECTS_MAX} SELECTs"), span.start));
                }
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => {
                set_operations += 1;
                if set_operations > SET_OPERATIONS_MAX {
                    return Err(too_much(format!("more than {SET_OPERATIONS_MAX} UNIONs"), span.start));
                }
            }
            _ => {}
        }
        if level.depth() > DEPTH_MAX {
            return Err(too_much(format!("expressions that are more than {DEPTH_MAX} deep"), span.start));
        }
        previous = Some(token);
    }
    Ok(())
}

fn too_much(what: String, at: Location) -> Refusal {
    Refusal::Unsupported(what, at)
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
                | Keyword::AT
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::MATCH
                | Keyword::MEMBER
                | Keyword::OVERLAPS
                | Keyword::OPERATOR
                | Keyword::NOTNULL
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
        | Token::EOF => false,
        _ => true,
    }
}
