//! How well this node can work, measured and told with every pong.

use std::sync::Arc;
use std::time::Duration;

use baton_detector::Vitals;
use nix::sys::statvfs::statvfs;
use tokio::time::{Instant, sleep};

use crate::server::{Role, Server};

/// How often it is measured.
const INTERVAL: Duration = Duration::from_millis(200);

/// Measures until the node stops. Runs on the event loop whose delay it measures.
pub async fn measure(server: Arc<Server>) {
    let context = &server.context;
    loop {
        let before = Instant::now();
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = context.shutdown.cancelled() => return,
        }
        let delay = before.elapsed().saturating_sub(INTERVAL);
        let free_disk_bytes = statvfs(context.dir().path())
            .map_or(0, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
        let (fsync_us, syncing_us, apply_backlog) = match &server.role {
            Role::Leaf(leaf) => (leaf.last_sync_us(), leaf.syncing_us(), leaf.apply_backlog()),
            Role::Aggregator(aggregator) => {
                aggregator.group().map_or((0, 0, 0), |group| (group.last_sync_us(), group.syncing_us(), 0))
            }
        };
        context.pulse.set_vitals(Vitals {
            loop_delay_ms: u32::try_from(delay.as_millis()).unwrap_or(u32::MAX),
            fsync_ms: u32::try_from(fsync_us / 1000).unwrap_or(u32::MAX),
            syncing_ms: u32::try_from(syncing_us / 1000).unwrap_or(u32::MAX),
            apply_backlog,
            free_disk_bytes,
        });
    }
}
