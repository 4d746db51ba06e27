//! The acts of the demo, one after another, on one cluster.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use baton_tests::cluster::Killed;
use baton_tests::cluster_file::ClusterFile;
use baton_tests::wait::wait_while_not;
use baton_tests::writers::{DATABASE, Plan};
use baton_tests::{Cluster, Journal, Load, Moment, Readback, Writers, wait_until};

use crate::evidence::{decision, event, tell};
use crate::script::{Kind, Script};
use crate::table::FaultReport;

/// How soon writers must write again after a failover was decided.
const WRITE_AGAIN: Duration = Duration::from_secs(10);
/// How soon everything must be whole again after everything was started again.
const HEAL_BOUND: Duration = Duration::from_secs(40);
/// Writers write for so long before, between and after faults.
const PEACE: usize = 500;

/// A fault that was made, to be reported when all is read back.
struct Made {
    at: Moment,
    fault: String,
    policy: &'static str,
    detected: Moment,
    /// When its effects were over.
    over: Moment,
}

struct Stage<'a> {
    cluster: &'a Cluster,
    script: &'a mut Script,
    writers: Writers,
    made: Vec<Made>,
}

/// The whole job.
pub async fn perform(cluster_file: &Path, script: &mut Script) -> Result<()> {
    script.now(Kind::Step, format!("setup-cluster from {}", file_name(cluster_file)));
    let cluster = Cluster::start_from(ClusterFile::read(cluster_file)?).await?;
    let (aggregators, leaves) = (cluster.aggregators(), cluster.leaves());
    for name in aggregators.iter().chain(&leaves) {
        let node = cluster.node(name)?;
        let id = node.node_id.map_or_else(String::new, |id| format!(", n{id}"));
        script.now(
            Kind::Event,
            format!(
                "{name:<7} {:<10} {}{id}, process {}",
                node.role,
                node.address(),
                node.pid.unwrap_or_default()
            ),
        );
    }
    cluster.create_database("PARTITIONS 8").await?;
    cluster.all_in_sync(HEAL_BOUND).await?;
    let master = cluster.master(HEAL_BOUND).await?;
    let children: Vec<&str> = aggregators.iter().map(String::as_str).filter(|name| *name != master).collect();
    let plans = [(Load::Rows, 4), (Load::Counters, 4), (Load::Reference, 2)];
    let plans: Vec<Plan> = plans.map(|(load, writers)| Plan::new(load, writers, &children)).to_vec();
    let writers = Writers::start(&cluster, &plans).await?;
    script.now(
        Kind::Step,
        format!(
            "8 partitions in 2 copies; 8 clients write sharded tables and 2 a reference table, through {}",
            children.join(" and ")
        ),
    );
    let mut stage = Stage { cluster: &cluster, script, writers, made: Vec::new() };
    stage.peace().await?;

    let killed = stage.leaf_is_killed().await?;
    stage.policy_is_set("swift").await?;
    stage.leaf_falls_asleep().await?;
    stage.master_is_killed(&master).await?;
    stage.everything_is_started_again(&[&killed, &master]).await?;
    stage.everything_is_read_back(&master).await
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl Stage<'_> {
    /// Writers write for a while, undisturbed.
    async fn peace(&mut self) -> Result<()> {
        self.writers.all_write(WRITE_AGAIN).await?;
        self.writers.more(PEACE, Duration::from_secs(20)).await
    }

    async fn leaf_is_killed(&mut self) -> Result<String> {
        let leaf = self.leaf_that_can_be_lost().await?;
        let killed = self.cluster.kill9(&leaf).await?;
        self.leaf_fails(killed, &leaf, format!("kill -9 of leaf {leaf}"), "classic", 2.7..=3.3).await?;
        self.peace().await?;
        Ok(leaf)
    }

    async fn leaf_falls_asleep(&mut self) -> Result<()> {
        let leaf = self.leaf_that_can_be_lost().await?;
        let at = self.cluster.stop(&leaf)?;
        self.leaf_fails(
            Killed { at, gone: at },
            &leaf,
            format!("SIGSTOP of leaf {leaf}"),
            "swift",
            0.0..=2.0,
        )
        .await?;
        self.peace().await?;

        let (address, id) = (self.cluster.node(&leaf)?.address(), self.cluster.id(&leaf)?);
        let woken = self.cluster.cont(&leaf)?;
        self.script.at(
            woken,
            Kind::Step,
            format!("SIGCONT of leaf {leaf}: it still believes that it is primary"),
        );
        let back = event(self.cluster, "NODE_ONLINE", &address, woken, WRITE_AGAIN).await?;
        self.script.at(back.at, Kind::Event, back.details);
        let held = self.partitions_led_by(&leaf).await?;
        self.script.check(held.is_empty(), format!("{leaf} leads nothing any more"));
        let followed = wait_while_not("its copies are in sync again", HEAL_BOUND, async || {
            let instances = self.cluster.any_aggregator().await?.instances(DATABASE).await?;
            let mut here = instances.iter().filter(|instance| instance.node == id).peekable();
            Ok(here.peek().is_some() && here.all(|instance| instance.is_sync()))
        })
        .await;
        self.script.check(followed.is_ok(), format!("{leaf} follows, and all its copies are in sync again"));
        self.peace().await
    }

    /// Follows the failover of a leaf until clients write again. The time to detect it counts from when it was gone.
    async fn leaf_fails(
        &mut self,
        Killed { at, gone }: Killed,
        leaf: &str,
        fault: String,
        policy: &'static str,
        detection_s: std::ops::RangeInclusive<f64>,
    ) -> Result<()> {
        let node = self.cluster.node(leaf)?;
        let held = self.partitions_led_by(leaf).await?;
        self.script.at(
            at,
            Kind::Fault,
            format!("{fault} ({}), primary of {}", node.address(), held.join(", ")),
        );
        let offline =
            event(self.cluster, "NODE_OFFLINE", &node.address(), at, Duration::from_secs(15)).await?;
        match decision(self.cluster, "detection", &node.address(), at).await {
            Some(verdict) => {
                tell(self.script, &verdict, node.node_id);
                self.script.check(
                    verdict.policy.contains(policy) && verdict.fallback.is_empty(),
                    format!("{policy} decided"),
                );
            }
            None => self.script.check(false, "the verdict is recorded"),
        }
        self.script.at(offline.at, Kind::Event, format!("NODE_OFFLINE {}", offline.details));
        for partition in &held {
            let promoted =
                event(self.cluster, "PARTITION_PROMOTED", &format!("{partition}:"), at, WRITE_AGAIN).await?;
            self.script.at(promoted.at, Kind::Event, format!("PARTITION_PROMOTED {}", promoted.details));
        }
        self.writers.all_write(WRITE_AGAIN).await?;
        let over = Moment::now();
        self.tell_first_write(at, over);
        let took = offline.at.ms_after(gone) / 1e3;
        self.script.check(
            detection_s.contains(&took),
            format!(
                "seen after {took:.3} s, should be {:.1} to {:.1} s",
                detection_s.start(),
                detection_s.end()
            ),
        );
        self.made.push(Made { at, fault, policy, detected: offline.at, over });
        Ok(())
    }

    fn tell_first_write(&mut self, fault: Moment, until: Moment) {
        let journal = self.writers.journal();
        if let (Some(gap), Some(write)) = (journal.gap(fault, until), journal.first_after_gap(fault, until)) {
            self.script.at(
                gap.to,
                Kind::Client,
                format!(
                    "the client that waited longest has its next write acknowledged by {}, {:.3} s after its last",
                    write.via,
                    gap.length().as_secs_f64()
                ),
            );
        }
    }

    async fn policy_is_set(&mut self, name: &str) -> Result<()> {
        let mut client = self.cluster.any_aggregator().await?;
        let statement = format!("SET POLICY ALL = {name}");
        self.script.now(Kind::Step, format!("{statement}, on the running cluster"));
        let at = Moment::now();
        client.run(&statement).await?;
        let bound = wait_until("the binding is recorded", WRITE_AGAIN, async || {
            let events = client.events_since(at).await?;
            Ok(events.into_iter().find(|event| event.kind == "POLICY_BOUND"))
        });
        let bound = bound.await?;
        self.script.at(bound.at, Kind::Event, format!("POLICY_BOUND {}", bound.details));
        client.close().await;
        Ok(())
    }

    async fn master_is_killed(&mut self, master: &str) -> Result<()> {
        let address = self.cluster.node(master)?.address();
        let at = self.cluster.kill9(master).await?.at;
        let fault = format!("kill -9 of the master aggregator {master}");
        self.script.at(at, Kind::Fault, format!("{fault} ({address})"));
        // What the others forward waits for the election.
        let child = self
            .cluster
            .aggregators()
            .into_iter()
            .find(|name| name != master)
            .context("no other aggregator")?;
        let statement = format!("CREATE TABLE {DATABASE}.made_in_the_election (id BIGINT PRIMARY KEY)");
        let ddl = async {
            let done = self.cluster.conn(&child).await?.run(&statement).await;
            Ok::<_, anyhow::Error>((Moment::now(), done))
        };
        let promoted = event(self.cluster, "NOTIFY_AGGREGATOR_PROMOTED", "", at, Duration::from_secs(20));
        let (promoted, ddl) = tokio::try_join!(promoted, ddl)?;
        if let Some(verdict) = decision(self.cluster, "election", "", at).await {
            tell(self.script, &verdict, None);
            self.script
                .check(verdict.policy.contains("swift") && verdict.fallback.is_empty(), "swift decided");
        } else {
            self.script.check(false, "the verdict is recorded");
        }
        self.script.at(promoted.at, Kind::Event, format!("NOTIFY_AGGREGATOR_PROMOTED {}", promoted.details));
        let (done_at, done) = ddl;
        self.script.at(
            done_at,
            Kind::Client,
            format!("{child} has carried out the CREATE TABLE that it was sent meanwhile"),
        );
        self.script.check(
            done.is_ok(),
            format!(
                "DDL at a child waits for the election{}",
                done.err().map_or(String::new(), |fault| format!(": {fault}"))
            ),
        );
        let offline = event(self.cluster, "NODE_OFFLINE", &address, at, WRITE_AGAIN).await?;
        self.script.at(offline.at, Kind::Event, format!("NODE_OFFLINE {}", offline.details));
        self.writers.all_write(WRITE_AGAIN).await?;
        let over = Moment::now();
        self.tell_first_write(at, over);
        let took = promoted.at.ms_after(at) / 1e3;
        self.script.check(took <= 2.0, format!("another master after {took:.3} s, at most 2.0 s"));
        self.made.push(Made { at, fault, policy: "swift", detected: promoted.at, over });
        self.peace().await
    }

    async fn everything_is_started_again(&mut self, killed: &[&str]) -> Result<()> {
        let at = Moment::now();
        self.script.at(
            at,
            Kind::Step,
            format!("start-node of everything that was killed: {}", killed.join(", ")),
        );
        self.cluster.restart_all().await?;
        for name in killed {
            let address = self.cluster.node(name)?.address();
            let back = event(self.cluster, "NODE_ONLINE", &address, at, HEAL_BOUND).await?;
            self.script.at(back.at, Kind::Event, format!("NODE_ONLINE {}", back.details));
        }
        let healed = self.cluster.all_in_sync(HEAL_BOUND).await;
        let took = Moment::now().ms_after(at) / 1e3;
        self.script.check(
            healed.is_ok(),
            format!("every partition is served, with a replica in sync, after {took:.1} s"),
        );
        self.peace().await
    }

    async fn everything_is_read_back(self, via: &str) -> Result<()> {
        let Self { cluster, script, writers, made } = self;
        script.now(
            Kind::Step,
            format!("the clients stop; everything is read back through {via}, which none of them used"),
        );
        let loads = writers.loads().to_vec();
        let journal = writers.finish().await?;
        let mut client = cluster.conn(via).await?;
        for (i, fault) in made.iter().enumerate() {
            let until = made.get(i + 1).map_or(Moment::now(), |next| next.at);
            script.fault(report(fault, &journal, &loads, until));
        }
        let found = Readback::through(&mut client, &journal, &loads).await?;
        // What is lost or doubled is told of the fault during which it was written, as far as that can be known.
        for (i, fault) in made.iter().enumerate() {
            let until = made.get(i + 1).map_or(Moment::now(), |next| next.at);
            let during = journal.between(fault.at, until);
            let written: BTreeSet<u64> = during.writes().iter().map(|write| write.id).collect();
            if let Some(report) = script.faults_mut().get_mut(i) {
                (report.lost, report.duplicates) = found.wrong_of(&written);
            }
        }
        script.now(Kind::Client, format!("{found}"));
        for example in &found.examples {
            script.now(Kind::Client, example.clone());
        }
        script.check(found.acknowledged > 0 && found.lost == 0, "no acknowledged write is lost");
        script.check(
            found.duplicates + found.strangers + found.refused_by_themselves == 0,
            "nothing is there twice",
        );
        let errors = journal.errors();
        script.check(
            errors.is_empty(),
            if errors.is_empty() {
                "no client saw an error".to_owned()
            } else {
                format!("no client saw an error: {errors:?}")
            },
        );
        Ok(())
    }

    /// The names of the partitions that a leaf leads.
    async fn partitions_led_by(&self, leaf: &str) -> Result<Vec<String>> {
        let id = self.cluster.id(leaf)?;
        let instances = self.cluster.any_aggregator().await?.instances(DATABASE).await?;
        let led = instances.iter().filter(|instance| instance.is_primary() && instance.node == id);
        Ok(led.map(|instance| format!("{DATABASE}_{}", instance.ordinal)).collect())
    }

    /// The leaf that leads most partitions, among those whose partitions all have a replica in sync elsewhere.
    async fn leaf_that_can_be_lost(&self) -> Result<String> {
        let instances = self.cluster.any_aggregator().await?.instances(DATABASE).await?;
        let mut best: Option<(usize, String)> = None;
        for leaf in self.cluster.leaves() {
            let id = self.cluster.id(&leaf)?;
            let led: Vec<u64> = instances
                .iter()
                .filter(|instance| instance.serves() && instance.node == id)
                .map(|instance| instance.ordinal)
                .collect();
            let safe = led.iter().all(|ordinal| {
                instances.iter().any(|instance| instance.ordinal == *ordinal && instance.is_sync())
            });
            if safe && led.len() > best.as_ref().map_or(0, |(count, _)| *count) {
                best = Some((led.len(), leaf));
            }
        }
        Ok(best.context("no leaf can be lost now")?.1)
    }
}

fn report(made: &Made, journal: &Journal, loads: &[Load], until: Moment) -> FaultReport {
    let gap = |reference: bool| {
        let of = journal.of(|writer| (loads.get(writer) == Some(&Load::Reference)) == reference);
        of.gap(made.at, made.over).map_or(0.0, |gap| gap.length().as_secs_f64())
    };
    FaultReport {
        fault: made.fault.clone(),
        policy: made.policy.to_owned(),
        detection_s: made.detected.ms_after(made.at) / 1e3,
        write_gap_s: gap(false),
        reference_gap_s: gap(true),
        client_errors: journal.failed(made.at, until).count(),
        acknowledged: journal.between(made.at, until).acknowledged(),
        ..FaultReport::default()
    }
}
