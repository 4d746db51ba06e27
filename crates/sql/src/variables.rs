//! System variables: those that clients ask for, then the node's, then the cluster's.

use std::collections::BTreeMap;

use baton_model::limits::{CONNECTIONS_MAX, PACKET_BYTES_MAX};

use crate::bind::Context;

/// What this server says it is: drivers turn features on by the number before the dash.
pub(crate) const VERSION: &str = "8.0.36-Baton";
/// The name behind the version.
pub(crate) const VERSION_COMMENT: &str = concat!("Baton ", env!("CARGO_PKG_VERSION"));

/// Variables of MySQL that have a value here, but change nothing when they are set, by name.
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
    ("version", VERSION),
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
            if value != "DEFAULT" && !name.starts_with('@') {
                variables.insert(name.clone(), value.clone());
            }
        }
    }
    variables
}

/// The value of a variable; None if there is no such variable.
pub(crate) fn value(context: &Context<'_>, name: &str, global: bool) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let set = context.session.variables.get(&name).filter(|value| !global && *value != "DEFAULT");
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
