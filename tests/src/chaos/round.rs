//! A round: clients work, faults are made and undone, the cluster must be whole again in time, and everything is
//! compared with what the clients know, from every copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use super::fault::Fault;
use super::plan::Plan;
use super::strike::{Field, Struck};
use crate::cluster::Cluster;
use crate::cluster_file::ClusterSpec;
use crate::moment::Moment;
use crate::network::Internet;
use crate::oracle::{Numbers, Oracle, Pace, Testimony, Violation};
use crate::view::Instance;
use crate::wait::wait_while_not;
use crate::writers::DATABASE;

/// Aggregators and leaves of the cluster that is hurt.
const AGGREGATORS: usize = 3;
const LEAVES: usize = 4;
/// The leaf whose disk can be filled, and what goes on it.
const SMALL: (&str, u64) = ("l4", 192 << 20);
/// How long a statement is held in the cluster, and waits for a row lock, in milliseconds.
const BUFFER_MS: u64 = 8000;
const LOCK_WAIT_MS: u64 = 2000;
const GRACE_MAX_S: u64 = 2;
/// How hard clients work. Each waits for longer than a statement can be held.
const PACE: Pace =
    Pace { rest: Duration::from_millis(8), bound: Duration::from_millis(BUFFER_MS + LOCK_WAIT_MS + 3000) };
/// The longest that the cluster may take, once nothing is wrong any more, until every partition is served and has its
/// replica in sync, and every client writes.
const HEAL_BOUND: Duration = Duration::from_secs(90);
/// What the policy has not noticed within this, it will not.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
/// The longest that half of the leaves may take to be led by the others.
const TAKE_OVER_BOUND: Duration = Duration::from_secs(20);
/// Rows, and bytes of a row's text, that lie there for copies to take a moment.
const FILLING: (usize, usize) = (40_000, 500);
const FILLING_ROWS_AT_ONCE: usize = 2000;
/// What a node never says while it does what it should: a panic, and an instance that saw what must never be.
const OMINOUS: [&str; 3] = ["panicked at", "what it saw must never be", "HALT:"];
/// Of these, what the leaf with the full disk may say.
const OF_A_FULL_DISK: &str = "HALT:";
/// Lines of a log that are shown of what is ominous.
const LINES_SHOWN: usize = 3;

/// How clusters for chaos are set up.
#[must_use]
pub fn spec(internet: &Internet) -> ClusterSpec {
    ClusterSpec::new(AGGREGATORS, LEAVES)
        .on_hosts(internet.addresses())
        .policy("swift")
        .variable("failover_buffer_ms", BUFFER_MS)
        .variable("lock_wait_timeout_ms", LOCK_WAIT_MS)
        // Leaves fail again and again here: held back, but not for half a minute.
        .variable("failover_maximum_grace_interval_seconds", GRACE_MAX_S)
}

/// Hosts for a cluster of chaos.
///
/// # Errors
/// As [`Internet::of`].
pub fn internet() -> Result<Internet> {
    Internet::of(AGGREGATORS + LEAVES)
}

/// Starts a cluster that can be hurt in every way, on these hosts.
///
/// # Errors
/// When it cannot be started.
pub async fn cluster(internet: &Internet) -> Result<Cluster> {
    let ground = crate::cluster::Ground { internet: Some(internet), small_disk: Some(SMALL) };
    Cluster::start_on(&spec(internet), ground).await
}

/// What a round has shown.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// How often each fault was made.
    pub faults: BTreeMap<String, u64>,
    /// What clients met.
    pub numbers: Numbers,
    /// From the end of the last fault until the cluster was whole.
    pub healed_s: f64,
    /// Whether there were transactions.
    pub transactions: bool,
    /// What must not be, and was.
    pub violations: Vec<Violation>,
}

/// Runs a round on a cluster in which nothing is wrong; `tell` is told what happens.
///
/// # Errors
/// When the round cannot be run. What the cluster does wrong is no error, but in the report.
pub async fn round(
    cluster: &Cluster,
    internet: &Internet,
    plan: &Plan,
    seed: u64,
    tell: &mut impl FnMut(Moment, &str),
) -> Result<Report> {
    let mut logs = Logs::at_their_ends(cluster);
    let mut client = cluster.any_aggregator().await?;
    client.run(&format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
    client.close().await;
    cluster.create_database(plan.options).await?;
    cluster.all_in_sync(HEAL_BOUND).await?;
    let copied = plan.steps.iter().any(|step| step.fault == Fault::KillWhileProvisioned);
    if copied {
        fill(cluster).await?;
    }
    let oracle = Oracle::start(cluster, &cluster.aggregators(), seed, PACE).await?;
    oracle.all_work(HEAL_BOUND).await?;

    let mut report = Report::default();
    let mut field = Field::new(cluster, internet, SMALL.0);
    make_faults(&mut field, plan, &mut report, tell).await?;
    let died: Vec<String> = field.ended_by_themselves().await?;
    report.violations.extend(died.iter().map(|name| Violation::new(format!("{name} ended by itself"))));

    let over = Moment::now();
    field.heal().await?;
    let healed = whole(cluster, &oracle).await;
    report.healed_s = Moment::now().ms_after(over) / 1e3;
    match healed {
        Ok(()) => tell(Moment::now(), &format!("whole again after {:.1} s", report.healed_s)),
        Err(error) => {
            let bound = HEAL_BOUND.as_secs();
            let what = format!("it is not whole {bound} s after the last fault: {error:#}");
            report.violations.push(Violation::new(what));
        }
    }
    let testimony = oracle.finish(PACE).await;
    match testimony {
        Ok(mut testimony) => {
            report.violations.extend(testimony.violations());
            let compared = compare_copies(cluster, &mut testimony, copied, tell).await;
            match compared {
                Ok(found) => report.violations.extend(found),
                Err(error) => {
                    report.violations.push(Violation::new(format!("it cannot be read back: {error:#}")));
                }
            }
            report.numbers = testimony.numbers();
            report.transactions = testimony.had_transactions();
        }
        Err(error) => report.violations.push(Violation::new(format!("{error:#}"))),
    }
    let full = plan.steps.iter().any(|step| step.fault == Fault::FullDisk);
    report.violations.extend(logs.ominous(if full { Some(SMALL.0) } else { None }));
    Ok(report)
}

enum Moved {
    Begins(usize),
    Ends(usize),
}

async fn make_faults(
    field: &mut Field<'_>,
    plan: &Plan,
    report: &mut Report,
    tell: &mut impl FnMut(Moment, &str),
) -> Result<()> {
    let mut moves: Vec<(Duration, Moved)> = Vec::new();
    for (i, step) in plan.steps.iter().enumerate() {
        moves.push((step.begins, Moved::Begins(i)));
        moves.push((step.ends, Moved::Ends(i)));
    }
    moves.sort_by_key(|(at, _)| *at);
    let mut struck: BTreeMap<usize, Struck> = BTreeMap::new();
    let mut began = Instant::now();
    for (at, moved) in moves {
        sleep_until(began + at).await;
        // Some faults take a while to make: what comes after them comes as much later.
        began = began.max(Instant::now() - at);
        match moved {
            Moved::Begins(i) => {
                let step = &plan.steps[i];
                match field.strike(step).await {
                    Ok(made) => {
                        *report.faults.entry(step.fault.to_string()).or_default() += 1;
                        tell(Moment::now(), &made.text);
                        struck.insert(i, made);
                    }
                    // In a cluster that is hurt already it may not work, and what was done of it is undone in the end.
                    Err(error) => tell(Moment::now(), &format!("{} cannot be made: {error:#}", step.fault)),
                }
            }
            Moved::Ends(i) => {
                let Some(made) = struck.remove(&i) else { continue };
                match field.undo(&made, plan.steps[i].fault).await {
                    Ok(()) => tell(Moment::now(), &format!("over: {}", plan.steps[i].fault)),
                    Err(error) => tell(Moment::now(), &format!("{} goes on: {error:#}", plan.steps[i].fault)),
                }
            }
        }
    }
    Ok(())
}

/// Waits until the cluster is whole, and all clients work through it.
async fn whole(cluster: &Cluster, oracle: &Oracle) -> Result<()> {
    let all = async {
        cluster.master(HEAL_BOUND).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        oracle.all_work(HEAL_BOUND).await
    };
    tokio::time::timeout(HEAL_BOUND, all).await.context("it took too long")?
}

/// What is read of a reference table is an aggregator's own copy, which may be behind for as long as its connections take
/// to come back. Whatever was acknowledged before this is in every copy afterwards, or lost.
async fn all_have_caught_up(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    client.run(&format!("CREATE REFERENCE TABLE {DATABASE}.marker (id BIGINT PRIMARY KEY)")).await?;
    let read = format!("SELECT id FROM {DATABASE}.marker");
    for name in cluster.aggregators() {
        let what = format!("{name} has caught up");
        let caught_up = wait_while_not(&what, HEAL_BOUND, async || {
            let Ok(mut client) = cluster.conn(&name).await else { return Ok(false) };
            Ok(client.rows(&read).await.is_ok())
        });
        caught_up.await?;
    }
    Ok(())
}

/// Waits until nothing has moved for so long that no fault is still to be noticed: one that was over before anybody missed
/// the leaf may move its primaries afterwards, and whose copies are then to be compared is not yet said.
async fn is_calm(cluster: &Cluster) -> Result<()> {
    let mut seen: Option<(Vec<Instance>, Instant)> = None;
    wait_while_not("nothing has moved for a while, and everything is in sync", HEAL_BOUND, async || {
        cluster.all_in_sync(HEAL_BOUND).await?;
        let instances = cluster.any_aggregator().await?.instances(DATABASE).await?;
        match &seen {
            Some((before, since)) if *before == instances => Ok(since.elapsed() >= NOTICED_WITHIN),
            _ => {
                seen = Some((instances, Instant::now()));
                Ok(false)
            }
        }
    })
    .await
}

/// Reads everything back through every aggregator, and then from every copy: of each pair, the leaf that leads more is
/// killed first, and then the other one.
async fn compare_copies(
    cluster: &Cluster,
    testimony: &mut Testimony,
    filled: bool,
    tell: &mut impl FnMut(Moment, &str),
) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    all_have_caught_up(cluster).await?;
    for name in cluster.aggregators() {
        let seen = testimony.check(&mut cluster.conn(&name).await?).await?;
        found.extend(with_place(seen, &format!("through {name}")));
    }
    is_calm(cluster).await?;
    let instances = cluster.any_aggregator().await?.instances(DATABASE).await?;
    let (first, second) = sides(cluster, &instances)?;
    for side in [first, second] {
        try_join_all(side.iter().map(|name| cluster.kill9(name))).await?;
        let ids: Vec<u64> = side.iter().map(|name| cluster.id(name)).collect::<Result<_>>()?;
        let taken = wait_while_not("the other copies lead", TAKE_OVER_BOUND, async || {
            let instances = cluster.any_aggregator().await?.instances(DATABASE).await?;
            let led = instances.iter().filter(|instance| instance.is_primary());
            Ok(led.clone().count() > 0 && led.clone().all(|instance| !ids.contains(&instance.node)))
        });
        taken.await?;
        let seen = testimony.check(&mut cluster.any_aggregator().await?).await?;
        let place = format!("in the copies that are not on {}", side.join(" and "));
        found.extend(with_place(seen, &place));
        if filled {
            found.extend(with_place(check_filling(cluster).await?, &place));
        }
        cluster.restart_all().await?;
        is_calm(cluster).await?;
    }
    tell(Moment::now(), "read back through every aggregator and from every copy");
    Ok(found)
}

/// Makes a table that nobody writes to any more.
async fn fill(cluster: &Cluster) -> Result<()> {
    let mut client = cluster.any_aggregator().await?;
    let (rows, bytes) = FILLING;
    client
        .run(&format!("CREATE TABLE {DATABASE}.filling (id BIGINT PRIMARY KEY, text VARCHAR({bytes}))"))
        .await?;
    let text = "x".repeat(bytes);
    for first in (0..rows).step_by(FILLING_ROWS_AT_ONCE) {
        let values: Vec<String> =
            (first..first + FILLING_ROWS_AT_ONCE).map(|id| format!("({id}, '{text}')")).collect();
        client.run(&format!("INSERT INTO {DATABASE}.filling VALUES {}", values.join(", "))).await?;
    }
    client.close().await;
    Ok(())
}

async fn check_filling(cluster: &Cluster) -> Result<Vec<Violation>> {
    let (rows, bytes) = FILLING;
    let mut client = cluster.any_aggregator().await?;
    let count = format!("SELECT COUNT(*) FROM {DATABASE}.filling WHERE LENGTH(text) = {bytes}");
    let there = client.value(&count).await?;
    let wrong = there != rows.to_string();
    Ok(wrong
        .then(|| Violation::new(format!("{there} of {rows} rows are there that nobody changed")))
        .into_iter()
        .collect())
}

fn with_place(found: Vec<Violation>, place: &str) -> Vec<Violation> {
    let placed = found.into_iter().map(|one| Violation { what: format!("{place}: {}", one.what), ..one });
    placed.collect()
}

/// The leaves in two sides, each with a copy of everything; first the one that leads more.
fn sides(cluster: &Cluster, instances: &[Instance]) -> Result<(Vec<String>, Vec<String>)> {
    let mut sides = (Vec::new(), Vec::new());
    let mut led = (0, 0);
    for leaf in cluster.leaves() {
        let id = cluster.id(&leaf)?;
        let leads = instances.iter().filter(|one| one.is_primary() && one.node == id).count();
        let mine: Vec<u64> = instances.iter().filter(|one| one.node == id).map(|one| one.ordinal).collect();
        let shares = |other: &String| {
            let other = cluster.id(other).ok();
            instances.iter().any(|one| Some(one.node) == other && mine.contains(&one.ordinal))
        };
        if sides.0.iter().any(shares) {
            sides.1.push(leaf);
            led.1 += leads;
        } else {
            sides.0.push(leaf);
            led.0 += leads;
        }
    }
    Ok(if led.1 > led.0 { (sides.1, sides.0) } else { sides })
}

/// The logs of all nodes, from a moment on.
struct Logs {
    folder: PathBuf,
    ends: BTreeMap<PathBuf, u64>,
}

impl Logs {
    fn at_their_ends(cluster: &Cluster) -> Self {
        let folder = cluster.toolbox().state_dir().join("logs");
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        let ends = files.map(|file| (file.path(), file.metadata().map_or(0, |data| data.len())));
        Self { ends: ends.collect(), folder }
    }

    /// What nodes have said that they never should.
    fn ominous(&mut self, full: Option<&str>) -> Vec<Violation> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = file.path();
            let bytes = fs::read(&path).unwrap_or_default();
            let from = usize::try_from(self.ends.get(&path).copied().unwrap_or(0)).unwrap_or(0);
            let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned();
            let node = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let allowed = |line: &str| full == Some(node.as_str()) && line.contains(OF_A_FULL_DISK);
            let lines = text.lines().filter(|line| OMINOUS.iter().any(|words| line.contains(words)));
            for line in lines.filter(|line| !allowed(line)).take(LINES_SHOWN) {
                found.push(Violation::new(format!("{} says: {line}", path.display())));
            }
        }
        found
    }
}
