//! The whole cluster goes down at once and comes back with everything that was acknowledged.

use std::time::{Duration, Instant};

use anyhow::ensure;
use baton_tests::{ClusterSpec, Moment, Writers};
use futures::future::try_join_all;

use crate::stage::{HEAL_BOUND, alone, ensure_below, every_load, read_back_again};

#[test]
fn a_cluster_that_is_killed_whole_and_one_that_is_stopped_come_back_with_every_acknowledged_write() {
    alone(ClusterSpec::new(3, 4), async |cluster| {
        cluster.create_database("PARTITIONS 8").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &every_load(&["a1", "a2", "a3"])).await?;
        writers.more(2000, Duration::from_secs(60)).await?;

        let names: Vec<String> = cluster.aggregators().into_iter().chain(cluster.leaves()).collect();
        try_join_all(names.iter().map(|name| cluster.kill9(name))).await?;
        cluster.restart_all().await?;
        // The same writers find their way back.
        let back = Moment::now();
        writers.all_write(Duration::from_secs(60)).await?;
        println!("    writes {:.1} s after all nodes were up", Moment::now().ms_after(back) / 1e3);
        cluster.all_in_sync(HEAL_BOUND).await?;
        writers.more(500, Duration::from_secs(60)).await?;
        let loads = writers.loads().to_vec();
        let journal = writers.finish().await?;
        for via in cluster.aggregators() {
            read_back_again(cluster, &journal, &loads, &via).await?;
        }

        let began = Instant::now();
        cluster.toolbox().stop_all(false).await?;
        ensure_below("SIGTERM of all nodes", began.elapsed(), Duration::from_secs(25))?;
        ensure!(cluster.refresh().await?.iter().all(|node| node.process_state == "Stopped"));
        cluster.restart_all().await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        read_back_again(cluster, &journal, &loads, "a2").await
    });
}
