//! Where the nodes of the catalog are pinged: host names are resolved here, never while pings are due.
//!
//! A name that cannot be resolved keeps the address that it had. With some networks it goes in the moment in which its
//! node dies, and a node that nobody pings would never be judged dead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_detector::Health;
use baton_model::NodeId;
use baton_transport::heartbeat::Target;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::warn;

/// Names are resolved anew this often.
pub const AGAIN: Duration = Duration::from_secs(2);
/// A name that is not resolved in this time keeps its address.
const PATIENCE: Duration = Duration::from_secs(1);

/// The addresses that names had last; None where a name never had one.
#[derive(Debug, Default)]
pub struct Addresses(BTreeMap<String, Option<SocketAddr>>);

impl Addresses {
    /// Whether there are names that may move.
    pub fn has_names(&self) -> bool {
        !self.0.is_empty()
    }

    /// Every node but this one, with the address that it is pinged at. One whose name was never resolved is missing.
    pub async fn targets(&mut self, catalog: &Catalog, me: NodeId) -> Vec<Target> {
        let mut targets = Vec::new();
        for node in catalog.nodes().filter(|node| node.id != me) {
            let Some(address) = self.resolve(&node.rpc_address()).await else { continue };
            let health = if node.is_online() { Health::Healthy } else { Health::Failed };
            targets.push(Target { node: node.id, address, role: node.role, health });
        }
        targets
    }

    async fn resolve(&mut self, place: &str) -> Option<SocketAddr> {
        if let Ok(address) = place.parse() {
            return Some(address);
        }
        let last = self.0.entry(place.to_owned()).or_default();
        match timeout(PATIENCE, lookup_host(place)).await {
            // A name may have several, in any order; to move is to forget what was seen of the node.
            Ok(Ok(found)) => {
                let found: Vec<SocketAddr> = found.collect();
                if !last.is_some_and(|last| found.contains(&last)) {
                    *last = found.first().copied().or(*last);
                }
            }
            Ok(Err(error)) => warn!(place, %error, "a node's name cannot be resolved"),
            Err(_) => warn!(place, "a node's name is not resolved in time"),
        }
        *last
    }
}
