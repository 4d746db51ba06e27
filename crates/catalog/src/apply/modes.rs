//! What a database promises, and how that changes while it is in use.
//!
//! * S2: `SYNC DURABILITY` is said at once and is true of a partition only once its primary says that all in-sync
//!   members have synced what they hold ([`Command::NoteSynced`](crate::Command::NoteSynced)). Until then the catalog
//!   takes a restarted member for one that may have lost something.
//! * S3: replicas of a database with `ASYNC REPLICATION` are `Async` by the same entry that says so. The version of
//!   every partition moves, so that no request from before the change can be granted after it.

use baton_model::{Durability, Epoch, PartitionId, ReplicationMode, SyncState};

use super::Step;
use crate::objects::{Severity, event_type};
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn alter_database(
        &mut self,
        name: &str,
        replication: Option<ReplicationMode>,
        durability: Option<Durability>,
    ) -> Outcome {
        let database =
            self.catalog.database(name).ok_or_else(|| Rejection::NoSuchDatabase(name.into()))?.clone();
        let replication = replication.unwrap_or(database.replication);
        let durability = durability.unwrap_or(database.durability);
        let sinks = replication == ReplicationMode::Async && database.replication == ReplicationMode::Sync;
        let ids: Vec<PartitionId> = self.catalog.partitions_of(database.id).map(|p| p.id).collect();
        if replication == database.replication && durability == database.durability {
            return self.done();
        }
        // Whoever was in sync with a primary that is gone is the only one who can go on.
        if let Some(offline) = ids.iter().find(|id| sinks && self.catalog.serving(**id).is_none()) {
            return Err(Rejection::PartitionOffline(*offline));
        }
        for id in ids {
            let partition = self.catalog.partitions.get_mut(&id).expect("it was just listed");
            partition.unsynced |= durability == Durability::Async;
            partition.version += 1;
            if sinks {
                partition.replicas.iter_mut().for_each(|(_, state)| *state = SyncState::Async);
            }
            self.changed.insert(RowKey::Partition(id));
        }
        let text = format!(
            "{name}: {} durability, {} replication",
            format!("{durability:?}").to_uppercase(),
            format!("{replication:?}").to_uppercase()
        );
        if let Some(stored) = self.catalog.databases.get_mut(&database.id) {
            (stored.replication, stored.durability) = (replication, durability);
        }
        self.changed.insert(RowKey::Database(database.id));
        self.event(Severity::Notice, event_type::DATABASE_ALTERED, None, text);
        self.done()
    }

    pub(super) fn note_synced(&mut self, id: PartitionId, epoch: Epoch, version: u64) -> Outcome {
        let partition = self.partition(id)?;
        if partition.epoch != epoch {
            return Err(Rejection::OtherEpoch(id, partition.epoch));
        }
        if partition.version != version {
            return Err(Rejection::OtherVersion(id, partition.version));
        }
        let synced = self
            .catalog
            .databases
            .get(&id.database)
            .is_some_and(|database| database.durability == Durability::Sync);
        if !synced || !partition.has_able_primary() {
            return Err(Rejection::StillUnsynced(id));
        }
        let partition = self.catalog.partitions.get_mut(&id).expect("it was just found");
        partition.unsynced = false;
        partition.version += 1;
        self.changed.insert(RowKey::Partition(id));
        self.done()
    }
}
