//! What the cluster says of itself: roles, ids and states, asked of all aggregators at once.
//!
//! The master aggregator is whom most of them name, as the source documents have it. Who does not answer in time
//! has no say, so that one suspended node delays nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use crate::client::{Client, ClientError, Record};
use crate::process::{Presence, presence};
use crate::state::{ClusterState, NodeRecord};

/// How long an aggregator has to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// `host:port` of a node's SQL listener.
pub(crate) type Address = (String, u16);

/// Databases without partitions of their own.
const INTERNAL_DATABASES: [&str; 6] =
    ["information_schema", "cluster", "memsql", "mysql", "performance_schema", "sys"];

pub(crate) fn address(node: &NodeRecord) -> Address {
    (node.host.clone(), node.port)
}

/// One aggregator's view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct View {
    /// Whom it takes for the master aggregator.
    pub(crate) master: Option<Address>,
    /// The ids of all nodes.
    pub(crate) ids: BTreeMap<Address, u64>,
    /// The nodes that are online.
    pub(crate) online: BTreeSet<Address>,
}

impl View {
    /// Asks an aggregator.
    pub(crate) async fn of(client: &mut Client) -> Result<Self, ClientError> {
        let aggregators = client.query("SHOW AGGREGATORS").await?;
        let leaves = client.query("SHOW LEAVES").await?;
        let mut view = Self::default();
        for row in aggregators.iter().chain(&leaves) {
            let Some(address) = address_of(row) else { continue };
            if let Some(id) = row.get("nodeid").and_then(|id| id.parse().ok()) {
                view.ids.insert(address.clone(), id);
            }
            if row.get("state").is_some_and(|state| state.eq_ignore_ascii_case("online")) {
                view.online.insert(address.clone());
            }
            if row.get("master_aggregator").is_some_and(|value| value == "1") {
                view.master = Some(address);
            }
        }
        Ok(view)
    }
}

fn address_of(row: &Record) -> Option<Address> {
    Some((row.get("host")?.clone(), row.get("port")?.parse().ok()?))
}

/// The view that most aggregators share, as to who the master is; `None` if none answers.
pub(crate) async fn survey(state: &ClusterState) -> Option<View> {
    let asked = state
        .nodes
        .iter()
        .filter(|node| node.role.is_aggregator() && matches!(presence(node), Presence::Running(_)))
        .map(|node| async move {
            let mut client = Client::connect(node, &state.root_password, ANSWER_BOUND).await.ok()?;
            let view = View::of(&mut client).await.ok()?;
            Some((address(node), view))
        });
    let asked = asked.map(|answer| async { tokio::time::timeout(ANSWER_BOUND, answer).await.ok().flatten() });
    agreed(join_all(asked).await.into_iter().flatten().collect())
}

/// Of several views the one whose master most of them name; between equals the one that a master has of itself.
fn agreed(views: Vec<(Address, View)>) -> Option<View> {
    let weight = |teller: &Address, view: &View| {
        let votes = views.iter().filter(|(_, other)| other.master == view.master).count();
        (view.master.is_some(), votes, view.master.as_ref() == Some(teller))
    };
    views.iter().max_by_key(|(teller, view)| weight(teller, view)).map(|(_, view)| view.clone())
}

/// What keeps the databases from being served in full; `None` if nothing does.
pub(crate) async fn unserved(client: &mut Client) -> Result<Option<String>, ClientError> {
    for database in client.query("SHOW DATABASES").await? {
        let Some(name) = database.into_values().next() else { continue };
        if INTERNAL_DATABASES.iter().any(|internal| internal.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let partitions = client.query(&format!("SHOW PARTITIONS ON `{}`", name.replace('`', "``"))).await?;
        let mut served = BTreeMap::<String, bool>::new();
        for row in partitions {
            let has_master = row.contains_key("host")
                && row.get("role").is_some_and(|role| role.eq_ignore_ascii_case("master"));
            *served.entry(row.get("ordinal").cloned().unwrap_or_default()).or_default() |= has_master;
        }
        if let Some((ordinal, _)) = served.iter().find(|(_, served)| !**served) {
            return Ok(Some(format!("partition {ordinal} of database '{name}' has no master instance")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        ("127.0.0.1".into(), port)
    }

    fn view(teller: u16, master: Option<u16>) -> (Address, View) {
        (at(teller), View { master: master.map(at), ..View::default() })
    }

    #[test]
    fn the_master_is_whom_most_name() {
        let master = |views: &[(u16, Option<u16>)]| {
            agreed(views.iter().map(|(teller, master)| view(*teller, *master)).collect())?
                .master
                .map(|(_, port)| port)
        };
        assert_eq!(master(&[]), None);
        assert_eq!(master(&[(1, None), (2, None)]), None);
        assert_eq!(
            master(&[(1, Some(1)), (2, Some(2)), (3, Some(2))]),
            Some(2),
            "a deposed one thinks it is still"
        );
        assert_eq!(
            master(&[(1, None), (2, None), (3, Some(3))]),
            Some(3),
            "who knows of one has more to say"
        );
        assert_eq!(master(&[(2, Some(1)), (3, Some(3))]), Some(3), "it should know best");
    }
}
