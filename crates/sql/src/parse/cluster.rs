//! Statements about nodes.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::source::Refusal;
use super::words::Words;
use crate::statement::{Address, ClusterStatement, Login};

/// The port of a login that names none.
const DEFAULT_PORT: u16 = 3306;

/// `BOOTSTRAP AGGREGATOR 'host'[:port]`; BOOTSTRAP is taken.
pub(super) fn bootstrap(parser: &mut Parser<'_>) -> Result<ClusterStatement, Refusal> {
    parser.want("AGGREGATOR")?;
    let host = parser.text("the host in quotes")?;
    let port = if parser.take_sign(&Token::Colon) { Some(port(parser)?) } else { None };
    Ok(ClusterStatement::BootstrapAggregator { host, port })
}

/// `ADD AGGREGATOR …` and `ADD LEAF …`; ADD is taken.
pub(super) fn add(parser: &mut Parser<'_>) -> Result<ClusterStatement, Refusal> {
    if parser.take("AGGREGATOR") {
        let login = login(parser)?;
        let voting_member = if parser.take("AS") {
            if parser.take_all(&["VOTING", "MEMBER"]) {
                true
            } else {
                parser.want("FOLLOWER")?;
                false
            }
        } else {
            false
        };
        Ok(ClusterStatement::AddAggregator { login, voting_member })
    } else if parser.take("LEAF") {
        let login = login(parser)?;
        let group = if parser.take_all(&["INTO", "GROUP"]) {
            let group = parser.number("the number of an availability group", 1..=u32::MAX.into())?;
            u32::try_from(group).ok()
        } else {
            None
        };
        Ok(ClusterStatement::AddLeaf { login, group })
    } else {
        parser.refuse("AGGREGATOR or LEAF")
    }
}

/// `REMOVE AGGREGATOR 'host':port`; REMOVE is taken.
pub(super) fn remove(parser: &mut Parser<'_>) -> Result<ClusterStatement, Refusal> {
    parser.want("AGGREGATOR")?;
    Ok(ClusterStatement::RemoveAggregator(address(parser)?))
}

/// `PROMOTE AGGREGATOR 'host':port TO MASTER`; PROMOTE is taken.
pub(super) fn promote(parser: &mut Parser<'_>) -> Result<ClusterStatement, Refusal> {
    parser.want("AGGREGATOR")?;
    let address = address(parser)?;
    parser.want("TO")?;
    parser.want("MASTER")?;
    Ok(ClusterStatement::PromoteAggregator(address))
}

/// `@'host'` or `@host` behind a name, if there is one.
pub(super) fn host_part(parser: &mut Parser<'_>) -> Result<Option<String>, Refusal> {
    if parser.take_sign(&Token::AtSign) || parser.take("@") {
        return parser.text_or_name("a host").map(Some);
    }
    if let Token::Word(word) = &parser.peek_token_ref().token
        && let Some(host) = word.value.strip_prefix('@')
    {
        let host = host.to_owned();
        parser.next_token();
        return Ok(Some(host));
    }
    Ok(None)
}

/// `user[:'password']@'host'[:port]`.
fn login(parser: &mut Parser<'_>) -> Result<Login, Refusal> {
    let mut user = parser.text_or_name("a user")?;
    let mut password = String::new();
    let host = if let Some((name, host)) = user.clone().split_once('@') {
        // `root@` and `root@host` are one word to the tokenizer.
        user = name.to_owned();
        if host.is_empty() { parser.text_or_name("a host")? } else { rest_of_host(parser, host.to_owned())? }
    } else {
        if parser.take_sign(&Token::Colon) {
            password = parser.text_or_name("the password in quotes")?;
        }
        match host_part(parser)? {
            Some(host) if host.is_empty() => parser.text_or_name("a host")?,
            Some(host) => rest_of_host(parser, host)?,
            None => return parser.refuse("@"),
        }
    };
    let port = if parser.take_sign(&Token::Colon) { port(parser)? } else { DEFAULT_PORT };
    Ok(Login { user, password, address: Address { host, port } })
}

/// A host without quotes may have points in it.
fn rest_of_host(parser: &mut Parser<'_>, mut host: String) -> Result<String, Refusal> {
    while parser.take_sign(&Token::Period) {
        host.push('.');
        host.push_str(&parser.name("a host")?);
    }
    Ok(host)
}

pub(super) fn address(parser: &mut Parser<'_>) -> Result<Address, Refusal> {
    let host = parser.text_or_name("the host in quotes")?;
    let host = rest_of_host(parser, host)?;
    let port = if parser.take_sign(&Token::Colon) { port(parser)? } else { DEFAULT_PORT };
    Ok(Address { host, port })
}

fn port(parser: &mut Parser<'_>) -> Result<u16, Refusal> {
    let number = parser.number("a port", 1..=u16::MAX.into())?;
    Ok(u16::try_from(number).unwrap_or(DEFAULT_PORT))
}
