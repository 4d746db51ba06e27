//! Heartbeats between real ports, each shell with its own thread: what becomes evidence, and what does not.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_detector::{Evidence, Grant, Health, LEASE, Observation, Vitals};
use baton_model::limits::{HEARTBEAT_INTERVAL_MS, HEARTBEAT_RETRY_MS};
use baton_model::{CatalogIndex, Incarnation, NodeId, NodeRole, StoreId};
use baton_transport::heartbeat::{
    HealthChange, HeartbeatShell, Judgement, Lend, Pulse, Target, lend_nothing,
};
use baton_transport::{Clock, RpcServer};
use common::{
    ANOTHER_CLUSTER, CLUSTER, Desk, bounded, free_port, listen_again, pulse, serve, serve_at, until,
};
use tokio::sync::mpsc;

const INTERVAL: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_millis(HEARTBEAT_RETRY_MS);

fn target(node: u64, address: SocketAddr) -> Target {
    Target { node: NodeId(node), address, role: NodeRole::Leaf, health: Health::Healthy }
}

/// A refused connection is enough to fail, an answer is enough to be healthy.
fn swift(observation: &Observation) -> Vec<Judgement> {
    let judge = |evidence: &Evidence| Judgement {
        node: evidence.node,
        health: if evidence.refusals > 0 {
            Health::Failed
        } else if evidence.misses == 0 && evidence.last_pong_age_ms.is_some() {
            Health::Healthy
        } else {
            evidence.health
        },
        reason: format!("{} refusals", evidence.refusals),
        memory: vec![1],
    };
    observation.nodes.iter().map(judge).collect()
}

async fn watch(pulse: &Arc<Pulse>, targets: Vec<Target>) -> (HeartbeatShell, mpsc::Receiver<HealthChange>) {
    let (shell, changes) =
        HeartbeatShell::start(Arc::clone(pulse), Clock::start(), INTERVAL, swift, lend_nothing())
            .expect("a shell");
    shell.set_targets(targets).await.expect("the shell lives");
    (shell, changes)
}

/// Waits until the evidence of the node fits.
async fn evidence(
    what: &str,
    shell: &HeartbeatShell,
    node: u64,
    fits: impl Fn(&Evidence) -> bool,
) -> Evidence {
    let observation =
        until(what, &mut shell.observations(), |seen| seen.of(NodeId(node)).is_some_and(&fits)).await;
    observation.of(NodeId(node)).expect("it is watched").clone()
}

#[tokio::test]
async fn a_pong_tells_how_the_node_is() {
    let node = pulse(CLUSTER, 2);
    let vitals =
        Vitals { loop_delay_ms: 1, fsync_ms: 2, syncing_ms: 5, apply_backlog: 3, free_disk_bytes: 4 };
    node.set_vitals(vitals);
    node.set_catalog_index(CatalogIndex(9));
    node.set_log_index(11);
    let server = serve(&node);
    let mut heard = node.heard();
    let observer = pulse(CLUSTER, 1);
    observer.set_term(5);
    observer.set_catalog_index(CatalogIndex(10));
    let (shell, _changes) =
        watch(&observer, vec![target(2, server.address()), target(1, server.address())]).await;

    let seen = evidence("pongs", &shell, 2, |seen| seen.pong_intervals_ms.len() > 3).await;
    let report = seen.report.expect("it answered");
    assert_eq!((report.incarnation, report.store), (Incarnation(20), StoreId(200)));
    assert_eq!((report.catalog_index, report.log_index), (CatalogIndex(9), 11));
    assert_eq!(report.vitals, vitals);
    assert!(report.joined && !seen.connecting && seen.rtt_mean_us > 0);
    assert_eq!(seen.memory, [1], "the judge's memory comes back to it");
    let heard = until("the observer's news", &mut heard, |heard| heard.term == 5).await;
    assert_eq!((heard.from, heard.catalog_index), (NodeId(1), CatalogIndex(10)));
    assert!(shell.observations().borrow().of(NodeId(1)).is_none(), "nobody pings itself");
    shell.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_dead_node_is_refused_at_once_and_its_return_is_noticed() {
    let node = pulse(CLUSTER, 2);
    let server = serve(&node);
    let address = server.address();
    let (shell, mut changes) = watch(&pulse(CLUSTER, 1), vec![target(2, address)]).await;
    evidence("pongs", &shell, 2, |seen| seen.pong_intervals_ms.len() > 3).await;
    // Attempts start a second apart, so let the first one be older than that.
    let started = shell.observations().borrow().at;
    until("a second", &mut shell.observations(), |seen| seen.at.since(started) > RETRY).await;

    let died_at = Instant::now();
    server.stop().await;
    let change = bounded("the failure", changes.recv()).await.expect("the shell lives");
    assert_eq!((change.node, change.from, change.to), (NodeId(2), Health::Healthy, Health::Failed));
    assert_eq!(change.reason, "1 refusals");
    assert!(died_at.elapsed() < Duration::from_secs(1), "{:?}", died_at.elapsed());
    let seen = evidence("its end", &shell, 2, |seen| seen.refusals > 0).await;
    assert!(seen.connection_lost && seen.connecting && seen.health == Health::Failed);

    let server = serve_at(listen_again(address), &node, &Arc::default());
    let change = bounded("the return", changes.recv()).await.expect("the shell lives");
    assert_eq!((change.from, change.to), (Health::Failed, Health::Healthy));
    let seen = evidence("its return", &shell, 2, |seen| seen.flaps_last_hour == 1).await;
    assert!(!seen.connection_lost && seen.refusals == 0);
    assert!(changes.try_recv().is_err(), "each change is reported once");
    shell.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_node_that_hangs_is_silent_but_not_refused() {
    // The kernel accepts on its behalf; nobody reads.
    let hanging = free_port();
    let address = hanging.local_addr().expect("an address");
    let (shell, _changes) = watch(&pulse(CLUSTER, 1), vec![target(2, address)]).await;
    let seen = evidence("misses", &shell, 2, |seen| seen.misses >= 10).await;
    assert_eq!((seen.refusals, seen.timeouts, seen.last_pong_age_ms), (0, 0, None));
    assert!(!seen.connecting && !seen.connection_lost);
    shell.stop().await;
}

#[tokio::test]
async fn only_the_node_itself_can_answer_for_it() {
    let stranger = serve(&pulse(ANOTHER_CLUSTER, 2));
    let neighbour = serve(&pulse(CLUSTER, 4));
    let targets = vec![target(2, stranger.address()), target(3, neighbour.address())];
    let (shell, _changes) = watch(&pulse(CLUSTER, 1), targets).await;
    for node in [2, 3] {
        let seen = evidence("misses", &shell, node, |seen| seen.misses >= 10).await;
        assert_eq!(seen.last_pong_age_ms, None);
        assert!(seen.connection_lost);
    }
    shell.stop().await;
    stranger.stop().await;
    neighbour.stop().await;
}

#[tokio::test]
async fn a_process_in_no_cluster_answers_and_says_so() {
    let newcomer = pulse(CLUSTER, 2);
    newcomer.identity().set(None);
    let server = serve(&newcomer);
    let (shell, _changes) = watch(&pulse(CLUSTER, 1), vec![target(2, server.address())]).await;
    let joined = |seen: &Evidence| seen.report.map(|report| report.joined);
    evidence("an answer", &shell, 2, |seen| joined(seen) == Some(false)).await;
    newcomer.identity().set(pulse(CLUSTER, 2).identity().member());
    evidence("a member", &shell, 2, |seen| joined(seen) == Some(true)).await;
    shell.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_one_observer_sees_the_other_hears() {
    let (first, second) = (pulse(CLUSTER, 1), pulse(CLUSTER, 2));
    let (first_server, second_server) = (serve(&first), serve(&second));
    let dead = free_port().local_addr().expect("an address");
    let (first_shell, _) = watch(&first, vec![target(2, second_server.address()), target(3, dead)]).await;
    let (second_shell, _) = watch(&second, vec![target(1, first_server.address()), target(3, dead)]).await;
    for (shell, other) in [(&first_shell, 2), (&second_shell, 1)] {
        let seen =
            evidence("a witness", shell, 3, |seen| seen.witnesses.iter().any(|witness| witness.refusals > 0))
                .await;
        assert_eq!(seen.witnesses.len(), 1);
        assert_eq!(seen.witnesses[0].observer, NodeId(other));
    }
    for shell in [first_shell, second_shell] {
        shell.stop().await;
    }
    for server in [first_server, second_server] {
        server.stop().await;
    }
}

#[tokio::test]
async fn targets_come_move_and_go() {
    let node = pulse(CLUSTER, 2);
    let (here, there) = (serve(&node), serve(&node));
    let (shell, mut changes) = watch(&pulse(CLUSTER, 1), vec![target(2, here.address())]).await;
    evidence("pongs", &shell, 2, |seen| seen.last_pong_age_ms.is_some()).await;

    here.stop().await;
    bounded("the failure", changes.recv()).await.expect("the shell lives");
    shell.set_targets(vec![target(2, there.address())]).await.expect("the shell lives");
    let change = bounded("the return", changes.recv()).await.expect("the shell lives");
    assert_eq!((change.from, change.to), (Health::Failed, Health::Healthy), "the opinion moved along");

    shell.set_interval(INTERVAL * 2).await.expect("the shell lives");
    let mut observations = shell.observations();
    until("the new interval", &mut observations, |seen| seen.interval_ms == 40).await;
    shell.set_targets(vec![]).await.expect("the shell lives");
    until("nobody", &mut observations, |seen| seen.nodes.is_empty()).await;
    shell.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn nobody_who_reads_the_changes_holds_up_nothing() {
    let node = pulse(CLUSTER, 2);
    let server = serve(&node);
    let flips = |observation: &Observation| {
        let flip = |health| if health == Health::Failed { Health::Healthy } else { Health::Failed };
        let judge = |evidence: &Evidence| Judgement {
            node: evidence.node,
            health: flip(evidence.health),
            reason: String::new(),
            memory: vec![],
        };
        observation.nodes.iter().map(judge).collect()
    };
    let often = Duration::from_millis(1);
    let (shell, mut changes) =
        HeartbeatShell::start(pulse(CLUSTER, 1), Clock::start(), often, flips, lend_nothing())
            .expect("a shell");
    shell.set_targets(vec![target(2, server.address())]).await.expect("the shell lives");
    // More changes than the channel holds; what nobody reads is merged.
    let flapping = |seen: &Evidence| seen.flaps_last_hour == 64;
    evidence("many flaps", &shell, 2, flapping).await;
    let started = shell.observations().borrow().at;
    until("many more", &mut shell.observations(), |seen| seen.at.since(started) > Duration::from_secs(1))
        .await;
    let mut health = Health::Healthy;
    for _ in 0..300 {
        let change = bounded("a change", changes.recv()).await.expect("the shell lives");
        assert_eq!(change.from, health, "no change is lost between");
        health = change.to;
    }
    shell.stop().await;
    server.stop().await;
}

/// The rule of the source documents: a miss counts 1, a refusal or timeout 60, and 200 is failure.
fn classic(observation: &Observation) -> Vec<Judgement> {
    let judge = |evidence: &Evidence| {
        let score = evidence.misses + 60 * (evidence.refusals + evidence.timeouts);
        let health = if score >= 200 { Health::Failed } else { Health::Healthy };
        Judgement { node: evidence.node, health, reason: format!("score {score}"), memory: vec![] }
    };
    observation.nodes.iter().map(judge).collect()
}

#[tokio::test]
async fn the_classic_rule_fails_a_refusing_node_in_three_seconds() {
    let server = serve(&pulse(CLUSTER, 2));
    let interval = Duration::from_millis(HEARTBEAT_INTERVAL_MS);
    let (shell, mut changes) =
        HeartbeatShell::start(pulse(CLUSTER, 1), Clock::start(), interval, classic, lend_nothing())
            .expect("a shell");
    shell.set_targets(vec![target(2, server.address())]).await.expect("the shell lives");
    evidence("pongs", &shell, 2, |seen| seen.pong_intervals_ms.len() > 7).await;
    let died_at = Instant::now();
    server.stop().await;
    bounded("the failure", changes.recv()).await.expect("the shell lives");
    let took = died_at.elapsed().as_millis();
    assert!((2_700..=3_300).contains(&took), "{took} ms");
    shell.stop().await;
}

/// S11: a thread that stood still for half a second holds nothing against anybody.
#[tokio::test]
async fn a_stall_of_the_observer_is_no_evidence() {
    let server = serve(&pulse(CLUSTER, 2));
    let (tell, mut told) = mpsc::channel(1);
    let mut stalled = false;
    let judge = move |observation: &Observation| {
        let well = observation.nodes.iter().all(|node| node.misses == 0 && node.pong_intervals_ms.len() > 3);
        if !stalled && well && !observation.nodes.is_empty() {
            stalled = true;
            std::thread::sleep(Duration::from_millis(500));
        } else if observation.observer_late_ms > 400 {
            let _ = tell.try_send(observation.nodes[0].misses);
        }
        vec![]
    };
    let (shell, _changes) =
        HeartbeatShell::start(pulse(CLUSTER, 1), Clock::start(), INTERVAL, judge, lend_nothing())
            .expect("a shell");
    shell.set_targets(vec![target(2, server.address())]).await.expect("the shell lives");
    let misses = bounded("the late tick", told.recv()).await.expect("the judge lives");
    assert!(misses <= 1, "{misses} misses");
    shell.stop().await;
    server.stop().await;
}

/// A lender that has a catalog, and counts how often it was asked.
fn lend_by(index: u64) -> (Lend, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let lend: Lend = Box::new(move |_, _, answered_at| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(Grant { answered_at, index: CatalogIndex(index) })
    });
    (lend, asked)
}

/// Checklist 11: the right to read rides the heartbeats, ends with them, and a heartbeat that is slower than it is
/// helped.
#[tokio::test]
async fn a_lease_is_renewed_by_pings_and_ends_without_them() {
    for interval in [INTERVAL, Duration::from_secs(5)] {
        let (node, clock) = (pulse(CLUSTER, 2), Clock::start());
        let desk: Arc<Desk> = Arc::default();
        let server =
            RpcServer::start(free_port(), Arc::clone(&node), clock, Arc::clone(&desk)).expect("it starts");
        let (lend, asked) = lend_by(7);
        let (shell, _changes) =
            HeartbeatShell::start(pulse(CLUSTER, 1), Clock::start(), interval, swift, lend).expect("a shell");
        assert!(!node.holds_lease(clock.now(), CatalogIndex(9)), "nothing was lent yet");
        shell.set_targets(vec![target(2, server.address())]).await.expect("the shell lives");
        let mut renewed = node.renewed();
        until("a lease", &mut renewed, |count| *count >= 10).await;
        assert!(node.holds_lease(clock.now(), CatalogIndex(7)));
        assert!(!node.holds_lease(clock.now(), CatalogIndex(6)), "by a catalog that it has not applied");
        assert!(asked.load(Ordering::Relaxed) >= 10);
        let seen = evidence("pongs", &shell, 2, |seen| seen.last_pong_age_ms.is_some()).await;
        assert_eq!(seen.misses, 0, "nobody misses an answer to what only renews");
        shell.stop().await;
        let ended = Instant::now();
        while node.holds_lease(clock.now(), CatalogIndex(7)) {
            assert!(ended.elapsed() < Duration::from_secs(5), "it ends with the pings");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(ended.elapsed() <= LEASE + Duration::from_millis(100), "{:?}", ended.elapsed());
        server.stop().await;
    }
}
