//! Logs that are longer than a message, a window, the memory kept of them, and the part kept on disk.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::limits::{LOG_RECORDS_KEPT, REPLICATION_BATCH_RECORDS_MAX, WRITES_IN_FLIGHT_MAX};
use baton_model::{
    DatabaseId, Durability, Epoch, Instant, Lsn, NodeId, PartitionId, ReplicationMode, StatementId, SyncState,
};
use baton_replication::{
    Effect, Event, Instance, Message, Payload, Record, Saved, Settings, View, Write, WriteError,
};

use self::world::World;

const PRIMARY: NodeId = NodeId(2);
const REPLICA: NodeId = NodeId(3);

fn write(statement: u64) -> Write {
    Write { statement: StatementId(statement.into()), affected_rows: 1, mutations: vec![] }
}

fn rest(world: &mut World) {
    while let Some(first) = world.moves().first().copied() {
        world.play(first, 1);
    }
}

#[test]
fn a_replica_that_is_far_behind_catches_up_from_disk_within_its_window() {
    const WRITES: u64 = 5_000;
    let mut world = World::new(2, ReplicationMode::Sync, Durability::Sync);
    rest(&mut world);
    world.crash(REPLICA, 0);
    let _ = world.degrade(REPLICA);
    rest(&mut world);
    let writes = (0..WRITES).map(|s| write(s + 1));
    world.write_all(PRIMARY, writes);
    rest(&mut world);
    // A restart empties the memory, so that all must come from the disk.
    world.crash(PRIMARY, 0);
    world.restart(PRIMARY);
    world.note_online(PRIMARY);
    world.restart(REPLICA);
    world.note_online(REPLICA);
    for _ in 0..20 {
        rest(&mut world);
        world.pass(Duration::from_millis(100));
    }
    rest(&mut world);
    assert_eq!(world.checks.violations, Vec::<String>::new());
    assert_eq!(world.partition().replicas[&REPLICA], SyncState::Sync);
    assert_eq!(world.leaves[&REPLICA].disk.now.applied, Lsn(WRITES + 2), "two epochs began");
}

#[test]
fn one_write_too_many_is_refused_while_nothing_commits() {
    let mut world = World::new(2, ReplicationMode::Sync, Durability::Sync);
    rest(&mut world);
    world.held.insert(world::Hold::Wire(REPLICA, PRIMARY));
    world.write_all(PRIMARY, (1..=WRITES_IN_FLIGHT_MAX as u64).map(write));
    world.tells_effects = true;
    world.write(PRIMARY, write(0));
    let refusal = WriteError::TooManyInFlight.to_string();
    assert!(world.story.contains(&refusal), "{}", world.story);
    // A retry of one that waits is no new write.
    world.story.clear();
    world.write(PRIMARY, write(1));
    assert_eq!(world.story, "");
    world.tells_effects = false;
    world.held.clear();
    rest(&mut world);
    assert_eq!(world.checks.violations, Vec::<String>::new());
    assert_eq!(world.checks.acknowledged.len(), WRITES_IN_FLIGHT_MAX);
}

fn view(primary: NodeId, replicas: BTreeMap<NodeId, (SyncState, bool)>) -> Event {
    Event::View(View {
        epoch: Epoch(1),
        version: 1,
        primary,
        armed: true,
        replicas,
        sync_replication: true,
        settings: Settings { sync_replica_timeout: Duration::from_secs(5) },
    })
}

fn trims(effects: &[Effect]) -> Vec<Lsn> {
    let trims =
        effects.iter().filter_map(|e| if let Effect::Trim(before) = e { Some(*before) } else { None });
    trims.collect()
}

/// Records of a whole log, of which some are too old to be kept.
const RECORDS: u64 = LOG_RECORDS_KEPT + 12_000;

#[test]
fn a_primary_keeps_a_bounded_log() {
    let partition = PartitionId { database: DatabaseId(1), ordinal: 0 };
    let mut instance = Instance::open(partition, PRIMARY, Saved::default());
    let mut trimmed = Vec::new();
    let mut events = vec![view(PRIMARY, BTreeMap::new())];
    let mut statement = 0;
    while instance.positions().2.0 < RECORDS {
        let effects = instance.step(Instant(0), events);
        events = effects
            .iter()
            .filter_map(|e| if let Effect::Sync { lsn, cuts } = e { Some((*lsn, *cuts)) } else { None })
            .map(|(lsn, cuts)| Event::Durable { lsn, cuts })
            .collect();
        events.extend((0..4_000).map(|i| Event::Write { ticket: i, write: write(statement + i) }));
        statement += 4_000;
        trimmed.extend(trims(&instance.step(Instant(0), [Event::Tick])));
    }
    let (_, _, applied) = instance.positions();
    assert!(
        trimmed.last().is_some_and(|first| applied.0 - first.0 < LOG_RECORDS_KEPT + 12_000),
        "{trimmed:?}"
    );
}

#[test]
fn a_replica_keeps_a_bounded_log() {
    let partition = PartitionId { database: DatabaseId(1), ordinal: 0 };
    let mut instance = Instance::open(partition, REPLICA, Saved::default());
    let replicas = BTreeMap::from([(REPLICA, (SyncState::Async, true))]);
    instance.step(Instant(0), [view(PRIMARY, replicas), Event::LinkUp { peer: PRIMARY, link: 1 }]);
    let received = |message| Event::Received { peer: PRIMARY, link: 1, message };
    instance.step(Instant(0), [received(Message::Start { epoch: Epoch(1), keep: Lsn(0) })]);
    let mut trimmed = Vec::new();
    let mut after = Lsn(0);
    while after.0 < RECORDS {
        let last = Lsn(after.0 + REPLICATION_BATCH_RECORDS_MAX as u64);
        let records = (after.0 + 1..=last.0)
            .map(|lsn| Record { epoch: Epoch(1), lsn: Lsn(lsn), payload: Payload::Write(write(lsn)) })
            .collect();
        let append = Message::Append { epoch: Epoch(1), after, records, commit: last };
        trimmed.extend(trims(&instance.step(Instant(0), [received(append), Event::Tick])));
        after = last;
    }
    assert!(trimmed.last().is_some_and(|first| after.0 - first.0 < LOG_RECORDS_KEPT + 12_000), "{trimmed:?}");
}
