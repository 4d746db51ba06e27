//! Statements about users and what they may do.

use std::collections::BTreeSet;

use baton_catalog::Privilege;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::source::Refusal;
use super::words::Words;
use crate::statement::TableName;
use crate::users::{GrantTarget, Granted, UserStatement};

/// `CREATE USER [IF NOT EXISTS] user [IDENTIFIED BY 'password']`; both words are taken.
pub(super) fn create_user(parser: &mut Parser<'_>) -> Result<UserStatement, Refusal> {
    let if_not_exists = parser.take_all(&["IF", "NOT", "EXISTS"]);
    let user = user(parser)?;
    let password = identified_by(parser)?.unwrap_or_default();
    Ok(UserStatement::Create { user, if_not_exists, password })
}

/// `ALTER USER user IDENTIFIED BY 'password'`; both words are taken.
pub(super) fn alter_user(parser: &mut Parser<'_>) -> Result<UserStatement, Refusal> {
    let user = user(parser)?;
    match identified_by(parser)? {
        Some(password) => Ok(UserStatement::SetPassword { user: Some(user), password }),
        None => parser.refuse("IDENTIFIED BY"),
    }
}

/// `DROP USER [IF EXISTS] user, …`; both words are taken.
pub(super) fn drop_user(parser: &mut Parser<'_>) -> Result<UserStatement, Refusal> {
    let if_exists = parser.take_all(&["IF", "EXISTS"]);
    Ok(UserStatement::Drop { users: users(parser)?, if_exists })
}

/// `SET PASSWORD [FOR user] = …`; both words are taken.
pub(super) fn set_password(parser: &mut Parser<'_>) -> Result<UserStatement, Refusal> {
    let user = if parser.take("FOR") { Some(user(parser)?) } else { None };
    parser.want_sign(&Token::Eq, "=")?;
    let password = if parser.take("PASSWORD") {
        parser.want_sign(&Token::LParen, "(")?;
        let password = parser.text("the password in quotes")?;
        parser.want_sign(&Token::RParen, ")")?;
        password
    } else {
        parser.text("the password in quotes")?
    };
    Ok(UserStatement::SetPassword { user, password })
}

/// `GRANT privileges ON target TO user, … [IDENTIFIED BY 'password'] [WITH GRANT OPTION]`; GRANT is taken.
pub(super) fn grant(parser: &mut Parser<'_>) -> Result<UserStatement, Refusal> {
    let mut privileges = privileges(parser)?;
    let target = target(parser)?;
    parser.want("TO")?;
    let users = users(parser)?;
    let password = identified_by(parser)?;
    if parser.take_all(&["WITH", "GRANT", "OPTION"]) {
        privileges.named.insert(Privilege::GrantOption);
    }
    Ok(UserStatement::Grant { privileges, target, users, password })
}

/// `REVOKE privileges ON target FROM user, …`, `REVOKE ALL [PRIVILEGES], GRANT OPTION FROM user, …`; REVOKE is taken.
pub(super) fn revoke(parser: &mut Parser<'_>) -> Result<UserStatement, Refusal> {
    let privileges = privileges(parser)?;
    if privileges.all && privileges.named.contains(&Privilege::GrantOption) && parser.take("FROM") {
        return Ok(UserStatement::RevokeAll { users: users(parser)? });
    }
    let target = target(parser)?;
    parser.want("FROM")?;
    Ok(UserStatement::Revoke { privileges, target, users: users(parser)? })
}

fn privileges(parser: &mut Parser<'_>) -> Result<Granted, Refusal> {
    let mut granted = Granted::default();
    loop {
        if parser.take("ALL") {
            let _ = parser.take("PRIVILEGES");
            granted.all = true;
        } else if parser.take_all(&["GRANT", "OPTION"]) {
            granted.named.insert(Privilege::GrantOption);
        } else if !parser.take("USAGE") {
            let place = parser.place();
            let word = parser.name("a privilege")?.to_ascii_uppercase();
            match Privilege::ALL.into_iter().find(|privilege| privilege.to_string() == word) {
                Some(privilege) => granted.named.insert(privilege),
                None => return Err(Refusal::Unsupported(format!("privilege {word}"), place)),
            };
        }
        if !parser.take_sign(&Token::Comma) {
            return Ok(granted);
        }
    }
}

/// `ON *.*`, `ON *`, `ON db.*`, `ON db.table`, `ON table`.
fn target(parser: &mut Parser<'_>) -> Result<GrantTarget, Refusal> {
    parser.want("ON")?;
    let _ = parser.take("TABLE");
    if parser.take_sign(&Token::Mul) {
        if !parser.take_sign(&Token::Period) {
            return Ok(GrantTarget::Database(None));
        }
        parser.want_sign(&Token::Mul, "*")?;
        return Ok(GrantTarget::Cluster);
    }
    let first = parser.name("a database, a table or *.*")?;
    if !parser.take_sign(&Token::Period) {
        return Ok(GrantTarget::Table(TableName { database: None, table: first }));
    }
    if parser.take_sign(&Token::Mul) {
        return Ok(GrantTarget::Database(Some(first)));
    }
    let table = parser.name("a table or *")?;
    Ok(GrantTarget::Table(TableName { database: Some(first), table }))
}

fn identified_by(parser: &mut Parser<'_>) -> Result<Option<String>, Refusal> {
    if !parser.take("IDENTIFIED") {
        return Ok(None);
    }
    if parser.take("WITH") {
        parser.want("mysql_native_password")?;
    }
    parser.want("BY")?;
    parser.text("the password in quotes").map(Some)
}

fn users(parser: &mut Parser<'_>) -> Result<BTreeSet<String>, Refusal> {
    let mut users = BTreeSet::from([user(parser)?]);
    while parser.take_sign(&Token::Comma) {
        users.insert(user(parser)?);
    }
    Ok(users)
}

/// `user['@'host]`; the host is ignored, because users are not told apart by it.
pub(super) fn user(parser: &mut Parser<'_>) -> Result<String, Refusal> {
    let name = parser.text_or_name("a user")?;
    // `root@localhost` is one word to the tokenizer; `'root'@'%'` is not.
    match name.split_once('@') {
        Some((user, host)) => {
            if host.is_empty() {
                parser.text_or_name("a host")?;
            }
            Ok(user.to_owned())
        }
        None => {
            super::cluster::host_part(parser)?;
            Ok(name)
        }
    }
}
