//! System variables: those that clients ask for, then the node's, then the cluster's; and what a session may set.
//!
//! Drivers set variables of MySQL by themselves when they connect. One is taken if statements mean the same
//! afterwards; another character set, time zone, isolation or quoting is refused, and never taken in silence.

use std::collections::BTreeMap;

use baton_catalog::Catalog;
use baton_model::SERVER_VERSION;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{CONNECTIONS_MAX, PACKET_BYTES_MAX};

use crate::bind::{Columns, Context, bind_scalar};
use crate::expression::Value;
use crate::parse::unsupported;
use crate::session::Session;
use crate::statement::Assigned;

/// The name behind the version.
pub(crate) const VERSION_COMMENT: &str = concat!("Baton ", env!("CARGO_PKG_VERSION"));

/// Variables of MySQL that have a value here, by name.
const OF_SESSIONS: &[(&str, &str)] = &[
    ("auto_increment_increment", "1"),
    ("auto_increment_offset", "1"),
    ("autocommit", "ON"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("character_set_system", "utf8mb3"),
    ("collation_connection", "utf8mb4_bin"),
    ("collation_database", "utf8mb4_bin"),
    ("collation_server", "utf8mb4_bin"),
    ("default_storage_engine", "Baton"),
    ("foreign_key_checks", "ON"),
    ("group_concat_max_len", "1048576"),
    ("have_ssl", "NO"),
    ("init_connect", ""),
    ("innodb_lock_wait_timeout", "10"),
    ("interactive_timeout", "28800"),
    ("license", "Apache-2.0"),
    ("lower_case_table_names", "0"),
    ("max_execution_time", "0"),
    ("net_buffer_length", "16384"),
    ("net_read_timeout", "30"),
    ("net_write_timeout", "60"),
    ("performance_schema", "OFF"),
    ("protocol_version", "10"),
    ("query_cache_size", "0"),
    ("query_cache_type", "OFF"),
    ("socket", ""),
    ("sql_auto_is_null", "OFF"),
    (
        "sql_mode",
        "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO",
    ),
    ("sql_notes", "ON"),
    ("sql_quote_show_create", "ON"),
    ("sql_safe_updates", "OFF"),
    ("sql_select_limit", "18446744073709551615"),
    ("sql_warnings", "OFF"),
    ("system_time_zone", "UTC"),
    ("time_zone", "+00:00"),
    ("transaction_isolation", "READ-COMMITTED"),
    ("transaction_read_only", "OFF"),
    ("tx_isolation", "READ-COMMITTED"),
    ("tx_read_only", "OFF"),
    ("unique_checks", "ON"),
    ("version", SERVER_VERSION),
    ("version_comment", VERSION_COMMENT),
    ("version_compile_machine", std::env::consts::ARCH),
    ("version_compile_os", std::env::consts::OS),
    ("wait_timeout", "28800"),
];

/// Every variable with its value, by name. With `global` what the session has set is left out.
pub(crate) fn all(context: &Context<'_>, global: bool) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> =
        OF_SESSIONS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    variables.insert("max_allowed_packet".into(), PACKET_BYTES_MAX.to_string());
    variables.insert("max_connections".into(), CONNECTIONS_MAX.to_string());
    variables.extend(context.catalog.variables().map(|(name, value)| (name.to_owned(), value)));
    variables
        .extend(context.session.node_variables.iter().map(|(name, value)| (name.clone(), value.clone())));
    if !global {
        for (name, value) in &context.session.variables {
            variables.insert(name.clone(), value.clone());
        }
    }
    variables
}

/// The value of a variable; None if there is no such variable.
pub(crate) fn value(context: &Context<'_>, name: &str, global: bool) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let set = context.session.variables.get(&name).filter(|_| !global);
    if let Some(value) = set {
        return Some(value.clone());
    }
    if let Some(value) = context.session.node_variables.get(&name) {
        return Some(value.clone());
    }
    if let Some((_, value)) = OF_SESSIONS.iter().find(|(known, _)| *known == name) {
        return Some((*value).to_owned());
    }
    match name.as_str() {
        "max_allowed_packet" => Some(PACKET_BYTES_MAX.to_string()),
        "max_connections" => Some(CONNECTIONS_MAX.to_string()),
        _ => context.catalog.variable(&name),
    }
}

impl Session {
    /// Whether the session has turned autocommit off.
    #[must_use]
    pub fn has_autocommit_off(&self) -> bool {
        self.variables.get("autocommit").is_some_and(|value| value == "OFF")
    }

    /// Sets variables of the session, as `SET` lists them: all, or none. Each sees those before it.
    ///
    /// # Errors
    /// 1193 for an unknown variable, 1238 for one that no session can set, 1231 for a value that it does not take,
    /// 1235 for one that it takes in MySQL and would change what statements mean; and what an expression fails with.
    pub fn assign(&mut self, assignments: &[(String, Assigned)], catalog: &Catalog) -> Result<(), SqlError> {
        let mut next = self.clone();
        for (name, assigned) in assignments {
            let text = match assigned {
                Assigned::Text(text) => text.clone(),
                Assigned::Computed(expr) => {
                    let context = Context { catalog, session: &next };
                    let bound = bind_scalar((**expr).clone(), &Columns::none("field list"), &context)?;
                    let value = bound.evaluate(&[])?.into_owned();
                    if let Some(own) = name.strip_prefix('@') {
                        next.user_variables.insert(own.to_owned(), without_time(value));
                        continue;
                    }
                    value
                        .into_text()
                        .map_or_else(|| Err(wrong_value(name, "NULL")), |text| Ok(text.into_owned()))?
                }
            };
            if text.eq_ignore_ascii_case("DEFAULT") {
                next.variables.remove(name);
            } else {
                let taken = next.taken(name, &text, catalog)?;
                next.variables.insert(name.clone(), taken);
            }
        }
        *self = next;
        Ok(())
    }

    /// The value as it is kept.
    fn taken(&self, name: &str, value: &str, catalog: &Catalog) -> Result<String, SqlError> {
        let one_of = |allowed: &[&str]| allowed.iter().any(|one| value.eq_ignore_ascii_case(one));
        let switch = || match value.to_ascii_uppercase().as_str() {
            "1" | "ON" | "TRUE" => Ok("ON".to_owned()),
            "0" | "OFF" | "FALSE" => Ok("OFF".to_owned()),
            _ => Err(wrong_value(name, value)),
        };
        let if_so = |taken: bool| match taken {
            true => Ok(value.to_owned()),
            false => Err(unsupported(&format!("SET {name} = {value}"))),
        };
        match name {
            "autocommit"
            | "foreign_key_checks"
            | "unique_checks"
            | "sql_notes"
            | "sql_warnings"
            | "sql_quote_show_create" => switch(),
            // What these would turn on is not there.
            "sql_auto_is_null" | "sql_safe_updates" | "transaction_read_only" | "tx_read_only" => {
                let value = switch()?;
                if value == "OFF" { Ok(value) } else { if_so(false) }
            }
            "character_set_client"
            | "character_set_connection"
            | "character_set_database"
            | "character_set_server" => if_so(is_character_set(value)),
            "character_set_results" => if_so(is_character_set(value) || one_of(&["NULL"])),
            "collation_connection" | "collation_database" | "collation_server" => if_so(is_collation(value)),
            "time_zone" => if_so(one_of(&["UTC", "SYSTEM", "+00:00"])),
            // A weaker isolation than asked for is none; a stronger one is.
            "transaction_isolation" | "tx_isolation" => {
                if_so(one_of(&["READ-COMMITTED", "READ-UNCOMMITTED"]))
            }
            "sql_mode" => {
                let mode = value.to_ascii_uppercase();
                let other = ["ANSI", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT", "ORACLE"];
                if_so(!other.iter().any(|other| mode.contains(other)))
            }
            "sql_select_limit" => if_so(one_of(&["18446744073709551615"])),
            "auto_increment_increment" | "auto_increment_offset" => if_so(one_of(&["1"])),
            // They bound a wait or a size, and the bounds here are at least as good.
            "group_concat_max_len"
            | "innodb_lock_wait_timeout"
            | "interactive_timeout"
            | "max_execution_time"
            | "net_buffer_length"
            | "net_read_timeout"
            | "net_write_timeout"
            | "wait_timeout"
            | "default_storage_engine"
            | "query_cache_type" => Ok(value.to_owned()),
            _ => {
                let is_known = is_of_mysql(name)
                    || catalog.variable(name).is_some()
                    || self.node_variables.contains_key(name);
                Err(if is_known {
                    let text = format!("Variable '{name}' cannot be set for a session; SET GLOBAL may do it");
                    SqlError::new(ErrorCode::ReadOnlyVariable, text)
                } else {
                    SqlError::new(ErrorCode::UnknownVariable, format!("Unknown system variable '{name}'"))
                })
            }
        }
    }
}

/// A value as a user's variable keeps it: days and moments are text there.
fn without_time(value: Value<'static>) -> Value<'static> {
    match value {
        Value::Date(_) | Value::DateTime(_) => value.into_text().map_or(Value::Null, Value::Text),
        other => other,
    }
}

fn wrong_value(name: &str, value: &str) -> SqlError {
    let text = format!("Variable '{name}' can't be set to the value of '{value}'");
    SqlError::new(ErrorCode::WrongValueForVariable, text)
}

/// Whether it is a variable of MySQL that has a value here.
fn is_of_mysql(name: &str) -> bool {
    ["max_allowed_packet", "max_connections"].contains(&name)
        || OF_SESSIONS.iter().any(|(known, _)| *known == name)
}

fn is_character_set(name: &str) -> bool {
    ["utf8mb4", "utf8", "utf8mb3", "binary", "ascii"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_collation(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("utf8") || name == "binary"
}
