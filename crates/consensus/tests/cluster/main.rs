//! Members of one control group in one process, on real disks, with a wire whose links can be cut.

mod net;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_catalog::{Catalog, Command, Entry};
use baton_consensus::{ControlConfig, Feed, MembershipError, OpenError, ProposeError};
use baton_model::{CatalogIndex, NodeId, StatementId};

use net::{Cluster, address, eventually, founding, set};

/// How long a member may need, on a busy machine, for what takes it a lease in theory.
const SOON: Duration = Duration::from_secs(10);

fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_founded_grows_and_agrees() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.member(1);
    let status = leader.status();
    assert!(status.is_leader);
    assert_eq!(status.voters, ids(1..=3));
    for round in 0..100 {
        leader.propose(set(round)).await.unwrap().unwrap();
    }
    let catalog = leader.catalog();
    assert_eq!(catalog.number("lock_wait_timeout_ms"), 1099);
    for id in 2..=3 {
        let member = cluster.member(id);
        eventually(SOON, || *member.catalog() == *catalog, "the followers apply what the leader has").await;
        let status = member.status();
        assert!(!status.is_leader);
        assert_eq!(status.leader, Some(NodeId(1)));
        let refused = member.propose(set(0)).await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(NodeId(1)) }));
        assert!(member.linearize().await.is_err());
    }
    assert_eq!(leader.linearize().await.unwrap(), catalog.index());
    assert!(matches!(leader.found(address(1)).await, Err(OpenError::AlreadyFounded)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_comes_twice_is_carried_out_once() {
    let cluster = Cluster::of(1).await;
    let entry = Entry { statement: Some(StatementId(7)), ..set(1) };
    let first = cluster.member(1).propose(entry.clone()).await.unwrap();
    let second = cluster.member(1).propose(entry).await.unwrap();
    assert_eq!(first, second);
    cluster.stop().await;
}

/// Checklist 18: pre-votes are on, and the lease of a living leader refuses them.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_against_a_leader_that_lives_changes_nothing() {
    let cluster = Cluster::of(3).await;
    let term = cluster.member(1).status().term;
    for _ in 0..3 {
        assert!(!cluster.member(2).campaign().await.unwrap());
        cluster.member(1).propose(set(1)).await.unwrap().unwrap();
    }
    for id in 1..=3 {
        assert_eq!(cluster.member(id).status().term, term);
    }
    assert!(cluster.member(1).is_leader());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_leaders_death_a_campaign_wins_within_a_lease_or_so() {
    let mut cluster = Cluster::of(3).await;
    for round in 0..50 {
        cluster.member(1).propose(set(round)).await.unwrap().unwrap();
    }
    let before = cluster.member(1).catalog();
    cluster.kill(1).await;
    let start = Instant::now();
    let elected = cluster.elect(&[2, 3], SOON).await;
    println!("elected {} ms after the leader's end", start.elapsed().as_millis());

    let leader = cluster.member(elected);
    leader.linearize().await.unwrap();
    assert_eq!(leader.catalog().number("lock_wait_timeout_ms"), 1049);
    assert!(leader.catalog().index() >= before.index());
    leader.propose(set(77)).await.unwrap().unwrap();

    cluster.open(1).await;
    let back = cluster.member(1);
    eventually(SOON, || *back.catalog() == *leader.catalog(), "the old leader follows").await;
    assert_eq!(back.status().leader, Some(NodeId(elected)));
    assert!(!back.campaign().await.unwrap());
    cluster.stop().await;
}

/// Checklist 3: what was committed outlives every leader.
#[tokio::test(flavor = "multi_thread")]
async fn all_members_restart_and_go_on_where_they_were() {
    let mut cluster = Cluster::of(3).await;
    for round in 0..20 {
        cluster.member(1).propose(set(round)).await.unwrap().unwrap();
    }
    let before = cluster.member(1).catalog();
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.open(id).await;
        assert!(!cluster.member(id).is_leader(), "nobody leads without an election");
    }
    assert_eq!(*cluster.member(1).catalog(), *before, "what was answered was applied and is on disk");
    let elected = cluster.elect(&[3, 2, 1], SOON).await;
    let leader = cluster.member(elected);
    leader.linearize().await.unwrap();
    assert_eq!(*leader.catalog(), *before);
    leader.propose(set(99)).await.unwrap().unwrap();
    let other = cluster.member(elected % 3 + 1);
    eventually(SOON, || *other.catalog() == *leader.catalog(), "they agree again").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_voter_leads_again_by_itself() {
    let mut cluster = Cluster::of(1).await;
    cluster.member(1).propose(set(5)).await.unwrap().unwrap();
    cluster.kill(1).await;
    cluster.open(1).await;
    assert!(cluster.member(1).is_leader());
    cluster.member(1).propose(set(6)).await.unwrap().unwrap();
    assert!(matches!(cluster.try_open(1, 9).await, Err(OpenError::Store(_))), "its folder is in use");
    cluster.kill(1).await;
    assert!(matches!(
        cluster.try_open(1, 9).await,
        Err(OpenError::OtherMember { found: NodeId(1), wanted: NodeId(9) })
    ));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_lost_its_disk_comes_back_under_a_new_id() {
    let mut cluster = Cluster::of(3).await;
    cluster.kill(3).await;
    let leader = cluster.member(1);
    leader.propose(set(1)).await.unwrap().unwrap();
    leader.remove(NodeId(3)).await.unwrap();
    assert_eq!(leader.status().voters, ids([1, 2]));
    cluster.open(4).await;
    leader.add_learner(NodeId(4), address(4)).await.unwrap();
    assert_eq!(leader.status().learners, ids([4]));
    assert!(!cluster.member(4).campaign().await.unwrap(), "a learner does not campaign");
    leader.set_voters(ids([1, 2, 4])).await.unwrap();
    leader.propose(set(2)).await.unwrap().unwrap();

    cluster.kill(1).await;
    let elected = cluster.elect(&[4, 2], SOON).await;
    let new = cluster.member(elected);
    new.linearize().await.unwrap();
    assert_eq!(new.catalog().number("lock_wait_timeout_ms"), 1002);
    new.propose(set(3)).await.unwrap().unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_far_behind_gets_a_snapshot() {
    let config = ControlConfig { log_entries_max: 100, log_entries_kept: 10, ..ControlConfig::default() };
    let mut cluster = Cluster::with(config, 1).await;
    let leader = cluster.member(1);
    // Rows enough for a snapshot of several pieces.
    for round in 0..40 {
        let details = "x".repeat(100_000);
        let command = Command::RecordEvent {
            severity: baton_catalog::Severity::Notice,
            event_type: "TEST".into(),
            node: None,
            details,
        };
        leader.propose(Entry { statement: None, at_ms: round, command }).await.unwrap().unwrap();
    }
    for round in 0..400 {
        leader.propose(set(round)).await.unwrap().unwrap();
    }
    cluster.open(2).await;
    leader.add_learner(NodeId(2), address(2)).await.unwrap();
    let learner = cluster.member(2);
    eventually(SOON, || *learner.catalog() == *leader.catalog(), "the learner has the catalog").await;
    assert!(cluster.net.snapshot_pieces() >= 4, "{} pieces", cluster.net.snapshot_pieces());

    // What was installed, and what was purged, survives a restart.
    let before = leader.catalog();
    cluster.kill(2).await;
    cluster.kill(1).await;
    cluster.open(1).await;
    cluster.open(2).await;
    assert_eq!(*cluster.member(1).catalog(), *before);
    assert_eq!(*cluster.member(2).catalog(), *before);
    cluster.member(1).propose(set(7)).await.unwrap().unwrap();
    let (leader, learner) = (cluster.member(1), cluster.member(2));
    eventually(SOON, || *learner.catalog() == *leader.catalog(), "the learner goes on").await;
    cluster.stop().await;
}

/// Checklist 18 and 19: a leader on the minority's side calls itself one for a lease at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_its_majority_is_none_and_proposes_nothing() {
    let cluster = Cluster::of(3).await;
    let old = cluster.member(1);
    let mut watch = old.watch_status();
    assert!(watch.borrow_and_update().is_leader);
    cluster.net.isolate(NodeId(1));
    let start = Instant::now();
    // Taken while the lease still holds: nobody knows what becomes of it.
    let pending = tokio::spawn({
        let old = old.clone();
        async move { old.propose(set(500)).await }
    });
    let lost = tokio::time::timeout(SOON, watch.wait_for(|status| !status.is_leader)).await;
    lost.expect("it sees that it was cut off").unwrap();
    println!("the leader gave up its claim {} ms after it was cut off", start.elapsed().as_millis());
    assert_eq!(old.status().leader, None);
    assert_eq!(old.propose(set(501)).await, Err(ProposeError::NotLeader { leader: None }));
    assert!(old.linearize().await.is_err());
    assert!(!old.campaign().await.unwrap_or(false) || !old.is_leader());

    let elected = cluster.elect(&[2, 3], SOON).await;
    assert!(!old.is_leader(), "there are never two");
    let new = cluster.member(elected);
    new.propose(set(600)).await.unwrap().unwrap();
    cluster.net.heal();
    eventually(SOON, || old.status().leader == Some(NodeId(elected)), "the old leader follows").await;
    eventually(SOON, || *old.catalog() == *new.catalog(), "and has what was committed").await;
    assert_eq!(old.catalog().number("lock_wait_timeout_ms"), 1600);
    assert_eq!(pending.await.unwrap(), Err(ProposeError::Unknown));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_is_handed_over() {
    let cluster = Cluster::of(3).await;
    let start = Instant::now();
    cluster.member(1).transfer_to(NodeId(3)).await.unwrap();
    println!("handed over in {} ms", start.elapsed().as_millis());
    let new = cluster.member(3);
    eventually(SOON, || new.is_leader(), "the new leader is confirmed").await;
    assert!(!cluster.member(1).is_leader());
    new.propose(set(1)).await.unwrap().unwrap();
    assert!(cluster.member(1).transfer_to(NodeId(2)).await.is_err(), "it does not lead any more");
    assert_eq!(
        new.transfer_to(NodeId(9)).await,
        Err(ProposeError::Behind(NodeId(9))),
        "there is no such voter"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_follows_through_an_election() {
    let mut cluster = Cluster::of(3).await;
    let mut feed = cluster.member(2).subscribe(CatalogIndex(0));
    let mut mirror = Catalog::default();
    for round in 0..30 {
        cluster.member(1).propose(set(round)).await.unwrap().unwrap();
    }
    cluster.kill(1).await;
    let elected = cluster.elect(&[3, 2], SOON).await;
    cluster.member(elected).propose(set(50)).await.unwrap().unwrap();
    let target = cluster.member(elected).catalog();
    while mirror.index() < target.index() {
        match tokio::time::timeout(SOON, feed.next()).await.expect("there is more").expect("it runs") {
            Feed::Snapshot(catalog) => mirror = Catalog::from_rows(catalog.index(), catalog.rows()),
            Feed::Entry { index, entry } => drop(mirror.apply(index, &entry)),
        }
    }
    assert_eq!(mirror, *target);
    cluster.kill(2).await;
    assert!(tokio::time::timeout(SOON, feed.next()).await.expect("it ends").is_none());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_one_dead_voter_of_three_goes_on_and_with_two_waits() {
    let mut cluster = Cluster::of(3).await;
    cluster.kill(3).await;
    cluster.member(1).propose(set(1)).await.unwrap().unwrap();
    cluster.kill(2).await;
    let alone = cluster.member(1);
    eventually(SOON, || !alone.is_leader(), "one of three is no majority").await;
    assert_eq!(alone.propose(set(2)).await, Err(ProposeError::NotLeader { leader: None }));
    cluster.open(2).await;
    eventually(SOON, || alone.is_leader(), "it leads on, in the same term, without an election").await;
    alone.propose(set(3)).await.unwrap().unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_refused() {
    let cluster = Cluster::of(1).await;
    assert!(cluster.member(1).handle(b"\xff\xff\xff").await.is_err());
    assert!(cluster.member(1).handle(b"").await.is_err());
    assert!(cluster.member(1).propose(founding()).await.unwrap().is_err(), "it is founded already");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_follow_becomes_no_voter() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.member(1);
    // Nobody answers at its address.
    let adding = tokio::spawn({
        let leader = Arc::clone(&leader);
        async move { leader.add_learner(NodeId(2), address(2)).await }
    });
    eventually(SOON, || leader.status().learners.contains(&NodeId(2)), "it is a learner").await;
    assert!(!leader.has_followed(NodeId(2)));
    let refused = leader.set_voters(ids(1..=2)).await;
    assert!(matches!(refused, Err(MembershipError::Refused(_))), "{refused:?}");
    assert!(leader.is_leader(), "a majority of two would never be there");
    leader.propose(set(1)).await.unwrap().unwrap();
    adding.abort();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_to_a_dead_voter_is_refused_or_ends_in_another_leader() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.member(1);
    cluster.kill(3).await;
    // Within its last lease the dead one is taken for alive, and there is no way back once a hand-over has begun.
    let outcome = leader.transfer_to(NodeId(3)).await;
    assert!(matches!(outcome, Err(ProposeError::Unknown | ProposeError::Behind(_))), "{outcome:?}");
    let leads = if leader.is_leader() { 1 } else { cluster.elect(&[2], SOON).await };
    let new = cluster.member(leads);
    new.propose(set(1)).await.unwrap().unwrap();
    // Its lease is long over.
    tokio::time::sleep(Duration::from_millis(ControlConfig::default().lease_ms)).await;
    assert_eq!(new.transfer_to(NodeId(3)).await, Err(ProposeError::Behind(NodeId(3))));
    new.propose(set(2)).await.unwrap().unwrap();
    assert!(new.is_leader(), "what was refused has done nothing");
    cluster.stop().await;
}

/// Checklist 15: a leader that lives and leads nobody is known by the silence of its log, not of its pings.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_knows_for_how_long_it_was_not_led() {
    let cluster = Cluster::of(3).await;
    let lease_ms = ControlConfig::default().lease_ms;
    for id in 1..=3 {
        let member = cluster.member(id);
        eventually(SOON, || member.status().unled_ms < lease_ms, "all are led").await;
    }
    cluster.net.isolate(NodeId(1));
    for id in 1..=3 {
        let member = cluster.member(id);
        eventually(SOON, || member.status().unled_ms > 2 * lease_ms, "nobody is led, nobody leads").await;
    }
    cluster.net.heal();
    for id in 1..=3 {
        let member = cluster.member(id);
        eventually(SOON, || member.status().unled_ms < lease_ms, "all are led again").await;
    }
    cluster.stop().await;
}
