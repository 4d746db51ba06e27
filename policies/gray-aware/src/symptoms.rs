//! What a leaf's own account says against it.
//!
//! Not here: for how long it has said so, and what follows.

use baton_policy_sdk::{Settings, Vitals};

use crate::{FREE_DISK_MIN_MB, FSYNC_LIMIT_MS, LOOP_LIMIT_MS};

/// From where on a vital sign is bad.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    fsync_ms: u64,
    loop_ms: u64,
    free_disk_mb: u64,
}

impl Limits {
    /// As they are set.
    pub fn read(settings: &Settings) -> Self {
        Self {
            fsync_ms: FSYNC_LIMIT_MS.read(settings).into(),
            loop_ms: LOOP_LIMIT_MS.read(settings).into(),
            free_disk_mb: FREE_DISK_MIN_MB.read(settings).into(),
        }
    }

    /// From where on a sync is slow.
    pub fn fsync_ms(&self) -> u64 {
        self.fsync_ms
    }

    /// Whether its last sync was slow. It may have been long ago: who writes nothing syncs nothing.
    pub fn is_slow_sync(&self, vitals: &Vitals) -> bool {
        vitals.fsync_ms >= self.fsync_ms
    }

    /// Whether the sync that goes on is slow already. It is measured for as long as its event loop runs, so this is so
    /// now, and a disk that hangs for good shows in nothing else.
    pub fn is_hanging(&self, vitals: &Vitals) -> bool {
        vitals.syncing_ms >= self.fsync_ms
    }

    /// Whether its event loop is late. It is measured all the time, so this is so now.
    pub fn is_late_loop(&self, vitals: &Vitals) -> bool {
        vitals.loop_delay_ms >= self.loop_ms
    }

    /// That its disk is nearly full, in words; none if it is not.
    pub fn full_disk(&self, vitals: &Vitals) -> Option<String> {
        let free_mb = vitals.free_disk_bytes >> 20;
        (free_mb < self.free_disk_mb)
            .then(|| format!("{free_mb} MB of its disk free, of {} MB wanted", self.free_disk_mb))
    }

    /// What is bad, in words. The backlog is no symptom, for whoever catches up has one; but it helps to understand.
    pub fn words(&self, vitals: &Vitals) -> String {
        let sync = if self.is_hanging(vitals) {
            Some(format!("a sync takes {} ms and has not ended", vitals.syncing_ms))
        } else {
            self.is_slow_sync(vitals).then(|| format!("a sync took {} ms", vitals.fsync_ms))
        };
        let late = self.is_late_loop(vitals).then(|| format!("its loop is {} ms late", vitals.loop_delay_ms));
        let backlog =
            (vitals.apply_backlog > 0).then(|| format!("{} records are to be applied", vitals.apply_backlog));
        [sync, late, backlog].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
