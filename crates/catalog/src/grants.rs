//! What users may do.
//!
//! A privilege is held for the whole cluster, for a database or for a table, by name: dropping what it is for does not
//! take it away, and a table of that name that is made later falls under it, as in MySQL.
//! `root` holds every privilege, whatever is granted or revoked, so that nobody locks themselves out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The user that every cluster has, and that may do everything.
pub const ROOT: &str = "root";

/// Something a user may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Privilege {
    /// Read rows.
    Select,
    /// Write new rows.
    Insert,
    /// Change rows.
    Update,
    /// Delete rows.
    Delete,
    /// Create databases and tables.
    Create,
    /// Drop them.
    Drop,
    /// Alter them.
    Alter,
    /// Back databases up, restore and snapshot them.
    Backup,
    /// Everything about nodes, copies and policies.
    Cluster,
    /// Users, and global variables.
    Super,
    /// Give what one has to others.
    GrantOption,
}

impl Privilege {
    /// All that `ALL` means; the right to grant is granted by itself.
    pub const ALL: [Self; 10] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Create,
        Self::Drop,
        Self::Alter,
        Self::Backup,
        Self::Cluster,
        Self::Super,
    ];

    /// Whether it can be held for a part of the cluster only.
    #[must_use]
    pub const fn is_of_data(self) -> bool {
        !matches!(self, Self::Backup | Self::Cluster | Self::Super)
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Create => "CREATE",
            Self::Drop => "DROP",
            Self::Alter => "ALTER",
            Self::Backup => "BACKUP",
            Self::Cluster => "CLUSTER",
            Self::Super => "SUPER",
            Self::GrantOption => "GRANT OPTION",
        })
    }
}

/// What a privilege is held for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum GrantScope {
    /// `*.*`.
    Cluster,
    /// `db.*`.
    Database(String),
    /// `db.table`; see [`GrantScope::table`].
    Table(String, String),
}

impl GrantScope {
    /// A table; its name is without case, as it is wherever tables are named.
    #[must_use]
    pub fn table(database: &str, table: &str) -> Self {
        Self::Table(database.to_owned(), table.to_lowercase())
    }

    /// What ALL means here.
    pub fn all(&self) -> impl Iterator<Item = Privilege> {
        let everything = *self == Self::Cluster;
        Privilege::ALL.into_iter().filter(move |privilege| everything || privilege.is_of_data())
    }

    /// The scopes that this one lies in, itself included.
    fn within(&self) -> impl Iterator<Item = Self> {
        let database = match self {
            Self::Table(database, _) => Some(Self::Database(database.clone())),
            _ => None,
        };
        let cluster = (*self != Self::Cluster).then_some(Self::Cluster);
        [Some(self.clone()), database, cluster].into_iter().flatten()
    }
}

impl fmt::Display for GrantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("*.*"),
            Self::Database(database) => write!(f, "`{database}`.*"),
            Self::Table(database, table) => write!(f, "`{database}`.`{table}`"),
        }
    }
}

/// All that a user holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Grants(BTreeMap<GrantScope, BTreeSet<Privilege>>);

impl Grants {
    /// Whether a privilege is held for this, or for more.
    #[must_use]
    pub fn hold(&self, privilege: Privilege, of: &GrantScope) -> bool {
        of.within().any(|scope| self.0.get(&scope).is_some_and(|held| held.contains(&privilege)))
    }

    /// Whether anything at all is held in a database.
    #[must_use]
    pub fn hold_any_in(&self, database: &str) -> bool {
        self.0.keys().any(|scope| match scope {
            GrantScope::Cluster => true,
            GrantScope::Database(named) | GrantScope::Table(named, _) => named == database,
        })
    }

    /// For how many things something is held.
    #[must_use]
    pub fn scopes(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn grant(&mut self, privileges: &BTreeSet<Privilege>, of: &GrantScope) {
        if !privileges.is_empty() {
            self.0.entry(of.clone()).or_default().extend(privileges);
        }
    }

    /// Whether anything was held for exactly this.
    pub(crate) fn revoke(&mut self, privileges: &BTreeSet<Privilege>, of: &GrantScope) -> bool {
        let Some(held) = self.0.get_mut(of) else { return false };
        held.retain(|privilege| !privileges.contains(privilege));
        if held.is_empty() {
            self.0.remove(of);
        }
        true
    }

    /// The statements that would give a user all this.
    #[must_use]
    pub fn statements(&self, user: &str) -> Vec<String> {
        let mut statements = Vec::new();
        if !self.0.contains_key(&GrantScope::Cluster) {
            statements.push(format!("GRANT USAGE ON *.* TO '{user}'@'%'"));
        }
        statements.extend(self.0.iter().map(|(scope, held)| statement(user, scope, held)));
        statements
    }
}

/// What `root` holds, as a statement.
#[must_use]
pub fn statement_of_root() -> String {
    let all = GrantScope::Cluster.all().chain([Privilege::GrantOption]).collect();
    statement(ROOT, &GrantScope::Cluster, &all)
}

fn statement(user: &str, scope: &GrantScope, held: &BTreeSet<Privilege>) -> String {
    let words = if scope.all().all(|privilege| held.contains(&privilege)) {
        "ALL PRIVILEGES".to_owned()
    } else {
        let named = held.iter().filter(|privilege| **privilege != Privilege::GrantOption);
        let named: Vec<_> = named.map(ToString::to_string).collect();
        if named.is_empty() { "USAGE".to_owned() } else { named.join(", ") }
    };
    let option = if held.contains(&Privilege::GrantOption) { " WITH GRANT OPTION" } else { "" };
    format!("GRANT {words} ON {scope} TO '{user}'@'%'{option}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> GrantScope {
        GrantScope::Table("db".into(), "t".into())
    }

    #[test]
    fn what_is_held_for_more_is_held_for_less_and_not_the_other_way_round() {
        let mut grants = Grants::default();
        grants.grant(&[Privilege::Select].into(), &GrantScope::Database("db".into()));
        assert!(grants.hold(Privilege::Select, &table()));
        assert!(grants.hold(Privilege::Select, &GrantScope::Database("db".into())));
        assert!(!grants.hold(Privilege::Select, &GrantScope::Cluster));
        assert!(!grants.hold(Privilege::Select, &GrantScope::Table("other".into(), "t".into())));
        assert!(!grants.hold(Privilege::Insert, &table()));
        assert!(grants.hold_any_in("db") && !grants.hold_any_in("other"));
    }

    #[test]
    fn what_was_granted_is_shown_as_it_was_and_is_gone_when_it_is_revoked() {
        let mut grants = Grants::default();
        assert_eq!(grants.statements("u"), ["GRANT USAGE ON *.* TO 'u'@'%'"]);
        grants.grant(&[Privilege::Select, Privilege::Insert].into(), &table());
        grants.grant(&[Privilege::GrantOption].into(), &GrantScope::Database("db".into()));
        assert_eq!(
            grants.statements("u"),
            [
                "GRANT USAGE ON *.* TO 'u'@'%'",
                "GRANT USAGE ON `db`.* TO 'u'@'%' WITH GRANT OPTION",
                "GRANT SELECT, INSERT ON `db`.`t` TO 'u'@'%'",
            ]
        );
        assert!(grants.revoke(&[Privilege::Select].into(), &table()));
        assert!(grants.revoke(&[Privilege::Insert].into(), &table()));
        assert!(!grants.revoke(&[Privilege::Insert].into(), &table()), "nothing is held for it any more");
        grants.grant(&GrantScope::Cluster.all().collect(), &GrantScope::Cluster);
        assert_eq!(grants.statements("u")[0], "GRANT ALL PRIVILEGES ON *.* TO 'u'@'%'");
        assert!(statement_of_root().ends_with("'root'@'%' WITH GRANT OPTION"));
    }
}
