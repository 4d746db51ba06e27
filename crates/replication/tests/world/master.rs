//! The catalog, every version of it, and the master aggregator, which commits to it.
//!
//! A command is committed under its own preconditions or rejected; that is the real catalog's doing.
//! Not here: when a leaf learns of a version, and when a request reaches the master aggregator (`moves.rs`).

use std::fmt::Write as _;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, Outcome, Partition};
use baton_model::{CatalogIndex, Durability, NodeId, ReplicationMode, SyncState};
use baton_replication::{Event, Settings, View};

use super::{PARTITION, SYNC_REPLICA_TIMEOUT, World};

impl World {
    /// The newest version.
    pub fn catalog(&self) -> &Catalog {
        self.versions.last().expect("there is always one")
    }

    /// The partition in the newest version.
    pub fn partition(&self) -> &Partition {
        self.catalog().partition(PARTITION).expect("it is never dropped")
    }

    /// Commits a command.
    pub fn commit(&mut self, command: Command) -> Outcome {
        let mut catalog = self.catalog().clone();
        let index = CatalogIndex(catalog.index().0 + 1);
        let outcome = catalog.apply(index, &Entry { statement: None, at_ms: 0, command }).outcome;
        if outcome.is_ok() {
            self.versions.push(catalog);
        }
        outcome
    }

    /// What a leaf's copy of the catalog says about the partition, as its process must see it.
    pub fn view(&self, id: NodeId) -> Option<View> {
        let leaf = &self.leaves[&id];
        let catalog = &self.versions[leaf.mirror];
        let partition = catalog.partition(PARTITION)?;
        let database = catalog.database_by_id(PARTITION.database)?;
        let online = |node: NodeId| catalog.node(node).is_some_and(|node| node.is_online());
        Some(View {
            epoch: partition.epoch,
            version: partition.version,
            primary: partition.primary,
            armed: catalog.node(id)?.incarnation == leaf.incarnation && partition.has_able_primary(),
            replicas: partition.replicas.iter().map(|(n, state)| (*n, (*state, online(*n)))).collect(),
            sync_replication: database.replication == ReplicationMode::Sync,
            sync_durability: database.durability == Durability::Sync,
            unsynced: partition.unsynced,
            settings: Settings { sync_replica_timeout: SYNC_REPLICA_TIMEOUT, ..Settings::default() },
        })
    }

    /// Commits a command and tells what came of it.
    pub fn master(&mut self, command: Command) -> Outcome {
        let text = describe(&command);
        let outcome = self.commit(command);
        let partition = self.partition();
        let what = match &outcome {
            Ok(_) => {
                format!("done, {} v{} primary={}", partition.epoch, partition.version, partition.primary)
            }
            Err(rejection) => rejection.to_string(),
        };
        if self.tells_effects {
            let _ = writeln!(self.story, "n1 {text}: {what}");
        }
        outcome
    }

    /// Says that a leaf is as it is, if the catalog does not say so.
    pub fn note_online(&mut self, id: NodeId) {
        let leaf = &self.leaves[&id];
        let (incarnation, store) = (leaf.incarnation, leaf.store);
        let known = self.catalog().node(id);
        if leaf.up
            && known.is_some_and(|n| !n.is_online() || n.incarnation != incarnation || n.store != store)
        {
            let lost_tail = leaf.lost_tail;
            let _ = self.master(Command::SetNodeOnline { node: id, incarnation, store, lost_tail });
            if let Some(leaf) = self.leaves.get_mut(&id) {
                leaf.lost_tail = false;
            }
        }
    }

    /// A leaf's machine went down, and nobody can tell: its disk acknowledged what it did not keep.
    pub fn hide_lost_tail(&mut self, id: NodeId) {
        if let Some(leaf) = self.leaves.get_mut(&id) {
            leaf.lost_tail = false;
        }
    }

    /// Says that a leaf failed, right or wrong.
    pub fn note_offline(&mut self, id: NodeId) -> Option<Outcome> {
        let incarnation = self.catalog().node(id)?.incarnation;
        Some(self.master(Command::SetNodeOffline { node: id, incarnation, reason: "silent".into() }))
    }

    /// Tries to promote. What is known of the leaf is said before, as in one plan.
    pub fn promote(&mut self, to: NodeId) -> Outcome {
        self.note_online(to);
        let epoch = self.partition().epoch;
        self.master(Command::PromoteInstance { partition: PARTITION, epoch, to, reason: "test".into() })
    }

    /// Changes what the database promises.
    pub fn alter(&mut self, replication: Option<ReplicationMode>, durability: Option<Durability>) -> Outcome {
        self.master(Command::AlterDatabase { name: "db".into(), replication, durability })
    }

    /// Asks an instance to stop taking writes for another one's sake; answers with the plan's number.
    pub fn drain(&mut self, id: NodeId, to: NodeId, patience: Duration) -> u64 {
        self.next_hand_over += 1;
        let (ticket, epoch) = (self.next_hand_over, self.partition().epoch);
        self.step(id, vec![Event::HandOver { ticket, epoch, to, drain: patience, hold: patience }]);
        ticket
    }

    /// Hands the partition over, whatever is under way. What is known of the leaf is said before, as for a promotion.
    pub fn hand_over(&mut self, to: NodeId) -> Outcome {
        self.note_online(to);
        let epoch = self.partition().epoch;
        self.master(Command::HandOver { partition: PARTITION, epoch, to, reason: "test".into() })
    }

    /// Says that a replica is not to be waited for.
    pub fn degrade(&mut self, replica: NodeId) -> Outcome {
        let partition = self.partition();
        let (epoch, version) = (partition.epoch, partition.version);
        let reason = "its leaf failed".into();
        let state = SyncState::Async;
        self.master(Command::SetSyncState { partition: PARTITION, epoch, version, replica, state, reason })
    }

    /// A replica is dropped, and added again before anybody hears of it.
    pub fn drop_and_add(&mut self, node: NodeId) {
        let (partition, reason) = (PARTITION, "planned".into());
        self.master(Command::DropReplica { partition, node, copies_left: 1, reason }).ok();
        let version = self.partition().version;
        self.master(Command::AddReplica { partition, version, node }).ok();
    }
}

/// A command, in a few words.
fn describe(command: &Command) -> String {
    match command {
        Command::SetSyncState { epoch, version, replica, state, .. } => {
            format!("sets {replica} {state} at {epoch} v{version}")
        }
        Command::AlterDatabase { replication, durability, .. } => {
            format!("alters replication={replication:?} durability={durability:?}")
        }
        Command::NoteSynced { epoch, version, .. } => format!("notes {epoch} v{version} as synced"),
        Command::PromoteInstance { epoch, to, .. } => format!("promotes {to} after {epoch}"),
        Command::HandOver { epoch, to, .. } => format!("hands over to {to} after {epoch}"),
        Command::SetNodeOffline { node, .. } => format!("says {node} is offline"),
        Command::SetNodeOnline { node, incarnation, store, lost_tail } => {
            let tail = if *lost_tail { ", perhaps without its tail" } else { "" };
            format!("says {node} is online as {incarnation} on {store}{tail}")
        }
        other => format!("{other:?}"),
    }
}
