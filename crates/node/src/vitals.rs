//! How well this node can work, measured and told with every pong.

use std::sync::Arc;
use std::time::Duration;

use baton_detector::Vitals;
use nix::sys::statvfs::statvfs;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::leaf::Leaf;

/// How often it is measured.
const INTERVAL: Duration = Duration::from_millis(200);

/// Measures until the node stops. Runs on the event loop whose delay it measures.
pub async fn measure(context: Arc<Context>, leaf: Option<Arc<Leaf>>) {
    loop {
        let before = Instant::now();
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = context.shutdown.cancelled() => return,
        }
        let delay = before.elapsed().saturating_sub(INTERVAL);
        let free_disk_bytes = statvfs(context.dir().path())
            .map_or(0, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
        let fsync_us = leaf.as_ref().map_or(0, |leaf| leaf.last_sync_us());
        context.pulse.set_vitals(Vitals {
            loop_delay_ms: u32::try_from(delay.as_millis()).unwrap_or(u32::MAX),
            fsync_ms: u32::try_from(fsync_us / 1000).unwrap_or(u32::MAX),
            apply_backlog: leaf.as_ref().map_or(0, |leaf| leaf.apply_backlog()),
            free_disk_bytes,
        });
    }
}
