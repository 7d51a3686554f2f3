//! Options of RocksDB: bounded memory, and no write stalls, because a confirm waits for the write.

use rocksdb::{BlockBasedOptions, Cache, ChecksumType, LogLevel, Options, WriteBufferManager};

const MIB: usize = 1024 * 1024;

/// Tables are written in pieces of this size. In RocksDB's own of 1 MiB the kernel takes pages of that size for them,
/// which it has to find and to clear first: a quarter of all processor time while messages came in, and 10 to 25 %
/// fewer of them.
const WRITE_BYTES: u64 = 64 * 1024;

/// Messages are mostly read in order: RocksDB's own 4 KiB are a dozen of them, and each block is looked up and checked.
const BLOCK_BYTES: usize = 16 * 1024;

/// Maximum bytes that one compaction rewrites, approximately: they are on disk twice while it runs.
pub(crate) const COMPACTION_BYTES: u64 = 256 * 1024 * 1024;

/// Maximum bytes per second of flushes and compactions; RocksDB starts with a twentieth of it, and takes more as long
/// as that is too little. Unlimited, each had the disk to itself, on all replicas at the same moment, and no sync of
/// the log ended meanwhile: at 50,000 messages a second of 256 bytes the 99th percentile of confirms was 12 to 100 ms,
/// and is 5 to 6. With a twentieth that is less than what comes in, memtables wait in memory for the rate to grow.
const BACKGROUND_BYTES_PER_SECOND: i64 = 3000 * MIB as i64;
/// Interval of the limiter's portions, in microseconds. With one millisecond the rate was not reached:
/// a busy machine wakes a waiting thread later than that.
const PORTION_MICROS: i64 = 10_000;
/// Compactions get the first of this many portions, so that they continue next to flushes.
const COMPACTIONS_IN: i32 = 10;

/// Default of open files.
const OPEN_FILES: i32 = 512;

/// The memory, and the open files, of a store's database.
#[derive(Clone)]
pub(crate) struct MemoryBudget {
    cache: Cache,
    write_buffers: WriteBufferManager,
    /// Of one memtable.
    write_buffer_bytes: usize,
    /// Maximum open files.
    open_files: i32,
}

impl MemoryBudget {
    /// At most half of the budget goes to write buffers; what they do not use caches blocks.
    pub(crate) fn new(budget_bytes: u64) -> Self {
        let budget = usize::try_from(budget_bytes).unwrap_or(usize::MAX).max(16 * MIB);
        let cache = Cache::new_lru_cache(budget);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(budget / 2, false, cache.clone());
        Self { cache, write_buffers, write_buffer_bytes: (budget / 12).clamp(MIB, 16 * MIB), open_files: OPEN_FILES }
    }

    /// The same, for a process that may open few files.
    pub(crate) fn with_open_files(self, open_files: u32) -> Self {
        Self { open_files: i32::try_from(open_files).unwrap_or(OPEN_FILES), ..self }
    }
}

/// The options of the state's database. Its queues leave trails of deleted messages.
pub(super) fn state_options(memory: &MemoryBudget, create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    // A store of an older program has fewer families.
    options.create_missing_column_families(true);
    options.set_error_if_exists(create);
    options.set_write_buffer_manager(&memory.write_buffers);
    options.set_write_buffer_size(memory.write_buffer_bytes);
    options.set_max_write_buffer_number(8);
    options.set_max_background_jobs(4);
    options.set_level_zero_slowdown_writes_trigger(64);
    options.set_level_zero_stop_writes_trigger(128);
    options.set_soft_pending_compaction_bytes_limit(0);
    options.set_hard_pending_compaction_bytes_limit(0);
    options.set_max_compaction_bytes(COMPACTION_BYTES);
    options.set_auto_tuned_ratelimiter(BACKGROUND_BYTES_PER_SECOND, PORTION_MICROS, COMPACTIONS_IN);
    options.set_bytes_per_sync(MIB as u64);
    options.set_writable_file_max_buffer_size(WRITE_BYTES);
    options.set_max_open_files(memory.open_files);
    options.set_paranoid_checks(true);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(4 * MIB);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    table.set_checksum_type(ChecksumType::XXH3);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_level_zero_file_num_compaction_trigger(8);
    // Without a write-ahead log the column families are of one instant only if flushed as one.
    options.set_atomic_flush(true);
    table.set_bloom_filter(10.0, false);
    table.set_block_size(BLOCK_BYTES);
    // A queue leaves deleted messages at its head: compact where half of a window is deletions.
    options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
    options.set_block_based_table_factory(&table);
    options
}
