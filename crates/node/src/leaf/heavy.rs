//! Work that would hold up everybody else on its thread.

/// A statement on more keys than these reads and computes for milliseconds.
const KEYS_MAX: usize = 1_000;

/// Does work on so many keys, and lets other tasks move to another thread before if it is much.
pub fn run<T>(keys: usize, work: impl FnOnce() -> T) -> T {
    if keys > KEYS_MAX { tokio::task::block_in_place(work) } else { work() }
}
