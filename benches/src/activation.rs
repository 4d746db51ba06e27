//! How long it takes until another policy decides: from the statement until every aggregator decides by it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use baton_tests::{Cluster, ClusterSpec, Moment};

use crate::figure::Figure;
use crate::spread::{median, range};

/// How often a policy is activated.
const RUNS: usize = 40;

/// Measures installing a component and activating it.
pub async fn measure() -> Result<()> {
    let cluster = Cluster::start(&ClusterSpec::new(3, 2)).await?;
    let master = cluster.master(Duration::from_secs(30)).await?;
    let mut client = cluster.conn(&master).await?;
    let mut installed = Vec::new();
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    let root = root.context("not inside the repository")?;
    let component = fs::read(root.join("crates/policy-host/tests/fixtures/chaos.wasm"))?;
    for number in 0..8_u8 {
        // Another version each time: a custom section that says nothing.
        let bytes = [&component[..], &[0, 3, 1, b'v', number]].concat();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let begun = Moment::now();
        client.run(&format!("CREATE OR REPLACE POLICY chaos FROM x'{hex}'")).await?;
        installed.push(Moment::now().ms_after(begun));
    }
    let mut activated = Vec::new();
    for run in 0..RUNS {
        let policy = if run % 2 == 0 { "swift" } else { "classic" };
        let begun = Moment::now();
        client.run(&format!("SET POLICY ALL = {policy}")).await?;
        activated.push(Moment::now().ms_after(begun));
    }
    let size = component.len() / 1024;
    for (what, times, note) in [
        ("installing a policy", installed, format!("{size} KiB, compiled at the master aggregator")),
        ("activating a policy", activated, "until all three aggregators decide by it".to_owned()),
    ] {
        Figure {
            what: what.to_owned(),
            goal: String::new(),
            measured: format!("{:.1} ms", median(&times)),
            met: None,
            note: format!("{note}; {}", range(&times, 1, "ms")),
        }
        .print()?;
    }
    Ok(())
}
