//! What an operator asks for about leaves, instances and their placement.

use std::fmt;

use crate::statement::Address;

/// `db:ordinal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionName {
    /// The database.
    pub database: String,
    /// The partition's number in it.
    pub ordinal: u32,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.database, self.ordinal)
    }
}

/// A statement of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// `PROMOTE PARTITION db:ordinal ON 'host':port [KILL]`.
    PromotePartition {
        /// The partition.
        partition: PartitionName,
        /// The leaf whose replica becomes primary.
        to: Address,
        /// Whether writes that are under way are not waited for.
        kill: bool,
    },
    /// `COPY PARTITION db:ordinal TO 'host':port`.
    CopyPartition {
        /// The partition.
        partition: PartitionName,
        /// The leaf that gets a replica.
        to: Address,
    },
    /// `DROP PARTITION db:ordinal ON 'host':port`.
    DropPartition {
        /// The partition.
        partition: PartitionName,
        /// The leaf whose replica goes.
        on: Address,
    },
    /// `ATTACH PARTITION db:ordinal ON 'host':port [FORCE]`.
    AttachPartition {
        /// The partition.
        partition: PartitionName,
        /// The leaf that has an orphan, or a copy, of it.
        on: Address,
        /// Whether something may be lost by it.
        force: bool,
    },
    /// `ATTACH LEAF {'host':port | ALL} [FORCE] [NO REBALANCE]`.
    AttachLeaf {
        /// The leaf; None is ALL.
        leaf: Option<Address>,
        /// Whether it is attached although it has orphans.
        force: bool,
        /// Whether primaries go back to it.
        rebalance: bool,
    },
    /// `DETACH LEAF 'host':port …` and `DETACH LEAVES ('host':port, …) …`.
    DetachLeaves {
        /// The leaves.
        leaves: Vec<Address>,
        /// Whether writes that are under way are not waited for.
        kill: bool,
        /// Whether it is refused if the last copy of a partition is there.
        safe: bool,
    },
    /// `REMOVE LEAF 'host':port …` and `REMOVE LEAVES ('host':port, …) …`.
    RemoveLeaves {
        /// The leaves.
        leaves: Vec<Address>,
        /// Whether nothing is moved away first.
        force: bool,
        /// Whether writes that are under way are not waited for.
        kill: bool,
        /// Whether it is refused if the last copy of a partition is there.
        safe: bool,
    },
    /// `CLEAR ORPHAN DATABASES`.
    ClearOrphans,
    /// `RESTORE REDUNDANCY ON db`.
    RestoreRedundancy {
        /// The database.
        database: String,
    },
    /// `REBALANCE PARTITIONS ON db [FULL] [FORCE] [KILL] [ENSURE_ONLINE_NODES]`.
    Rebalance {
        /// The database.
        database: String,
        /// Whether what leaves have of other databases counts.
        full: bool,
        /// Whether partitions that are lost begin anew, with the best copy that there is, or empty.
        force: bool,
        /// Whether it is done only if all leaves are online.
        all_online: bool,
    },
    /// `STOP REBALANCE ON db`.
    StopRebalance {
        /// The database.
        database: String,
    },
    /// `EXPLAIN RESTORE REDUNDANCY`: of every database. It can be explained only.
    RestoreAll,
    /// `EXPLAIN REBALANCE PARTITIONS`: of every database, each by itself. It can be explained only.
    RebalancePartitionsOfAll,
    /// `REBALANCE ALL DATABASES [KILL] [ENSURE_ONLINE_NODES]`.
    RebalanceAll {
        /// Whether it is done only if all leaves are online.
        all_online: bool,
    },
}
