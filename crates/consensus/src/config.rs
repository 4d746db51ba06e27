//! The control group's figures, each with its name.

use std::time::Duration;

use baton_model::limits;
use openraft::{Config, ConfigError, SnapshotPolicy};

/// How long a proposal waits for its outcome before the answer is "unknown".
pub(crate) const PROPOSE_TIMEOUT: Duration = limits::CALL_TIMEOUT;
/// How long a change of members waits, catching up of a new one included.
pub(crate) const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(30);
/// Entries that a member may lack when it becomes a voter.
pub(crate) const VOTER_LAG_MAX: u64 = 1_000;
/// How long a hand-over of the leadership waits for the new leader.
pub(crate) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call that carries entries or a piece of a snapshot may take, beside the time for its bytes.
pub(crate) const REPLICATION_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes a second that a connection and a disk are expected to take at least.
pub(crate) const REPLICATION_BYTES_PER_SECOND: usize = 2 << 20;
/// How long a member may take to put a snapshot that it has in place.
pub(crate) const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one proposal, at most. It has to fit, with what is around it, into one message between nodes, and whatever
/// comes behind it in the log waits until it has arrived.
pub(crate) const PROPOSAL_BYTES_MAX: usize = limits::CATALOG_ENTRY_BYTES_MAX;
/// Entries of one replication message, at most.
pub(crate) const APPEND_ENTRIES_MAX: u64 = 1_024;
/// Bytes of the entries of one replication message, about; one entry goes whatever its size.
pub(crate) const APPEND_BYTES_MAX: usize = 4 << 20;
/// Bytes of one piece of a snapshot, at most.
pub(crate) const SNAPSHOT_PIECE_BYTES_MAX: usize = 1 << 20;
/// Entries at the log's end that are kept in memory for replication and apply, at most.
pub(crate) const RECENT_ENTRIES_MAX: usize = 4_096;
/// Bytes of those entries, about.
pub(crate) const RECENT_BYTES_MAX: usize = 8 << 20;
/// Entries that are applied in one batch of rows, at most.
pub(crate) const APPLY_BATCH_MAX: usize = 1_024;
/// Entries that are read from disk at once when many are applied.
pub(crate) const READ_AHEAD_ENTRIES: u64 = 256;
/// Entries that are kept for watchers before they get a snapshot instead, at most.
pub(crate) const FEED_ENTRIES_MAX: usize = 4_096;
/// Bytes of those entries, about.
pub(crate) const FEED_BYTES_MAX: usize = 16 << 20;

/// What may be set of the control group.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// How often the leader lets the members know that it lives, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// For how long after the leader was last heard a member helps nobody to replace it, and for how long after it was
    /// last answered by a majority a leader calls itself one, in milliseconds. The floor under every election.
    pub lease_ms: u64,
    /// Entries after which a snapshot is made and the log is cut.
    pub log_entries_max: u64,
    /// Entries that are left in front of a snapshot, for members that are not far behind.
    pub log_entries_kept: u64,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 50,
            lease_ms: 300,
            log_entries_max: limits::CONTROL_LOG_ENTRIES_MAX,
            log_entries_kept: 1_000,
        }
    }
}

impl ControlConfig {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// In openraft's words.
    pub(crate) fn raft(&self) -> Result<Config, ConfigError> {
        Config {
            cluster_name: "control".into(),
            heartbeat_interval: self.heartbeat_interval_ms,
            // Elections are called by policy and never by a timer here: these two only make the lease, which is the
            // greater one, and how long a call for votes waits, which is the smaller one.
            election_timeout_min: self.lease_ms / 2,
            election_timeout_max: self.lease_ms,
            enable_elect: false,
            enable_pre_vote: Some(true),
            // A restarted leader may have sent entries that its own disk had not got yet; leading on in the same term
            // it would give their indexes to others. It campaigns like everybody else.
            enable_leader_restore: Some(false),
            max_payload_entries: APPEND_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.log_entries_max),
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            // Must be more than the snapshots' distance, or a snapshot would leave its receiver lagging at once.
            replication_lag_threshold: self
                .log_entries_max
                .saturating_mul(2)
                .saturating_add(self.log_entries_kept),
            install_snapshot_timeout: u64::try_from(SNAPSHOT_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            // A member that was away is tried soon, so that it counts for the quorum soon.
            backoff: "50ms 100ms 200ms ...500ms".into(),
            ..Config::default()
        }
        .validate()
    }
}
