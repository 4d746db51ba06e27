//! SET of variables; SET is taken.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::source::Refusal;
use super::words::Words;
use crate::statement::{Assigned, Statement};

/// The variables that `SET NAMES` sets.
const OF_NAMES: [&str; 3] = ["character_set_client", "character_set_connection", "character_set_results"];

pub(super) fn set(parser: &mut Parser<'_>) -> Result<Statement, Refusal> {
    let place = parser.place();
    let (mut of_session, mut of_all) = (Vec::new(), Vec::new());
    let mut global = false;
    loop {
        if parser.take("GLOBAL") {
            global = true;
        } else if parser.take("SESSION") || parser.take("LOCAL") {
            global = false;
        } else if parser.at("CLUSTER") || parser.at("LEAF") || parser.at("AGGREGATOR") {
            return parser.unsupported("SET of this scope");
        }
        if parser.take("TRANSACTION") {
            of_session.extend(transaction(parser)?.into_iter().map(as_text));
        } else if parser.take("NAMES") {
            of_session.extend(names(parser)?.into_iter().map(as_text));
        } else if parser.take_all(&["CHARACTER", "SET"]) || parser.take("CHARSET") {
            let set = parser.text_or_name("a character set")?;
            of_session.extend(OF_NAMES.map(|name| as_text((name.to_owned(), set.clone()))));
        } else {
            let (scope, name) = variable(parser)?;
            if !(parser.take_sign(&Token::Eq) || parser.take_sign(&Token::Assignment)) {
                return parser.refuse("=");
            }
            if scope.unwrap_or(global) {
                let value = match value(parser)? {
                    Assigned::Text(text) => text,
                    Assigned::Computed(expr) => expr.to_string(),
                };
                of_all.push((name, value));
            } else if name.starts_with('@') {
                of_session.push((name, Assigned::Computed(Box::new(parser.parse_expr()?))));
            } else {
                of_session.push((name, value(parser)?));
            }
        }
        if !parser.take_sign(&Token::Comma) {
            break;
        }
    }
    match (of_session.is_empty(), of_all.is_empty()) {
        (_, true) => Ok(Statement::SetSession(of_session)),
        (true, false) => Ok(Statement::SetGlobal(of_all)),
        (false, false) => {
            Err(Refusal::Unsupported("SET of global and session variables at once".into(), place))
        }
    }
}

/// A variable and the scope that it names itself: true is global.
fn variable(parser: &mut Parser<'_>) -> Result<(Option<bool>, String), Refusal> {
    let first = parser.name("a variable")?.to_ascii_lowercase();
    let scope = match first.as_str() {
        "@@global" => Some(true),
        "@@session" | "@@local" => Some(false),
        _ => None,
    };
    if scope.is_some() {
        parser.want_sign(&Token::Period, ".")?;
        return Ok((scope, parser.name("a variable")?.to_ascii_lowercase()));
    }
    match first.strip_prefix("@@") {
        Some(name) => Ok((Some(false), name.to_owned())),
        None if first.starts_with('@') => Ok((Some(false), first)),
        None => Ok((None, first)),
    }
}

fn as_text((name, text): (String, String)) -> (String, Assigned) {
    (name, Assigned::Text(text))
}

/// The value of a system variable.
fn value(parser: &mut Parser<'_>) -> Result<Assigned, Refusal> {
    let minus = usize::from(parser.peek_token_ref().token == Token::Minus);
    let ends =
        matches!(parser.peek_nth_token_ref(minus + 1).token, Token::Comma | Token::EOF | Token::SemiColon);
    let simple = match &parser.peek_nth_token_ref(minus).token {
        _ if !ends => None,
        Token::Number(digits, _) if minus == 1 => Some(format!("-{digits}")),
        _ if minus == 1 => None,
        Token::Word(word) if !word.value.starts_with('@') => Some(word.value.clone()),
        Token::Number(digits, _) => Some(digits.clone()),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Some(text.clone()),
        _ => None,
    };
    let Some(text) = simple else { return Ok(Assigned::Computed(Box::new(parser.parse_expr()?))) };
    for _ in 0..=minus {
        parser.next_token();
    }
    Ok(Assigned::Text(text))
}

/// `NAMES x [COLLATE y]`; NAMES is taken.
fn names(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let set = parser.text_or_name("a character set")?;
    let mut variables: Vec<_> = OF_NAMES.iter().map(|name| ((*name).to_owned(), set.clone())).collect();
    if parser.take("COLLATE") {
        variables.push(("collation_connection".into(), parser.text_or_name("a collation")?));
    }
    Ok(variables)
}

/// `ISOLATION LEVEL … | READ ONLY | READ WRITE [, …]`; TRANSACTION is taken.
fn transaction(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let mut variables = Vec::new();
    loop {
        if parser.take_all(&["ISOLATION", "LEVEL"]) {
            let level = if parser.take_all(&["READ", "COMMITTED"]) {
                "READ-COMMITTED"
            } else if parser.take_all(&["READ", "UNCOMMITTED"]) {
                "READ-UNCOMMITTED"
            } else if parser.take_all(&["REPEATABLE", "READ"]) {
                "REPEATABLE-READ"
            } else {
                parser.want("SERIALIZABLE")?;
                "SERIALIZABLE"
            };
            variables.push(("transaction_isolation".into(), level.into()));
        } else {
            parser.want("READ")?;
            let only = parser.take("ONLY");
            if !only {
                parser.want("WRITE")?;
            }
            variables.push(("transaction_read_only".into(), if only { "1" } else { "0" }.into()));
        }
        if !parser.take_sign(&Token::Comma) {
            return Ok(variables);
        }
    }
}
