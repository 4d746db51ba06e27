//! A host that swallows packets: neither refusal nor silence on a live connection.

use std::time::Duration;

use baton_tests::{ClusterSpec, network};

use crate::stage::{alone, ensure_ms, event_about, taken_over};

#[test]
fn a_leaf_whose_host_swallows_packets_is_failed_over_after_20_seconds() {
    // The namespace is this thread's, and ends with it.
    let alone = std::thread::spawn(|| {
        network::enter_own_namespace().unwrap_or_else(|error| panic!("{error:#}"));
        alone(ClusterSpec::new(1, 2), async |cluster| {
            cluster.create_database("PARTITIONS 4").await?;
            cluster.all_in_sync(Duration::from_secs(30)).await?;
            network::swallow_connects_to(cluster.node("l1")?.rpc_port)?;
            let killed = cluster.kill9("l1").await?.at;
            let offline = event_about(cluster, "NODE_OFFLINE", "l1", killed, Duration::from_secs(30)).await?;
            ensure_ms("detection of swallowed packets", offline.at.ms_after(killed), 20_000.0, 1000.0)?;
            taken_over(cluster, "l1", Duration::from_secs(5)).await
        });
    });
    if let Err(panic) = alone.join() {
        std::panic::resume_unwind(panic);
    }
}
