//! Every limit has a name, and its name is here.

use std::time::Duration;

/// How often each node is pinged, unless `heartbeat_interval_ms` says otherwise.
pub const HEARTBEAT_INTERVAL_MS: u64 = 150;
/// How long a heartbeat's connection attempt may take before it counts as failed.
pub const HEARTBEAT_CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Heartbeat connection attempts start at least this far apart.
pub const HEARTBEAT_RETRY_MS: u64 = 1_000;
/// How long a leaf may show what it reads after a pong that the master aggregator has heard. Longer than three
/// heartbeats, so that one that is late costs no read; shorter than any failure that is told by silence.
pub const LEAF_READ_LEASE_MS: u64 = 500;
/// What the master aggregator waits beyond that, because two clocks do not go equally fast: 2 % of it.
pub const LEAF_READ_LEASE_MARGIN_MS: u64 = 10;
/// With a longer `heartbeat_interval_ms`, pings that renew leases, and that no policy counts, are this far apart.
pub const LEAF_READ_LEASE_RENEWAL_MS: u64 = 150;
/// How long a read waits at its leaf for a lease before the aggregator is told to ask again.
pub const LEAF_READ_LEASE_WAIT_MS: u64 = 2_000;
/// How many inter-arrival times of pongs the detector keeps of each node.
pub const PONG_INTERVALS_KEPT: usize = 32;
/// A replica that acknowledges nothing for this long is reported to the master aggregator, unless
/// `sync_replica_timeout_ms` says otherwise.
pub const SYNC_REPLICA_TIMEOUT_MS: u64 = 5_000;
/// How long a voting member waits for a silent master aggregator, unless `consensus_election_timeout` says otherwise.
pub const CONSENSUS_ELECTION_TIMEOUT_MS: u64 = 30_000;
/// How long an aggregator holds a statement whose partition has no primary, or a cluster without a master
/// aggregator, before it answers with an error; unless `failover_buffer_ms` says otherwise.
pub const FAILOVER_BUFFER_MS: u64 = 60_000;
/// How long a write waits for a row lock before error 1205, unless `lock_wait_timeout_ms` says otherwise.
pub const LOCK_WAIT_TIMEOUT_MS: u64 = 10_000;

/// How long a transaction that does nothing keeps its locks, unless `transaction_idle_timeout_ms` says otherwise.
pub const TRANSACTION_IDLE_TIMEOUT_MS: u64 = 300_000;
/// Transactions that are open at one partition, at most; one more is refused.
pub const TRANSACTIONS_OPEN_MAX: usize = 4_096;
/// Outcomes of transactions that a partition remembers (S12).
pub const TRANSACTION_OUTCOMES_KEPT: usize = 100_000;
/// Savepoints of one transaction, at most.
pub const SAVEPOINTS_MAX: usize = 1_024;

/// Partitions of one database, at most.
pub const PARTITIONS_MAX: u32 = 1024;
/// Partitions per leaf of a database created without `PARTITIONS n`.
pub const PARTITIONS_PER_LEAF: u32 = 2;
/// Columns of one table, at most.
pub const COLUMNS_MAX: usize = 1024;
/// Bytes of an identifier, at most.
pub const IDENTIFIER_BYTES_MAX: usize = 64;
/// Bytes of an encoded primary key, at most.
pub const KEY_BYTES_MAX: usize = 3072;
/// Bytes of one encoded row, at most.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// Bytes of one client packet, and so of one statement, at most.
pub const PACKET_BYTES_MAX: usize = 64 << 20;
/// Rows that one statement may write, at most.
pub const STATEMENT_ROWS_MAX: usize = 100_000;
/// Bytes of the rows that one statement may write in one partition, at most: they are one record of its log, and a
/// record has to fit into one message between nodes.
pub const RECORD_BYTES_MAX: usize = 48 << 20;
/// Bytes of one entry of the control group's log, at most: a statement on reference tables is one.
pub const CATALOG_ENTRY_BYTES_MAX: usize = 16 << 20;
/// Bytes of one message's body between nodes, at most.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of rows that are gathered before they are evaluated and sent, about; a single row may be bigger.
pub const SCAN_BATCH_BYTES_MAX: usize = 4 << 20;
/// Client connections of one node, at most.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of monitoring to one node, at most.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// Records of a partition's log that are on their way to one replica, at most.
pub const REPLICATION_BATCH_RECORDS_MAX: usize = 512;
/// Bytes of one replication message, about.
pub const REPLICATION_BATCH_BYTES_MAX: usize = 4 << 20;
/// Writes of one partition that wait for their commit, at most; one more is refused.
pub const WRITES_IN_FLIGHT_MAX: usize = 8192;
/// Bytes of records that a primary holds in memory because they are not committed yet, about; a write that comes then
/// is refused. One record is taken whatever its size.
pub const WRITES_IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Records of a partition's log that are kept behind its commit point for replicas that catch up, unless
/// `log_records_kept` says otherwise.
pub const LOG_RECORDS_KEPT: u64 = 200_000;
/// Bytes of them, about, unless `log_bytes_kept` says otherwise.
pub const LOG_BYTES_KEPT: u64 = 1 << 30;
/// Bytes of one file of a backup, about.
pub const BACKUP_FILE_BYTES: usize = 16 << 20;
/// Bytes of rows that are one record of the log while a backup is restored, about.
pub const RESTORE_RECORD_BYTES: usize = 2 << 20;
/// Partitions that one leaf backs up or restores at once.
pub const BACKUPS_AT_ONCE: usize = 2;
/// Outcomes of statements that a partition remembers for retries (S12).
pub const PARTITION_OUTCOMES_KEPT: usize = 100_000;
/// Outcomes of catalog statements that the catalog remembers for retries (S12).
pub const CATALOG_OUTCOMES_KEPT: usize = 32_768;
/// Events that the catalog keeps (as the reference system does).
pub const EVENTS_KEPT: usize = 1028;
/// Decisions that the catalog keeps with their inputs.
pub const DECISIONS_KEPT: usize = 512;
/// Steps of an operator's plan, at most: eight for each partition of the largest database.
pub const PLAN_STEPS_MAX: usize = 8 * PARTITIONS_MAX as usize;
/// Bytes of a policy component, at most.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Names of policies that the catalog keeps, at most.
pub const POLICIES_MAX: usize = 64;
/// Versions of one policy that the catalog keeps, the current one among them, beside those that are bound or that a
/// rollback may come back to.
pub const POLICY_VERSIONS_KEPT: usize = 8;
/// Bindings of policies, for all decision points and scopes and with those that are only asked beside, at most.
pub const POLICY_BINDINGS_MAX: usize = 256;
/// Earlier bindings that are kept of each, for rollbacks.
pub const POLICY_BINDINGS_KEPT: usize = 8;
/// Modules in quarantine that the catalog remembers.
pub const QUARANTINES_KEPT: usize = 256;
/// Keys that policies may be signed by, at most.
pub const POLICY_KEYS_MAX: usize = 16;
/// Users of a cluster, at most.
pub const USERS_MAX: usize = 4096;
/// Databases and tables for which one user was granted something, at most.
pub const GRANTS_MAX: usize = 1024;
/// Milliseconds for which a node may be marked as under maintenance, at most.
pub const MAINTENANCE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Entries of the control group's log after which a snapshot is made and the log is cut.
pub const CONTROL_LOG_ENTRIES_MAX: u64 = 20_000;
/// Auto-increment values that an aggregator takes from the catalog at once.
pub const AUTO_INCREMENT_BLOCK: u64 = 1_000;
/// No remote call waits longer than this unless it says so itself.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
