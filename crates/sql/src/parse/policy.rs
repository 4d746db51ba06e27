//! Statements about policies, and of maintenance.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{MAINTENANCE_MAX_MS, POLICY_BYTES_MAX};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cluster::address;
use super::source::Refusal;
use super::words::Words;
use crate::policy::{PolicyScope, PolicyStatement, WantedPolicy};
use crate::statement::{Address, MaintenanceKind};

/// `name FROM …`; CREATE [OR REPLACE] POLICY is taken.
pub(super) fn create(parser: &mut Parser<'_>, replace: bool) -> Result<PolicyStatement, Refusal> {
    let name = parser.text_or_name("the name of a policy")?;
    parser.want("FROM")?;
    let bytes = component(parser)?;
    let signature = if parser.take_all(&["SIGNED", "BY"]) {
        let key = parser.text("a public key in quotes")?;
        parser.want("SIGNATURE")?;
        Some((key, parser.text("a signature in quotes")?))
    } else {
        None
    };
    Ok(PolicyStatement::Create { name, replace, bytes, signature })
}

fn component(parser: &mut Parser<'_>) -> Result<Vec<u8>, Refusal> {
    let place = parser.place();
    let bytes = if parser.take("BASE64") {
        let mut text = parser.text("a component in quotes")?;
        text.retain(|letter| !letter.is_ascii_whitespace());
        STANDARD.decode(text).map_err(|_| Refusal::Expected("a component in base64", place))?
    } else {
        let Token::HexStringLiteral(digits) = &parser.peek_token_ref().token else {
            return parser.refuse("x'…' or BASE64 '…'");
        };
        let bytes = from_hex(digits).ok_or(Refusal::Expected("whole bytes as hexadecimal digits", place))?;
        parser.next_token();
        bytes
    };
    if bytes.len() > POLICY_BYTES_MAX {
        let text = format!("A policy has at most {POLICY_BYTES_MAX} bytes, and this one has {}", bytes.len());
        return Err(SqlError::new(ErrorCode::TooBig, text).into());
    }
    Ok(bytes)
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(value(high)? << 4 | value(low)?),
            _ => None,
        })
        .collect()
}

/// `[IF EXISTS] name`; DROP POLICY is taken.
pub(super) fn drop_policy(parser: &mut Parser<'_>) -> Result<PolicyStatement, Refusal> {
    let if_exists = parser.take_all(&["IF", "EXISTS"]);
    Ok(PolicyStatement::Drop { name: parser.text_or_name("the name of a policy")?, if_exists })
}

/// `point = …`; SET POLICY is taken.
pub(super) fn set(parser: &mut Parser<'_>) -> Result<PolicyStatement, Refusal> {
    let decision_point = decision_point(parser)?;
    parser.want_sign(&Token::Eq, "=")?;
    if parser.take("DEFAULT") {
        return match scope(parser)? {
            PolicyScope::Cluster => parser.refuse("FOR DATABASE or FOR GROUP"),
            scope => Ok(PolicyStatement::SetDefault { decision_point, scope }),
        };
    }
    let wanted = wanted(parser, decision_point)?;
    let report =
        if parser.take("REPORT") { Some(parser.text("a report of the lab in quotes")?) } else { None };
    Ok(PolicyStatement::Set { wanted, report })
}

/// `point = …`; SET SHADOW POLICY is taken.
pub(super) fn set_shadow(parser: &mut Parser<'_>) -> Result<PolicyStatement, Refusal> {
    let decision_point = decision_point(parser)?;
    parser.want_sign(&Token::Eq, "=")?;
    if parser.take("NONE") {
        return Ok(PolicyStatement::SetNoShadow { decision_point, scope: scope(parser)? });
    }
    wanted(parser, decision_point).map(PolicyStatement::SetShadow)
}

/// `point [FOR …]`; ROLLBACK POLICY is taken.
pub(super) fn rollback(parser: &mut Parser<'_>) -> Result<PolicyStatement, Refusal> {
    Ok(PolicyStatement::Rollback { decision_point: decision_point(parser)?, scope: scope(parser)? })
}

/// `name`; RELEASE POLICY is taken.
pub(super) fn release(parser: &mut Parser<'_>) -> Result<PolicyStatement, Refusal> {
    Ok(PolicyStatement::Release { name: parser.text_or_name("the name of a policy")? })
}

/// `node {FOR n SECONDS | OFF}`; SET MAINTENANCE is taken.
pub(super) fn maintenance(parser: &mut Parser<'_>) -> Result<PolicyStatement, Refusal> {
    let node = node(parser)?;
    let seconds = if parser.take("OFF") {
        None
    } else {
        parser.want("FOR")?;
        let seconds = parser.number("seconds, at most a day", 1..=MAINTENANCE_MAX_MS / 1000)?;
        if !parser.take("SECOND") {
            parser.want("SECONDS")?;
        }
        Some(seconds)
    };
    Ok(PolicyStatement::Maintenance { node, seconds })
}

/// `'host':port`, or `'host:port'` as SHOW prints it.
fn node(parser: &mut Parser<'_>) -> Result<Address, Refusal> {
    let node = address(parser)?;
    let split =
        node.host.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    Ok(match split {
        Some((host, port)) if !host.contains(':') => Address { host, port },
        _ => node,
    })
}

/// A decision point in lower case; None is ALL.
fn decision_point(parser: &mut Parser<'_>) -> Result<Option<String>, Refusal> {
    if parser.take("ALL") {
        return Ok(None);
    }
    Ok(Some(parser.text_or_name("a decision point or ALL")?.to_ascii_lowercase()))
}

/// `name [VERSION 'prefix'] [WITH (…)] [FOR …]`.
fn wanted(parser: &mut Parser<'_>, decision_point: Option<String>) -> Result<WantedPolicy, Refusal> {
    let policy = parser.text_or_name("the name of a policy")?;
    let version = if parser.take("VERSION") {
        Some(parser.text("the beginning of a hash in quotes")?.to_ascii_lowercase())
    } else {
        None
    };
    let settings = settings(parser)?;
    Ok(WantedPolicy { decision_point, policy, version, settings, scope: scope(parser)? })
}

/// `[FOR DATABASE db | FOR GROUP n]`.
fn scope(parser: &mut Parser<'_>) -> Result<PolicyScope, Refusal> {
    if !parser.take("FOR") {
        return Ok(PolicyScope::Cluster);
    }
    if parser.take("DATABASE") {
        return parser.name("a database").map(PolicyScope::Database);
    }
    if !parser.take("GROUP") {
        return parser.refuse("DATABASE or GROUP");
    }
    let group = parser.number("an availability group, 1 or 2", 1..=2)?;
    Ok(PolicyScope::Group(if group == 1 { 1 } else { 2 }))
}

/// `[WITH (name = value, …)]`.
fn settings(parser: &mut Parser<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut settings = BTreeMap::new();
    if !parser.take("WITH") {
        return Ok(settings);
    }
    parser.want_sign(&Token::LParen, "(")?;
    loop {
        let key = parser.text_or_name("the name of a setting")?;
        parser.want_sign(&Token::Eq, "=")?;
        settings.insert(key, setting(parser)?);
        if !parser.take_sign(&Token::Comma) {
            break;
        }
    }
    parser.want_sign(&Token::RParen, ")")?;
    Ok(settings)
}

fn setting(parser: &mut Parser<'_>) -> Result<String, Refusal> {
    let sign = if parser.take_sign(&Token::Minus) { "-" } else { "" };
    match &parser.peek_token_ref().token {
        Token::Number(digits, _) => {
            let value = format!("{sign}{digits}");
            parser.next_token();
            Ok(value)
        }
        _ => parser.text_or_name("a value"),
    }
}

/// The word after `EXPLAIN MAINTENANCE`.
pub(super) fn maintenance_kind(parser: &mut Parser<'_>) -> Result<MaintenanceKind, Refusal> {
    if parser.take("RESTART") {
        Ok(MaintenanceKind::Restart)
    } else if parser.take("STOP") {
        Ok(MaintenanceKind::Stop)
    } else if parser.take("START") {
        Ok(MaintenanceKind::Start)
    } else {
        parser.refuse("RESTART, STOP or START")
    }
}
