//! How a RocksDB is opened, and the few things all stores do with one.
//!
//! Sized for a node that idles below 150 MB: small write buffers and one block cache for all stores of the process.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, LogLevel, Options, ReadOptions,
};

use crate::error::StoreError;

/// An open RocksDB, shared by all who use it.
pub(crate) type Engine = Arc<DB>;

/// Bytes of the block cache that all stores of the process share.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// Bytes of write-ahead log after which memtables are flushed, so that a restart has little to replay.
const WAL_BYTES_MAX: u64 = 128 << 20;
/// Files that one store keeps open, at most.
const OPEN_FILES_MAX: i32 = 256;

/// How tables are written, in a store and in files that a store takes in.
pub(crate) fn table_options() -> Options {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let cache = CACHE.get_or_init(|| Cache::new_lru_cache(BLOCK_CACHE_BYTES));

    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);

    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

/// Opens, or creates, the store in a folder.
///
/// `write_buffer_bytes` is the size of a memtable; there are at most two of them.
pub(crate) fn open(dir: &Path, write_buffer_bytes: usize) -> Result<Engine, StoreError> {
    let mut options = table_options();
    options.create_if_missing(true);
    options.set_write_buffer_size(write_buffer_bytes);
    options.set_max_write_buffer_number(2);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    // After a power cut the log ends where the last unsynced write was torn. This mode takes what lies before the
    // tear: a prefix of the writes, which is what every store here is built on. `AbsoluteConsistency` would refuse
    // to open after any power cut, although nothing that was promised is missing; `TolerateCorruptedTail` may keep
    // writes behind a tear in an earlier log file, and then it is no prefix any more.
    // What this mode does not see by itself is a synced log file that is gone or too short: those are counted in
    // the manifest and refused at opening.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);

    match DB::open(&options, dir) {
        Ok(db) => Ok(Arc::new(db)),
        Err(source) => Err(StoreError::Open { dir: dir.to_owned(), source }),
    }
}

/// The keys from `from` (inclusive) to `to` (exclusive), for an iterator.
pub(crate) fn range(from: Vec<u8>, to: Vec<u8>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    options
}

/// The first key that is greater than every key with this prefix. The prefix is not all 0xFF.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            break;
        }
    }
    end
}
