//! `baton policy install`, `activate` and `rollback`: the statements about policies, for those who like commands.
//!
//! Whatever can be found out here is found out before the cluster is asked; the cluster checks all of it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mysql_async::prelude::Queryable;
use serde::Serialize;

use crate::ask::{load, settings};
use crate::error::{PolicyToolError, io};
use crate::report::Report;
use crate::sign::{SignatureFile, beside};

/// To log in, and to be answered, takes no longer. A cluster in an election holds a statement for a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than any statement of this tool.
const PACKET_BYTES: usize = 16 << 20;

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct Login {
    /// The host of an aggregator
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its SQL port
    #[arg(long, default_value_t = 3306)]
    port: u16,
    /// The user
    #[arg(long, default_value = "root")]
    user: String,
    /// The environment variable that has the password; without, there is none
    #[arg(long, value_name = "VARIABLE")]
    password_env: Option<String>,
}

/// Where a policy decides.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The decision point, or all
    #[arg(long, value_name = "POINT")]
    point: String,
    /// Only for this database
    #[arg(long, value_name = "DATABASE", conflicts_with = "for_group")]
    for_database: Option<String>,
    /// Only for the leaves of this availability group
    #[arg(long, value_name = "GROUP", value_parser = clap::value_parser!(u8).range(1..=2))]
    for_group: Option<u8>,
}

impl Place {
    /// As SQL names it: `'detection'` or ALL.
    fn point(&self) -> String {
        if self.point.eq_ignore_ascii_case("all") { "ALL".to_owned() } else { quoted(&self.point) }
    }

    /// For people: `every decision point`, `promotion for group 1`.
    fn words(&self) -> String {
        let all = self.point.eq_ignore_ascii_case("all");
        let point = if all { "every decision point" } else { &self.point };
        match (&self.for_database, self.for_group) {
            (Some(name), _) => format!("{point} for database {name}"),
            (None, Some(group)) => format!("{point} for group {group}"),
            (None, None) => point.to_owned(),
        }
    }

    /// ` FOR …`, or nothing for the whole cluster.
    fn scope(&self) -> String {
        match (&self.for_database, self.for_group) {
            (Some(name), _) => format!(" FOR DATABASE `{}`", name.replace('`', "``")),
            (None, Some(group)) => format!(" FOR GROUP {group}"),
            (None, None) => String::new(),
        }
    }
}

/// A text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

impl Login {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// How the same is said again, for the next command.
    fn again(&self) -> String {
        let mut text = format!("--host {} --port {} --user {}", self.host, self.port, self.user);
        if let Some(variable) = &self.password_env {
            text.push_str(&format!(" --password-env {variable}"));
        }
        text
    }

    fn password(&self) -> Result<Option<String>, PolicyToolError> {
        let Some(variable) = &self.password_env else { return Ok(None) };
        std::env::var(variable).map(Some).map_err(|_| PolicyToolError::NoPassword(variable.clone()))
    }

    /// Has the cluster carry out one statement.
    fn run(&self, sql: &str) -> Result<(), PolicyToolError> {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(self.password()?)
            .prefer_socket(false)
            // Told here, so that the client need not ask.
            .max_allowed_packet(Some(PACKET_BYTES))
            .wait_timeout(Some(28_800));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(io("start the client for", self.address()))?;
        let asked = async {
            let mut connection = mysql_async::Conn::new(options).await?;
            connection.query_drop(sql).await?;
            connection.disconnect().await
        };
        let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        let address = self.address();
        match asked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(mysql_async::Error::Server(error))) => {
                Err(PolicyToolError::Refused { address, code: error.code, why: error.message })
            }
            Ok(Err(error)) => Err(PolicyToolError::Unreachable { address, why: error.to_string() }),
            Err(_) => {
                let why = format!("no answer within {} s", PATIENCE.as_secs());
                Err(PolicyToolError::Unreachable { address, why })
            }
        }
    }
}

#[derive(Serialize)]
struct Installed<'a> {
    policy: &'a str,
    version: &'a str,
    hash: &'a str,
    signed_by: Option<&'a str>,
    cluster: String,
}

/// `baton policy install`. Without a file of signatures, the one beside the component is taken, if there is one.
pub(crate) fn install(
    report: &Report,
    component: &Path,
    signature: Option<PathBuf>,
    replace: bool,
    login: &Login,
) -> Result<(), PolicyToolError> {
    let (module, bytes) = load(component)?;
    let (name, hash) = (module.name(), module.hash());
    let signature = signature.or_else(|| Some(beside(component)).filter(|path| path.is_file()));
    let signed = signature.map(|path| SignatureFile::read(&path, name, hash)).transpose()?;
    let mut sql = format!(
        "CREATE {}POLICY {} FROM x'{}'",
        if replace { "OR REPLACE " } else { "" },
        quoted(name),
        hex::encode(bytes)
    );
    if let Some(SignatureFile { key, signature, .. }) = &signed {
        sql.push_str(&format!(" SIGNED BY {} SIGNATURE {}", quoted(key), quoted(signature)));
    }
    login.run(&sql).map_err(|error| match error {
        PolicyToolError::Refused { address, code, why } if !replace && why.contains("OR REPLACE POLICY") => {
            let why = format!("{why}: say --replace");
            PolicyToolError::Refused { address, code, why }
        }
        error => error,
    })?;
    let installed = Installed {
        policy: name,
        version: &module.manifest().version,
        hash,
        signed_by: signed.as_ref().map(|signed| signed.key.as_str()),
        cluster: login.address(),
    };
    report.result(&installed, || {
        let by =
            installed.signed_by.map_or_else(|| "not signed".to_owned(), |key| format!("signed by {key}"));
        format!("{name} {} is installed, {by}; it decides nothing yet\nsha256 {hash}", installed.version)
    });
    report.progress(&format!("next: baton policy activate {name} --point all {}", login.again()));
    Ok(())
}

#[derive(Serialize)]
struct Bound<'a> {
    policy: Option<&'a str>,
    point: &'a str,
    database: Option<&'a str>,
    group: Option<u8>,
    cluster: String,
}

impl<'a> Bound<'a> {
    fn of(policy: Option<&'a str>, place: &'a Place, login: &Login) -> Self {
        Self {
            policy,
            point: &place.point,
            database: place.for_database.as_deref(),
            group: place.for_group,
            cluster: login.address(),
        }
    }
}

/// The statement that lets a policy decide.
fn activation(
    policy: &str,
    version: Option<&str>,
    with: &[String],
    place: &Place,
    lab: Option<&str>,
) -> Result<String, PolicyToolError> {
    let mut sql = format!("SET POLICY {} = {}", place.point(), quoted(policy));
    if let Some(version) = version {
        sql.push_str(&format!(" VERSION {}", quoted(version)));
    }
    let settings = settings(with)?;
    if !settings.is_empty() {
        let pairs: Vec<String> =
            settings.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        sql.push_str(&format!(" WITH ({})", pairs.join(", ")));
    }
    sql.push_str(&place.scope());
    if let Some(lab) = lab {
        sql.push_str(&format!(" REPORT {}", quoted(lab.trim())));
    }
    Ok(sql)
}

/// `baton policy activate`.
pub(crate) fn activate(
    report: &Report,
    policy: &str,
    version: Option<&str>,
    with: &[String],
    place: &Place,
    lab: Option<&Path>,
    login: &Login,
) -> Result<(), PolicyToolError> {
    let lab = lab.map(|path| fs::read_to_string(path).map_err(io("read", path))).transpose()?;
    login.run(&activation(policy, version, with, place, lab.as_deref())?)?;
    report.result(&Bound::of(Some(policy), place, login), || {
        format!("{policy} decides at {} from now on", place.words())
    });
    let point = &place.point;
    report.progress(&format!(
        "next: SHOW POLICY BINDINGS, SHOW POLICY DECISIONS; baton policy rollback --point {point} … takes it back"
    ));
    Ok(())
}

/// `baton policy rollback`.
pub(crate) fn rollback(report: &Report, place: &Place, login: &Login) -> Result<(), PolicyToolError> {
    login.run(&format!("ROLLBACK POLICY {}{}", place.point(), place.scope()))?;
    report.result(&Bound::of(None, place, login), || {
        format!("what decided at {} before decides again", place.words())
    });
    report.progress("next: SHOW POLICY BINDINGS");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_what_the_command_said() {
        let whole = Place { point: "All".into(), for_database: None, for_group: None };
        assert_eq!(activation("swift", None, &[], &whole, None).unwrap(), "SET POLICY ALL = 'swift'");
        let of_database =
            Place { point: "promotion".into(), for_database: Some("a`b".into()), for_group: None };
        let with = ["limit=5".to_owned(), "who = it's".to_owned()];
        assert_eq!(
            activation("swift", Some("ab12"), &with, &of_database, Some("{\"a\": \"\\n\"}\n")).unwrap(),
            "SET POLICY 'promotion' = 'swift' VERSION 'ab12' WITH ('limit' = '5', 'who' = 'it''s') FOR DATABASE `a``b` \
             REPORT '{\"a\": \"\\\\n\"}'"
        );
        assert!(activation("swift", None, &["limit".to_owned()], &whole, None).is_err());
    }
}
