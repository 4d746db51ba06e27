//! The office of the master aggregator without consensus: nobody is elected, and an operator hands it over.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use baton_tests::http::get_json;
use baton_tests::wait::wait_while_not;
use baton_tests::writers::DATABASE;
use baton_tests::{Cluster, ClusterSpec, Moment, SqlFault, Writers};

use crate::stage::{
    HEAL_BOUND, alone, another_master, master_and_others, one_master, read_back, sharded_loads,
};

/// What a statement waits for a master aggregator, in these tests.
const BUFFER_MS: u64 = 1_500;
/// "There is no master aggregator".
const NO_MASTER: u16 = 1218;

/// What SHOW AGGREGATORS calls each.
async fn roles(cluster: &Cluster, via: &str) -> Result<BTreeMap<String, String>> {
    let mut roles = BTreeMap::new();
    for row in cluster.conn(via).await?.rows("SHOW AGGREGATORS").await? {
        let address = format!("{}:{}", row.required("Host")?, row.required("Port")?);
        let name = cluster.name_of(&address).with_context(|| address.clone())?;
        roles.insert(name, row.required("Role")?);
    }
    Ok(roles)
}

/// Waits until this one leads and the others are all this.
async fn all_are(cluster: &Cluster, leader: &str, others: &str) -> Result<()> {
    let what = format!("{leader} leads, and everybody else is a {others}");
    wait_while_not(&what, Duration::from_secs(15), async || {
        let seen = roles(cluster, leader).await?;
        let fits = |(name, role): (&String, &String)| role == if name == leader { "Leader" } else { others };
        ensure!(seen.len() == cluster.aggregators().len() && seen.iter().all(fits), "they are {seen:?}");
        Ok(true)
    })
    .await
}

/// Who has a vote, as each says of itself.
async fn voters(cluster: &Cluster) -> Result<Vec<String>> {
    let mut voters = Vec::new();
    for name in cluster.aggregators() {
        if get_json(cluster.node(&name)?.http_port, "/voting").await?.0 == 200 {
            voters.push(name);
        }
    }
    Ok(voters)
}

#[test]
fn without_consensus_nobody_is_elected_writes_go_on_and_a_restart_resumes() {
    let spec = ClusterSpec::new(3, 2).policy("swift").variable("failover_buffer_ms", BUFFER_MS);
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        let (master, children) = master_and_others(cluster).await?;
        all_are(cluster, &master, "Voting Member").await?;
        cluster.conn(&master).await?.run("SET GLOBAL consensus_enabled = OFF").await?;
        all_are(cluster, &master, "Follower").await?;
        wait_while_not("one has a vote", HEAL_BOUND, async || Ok(voters(cluster).await? == [master.clone()]))
            .await?;

        let via: Vec<&str> = children.iter().map(String::as_str).collect();
        let writers = Writers::start(cluster, &sharded_loads(&via)).await?;
        writers.all_write(HEAL_BOUND).await?;
        let killed = cluster.kill9(&master).await?.at;
        // Swift would have elected somebody within a second. Writes of rows need no master aggregator.
        for _ in 0..3 {
            writers.all_write(Duration::from_secs(10)).await?;
            let mut child = cluster.conn(via[0]).await?;
            let made = child.run(&format!("CREATE TABLE {DATABASE}.waits (id BIGINT PRIMARY KEY)")).await;
            match made {
                Err(SqlFault::Answered { number: NO_MASTER, .. }) => {}
                other => bail!("DDL without a master aggregator: {other:?}"),
            }
        }
        ensure!(Moment::now().since(killed) > Duration::from_secs(4), "it waited {BUFFER_MS} ms each time");
        for child in &children {
            let (status, told) = get_json(cluster.node(child)?.http_port, "/master").await?;
            ensure!(status == 503, "{child} became master aggregator without a vote: {told}");
        }
        cluster.restart(&master).await?;
        one_master(cluster, HEAL_BOUND).await?;
        ensure!(cluster.master(HEAL_BOUND).await? == master, "it goes on where it was");
        let mut child = cluster.conn(via[0]).await?;
        child.run(&format!("CREATE TABLE {DATABASE}.waited (id BIGINT PRIMARY KEY)")).await?;
        child.run(&format!("DROP TABLE {DATABASE}.waited")).await?;
        writers.all_write(HEAL_BOUND).await?;

        // With consensus again, without a pause, the others vote and one of them is elected.
        cluster.conn(&master).await?.run("SET GLOBAL consensus_enabled = ON").await?;
        all_are(cluster, &master, "Voting Member").await?;
        wait_while_not("all know that they vote", HEAL_BOUND, async || Ok(voters(cluster).await?.len() == 3))
            .await?;
        cluster.kill9(&master).await?;
        another_master(cluster, &master, via[0], Duration::from_secs(10)).await?;
        cluster.restart(&master).await?;
        read_back(cluster, writers, via[0]).await?;
        Ok(())
    });
}

#[test]
fn without_consensus_an_operator_hands_the_office_over_and_nobody_notices() {
    let spec = ClusterSpec::new(1, 2).followers(2).policy("swift");
    alone(spec, async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        let (old, children) = master_and_others(cluster).await?;
        cluster.conn(&old).await?.run("SET GLOBAL consensus_enabled = OFF").await?;
        all_are(cluster, &old, "Follower").await?;
        let writers = Writers::start(cluster, &sharded_loads(&[&children[1]])).await?;
        writers.all_write(HEAL_BOUND).await?;

        let [heir, witness] = &children[..] else { bail!("there are {} children", children.len()) };
        let address = cluster.node(heir)?.address();
        let (host, port) = address.split_once(':').context("no port")?;
        // A statement that only the master aggregator carries out is said all the while.
        let mut client = cluster.conn(witness).await?;
        let statements = async {
            for n in 0..40 {
                client
                    .run(&format!(
                        "SET GLOBAL leaf_failover_fanout = '{}'",
                        ["paired", "load_balanced"][n % 2]
                    ))
                    .await?;
            }
            anyhow::Ok(())
        };
        let began = Moment::now();
        let mut operator = cluster.conn(&old).await?;
        let promote = async {
            operator.run(&format!("PROMOTE AGGREGATOR '{host}':{port} TO MASTER")).await?;
            anyhow::Ok(Moment::now())
        };
        let (said, promoted) = tokio::join!(statements, promote);
        said.context("a statement through another aggregator failed")?;
        println!("    PROMOTE AGGREGATOR took {:.0} ms", promoted?.ms_after(began));
        all_are(cluster, heir, "Follower").await?;
        wait_while_not("the new one alone has a vote", HEAL_BOUND, async || {
            Ok(voters(cluster).await? == [heir.clone()])
        })
        .await?;
        // With consensus there is one voting member, as there was before: the new master aggregator.
        cluster.conn(heir).await?.run("SET GLOBAL consensus_enabled = ON").await?;
        all_are(cluster, heir, "Follower").await?;
        // One that does not answer is not promoted, and the office stays where it is.
        cluster.conn(heir).await?.run("SET GLOBAL consensus_enabled = OFF").await?;
        cluster.stop(witness)?;
        let address = cluster.node(witness)?.address();
        let (host, port) = address.split_once(':').context("no port")?;
        let refused = operator.run(&format!("PROMOTE AGGREGATOR '{host}':{port} TO MASTER")).await;
        ensure!(refused.is_err(), "the office was handed to one that sleeps");
        // It was not made a voter either: then nothing could be decided without it.
        let mut at_heir = cluster.conn(heir).await?;
        at_heir
            .run_within(
                Duration::from_secs(5),
                &format!("CREATE TABLE {DATABASE}.decided (id BIGINT PRIMARY KEY)"),
            )
            .await?;
        cluster.cont(witness)?;
        all_are(cluster, heir, "Follower").await?;
        let journal = read_back(cluster, writers, heir).await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        Ok(())
    });
}
