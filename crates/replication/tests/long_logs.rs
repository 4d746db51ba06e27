//! Logs that are longer than a message, a window, the memory kept of them, and the part kept on disk.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::limits::{
    LOG_RECORDS_KEPT, REPLICATION_BATCH_BYTES_MAX, REPLICATION_BATCH_RECORDS_MAX, WRITES_IN_FLIGHT_BYTES_MAX,
    WRITES_IN_FLIGHT_MAX,
};
use baton_model::{
    DatabaseId, Durability, Epoch, Instant, Lsn, NodeId, PartitionId, ReplicationMode, StatementId,
    SyncState, TableId,
};
use baton_replication::{
    Effect, Event, History, Instance, Known, Message, Mutation, Payload, Record, Saved, Settings, View,
    Write, WriteError,
};

use self::world::World;

const PRIMARY: NodeId = NodeId(2);
const REPLICA: NodeId = NodeId(3);
const PARTITION: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };

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

#[test]
fn a_write_is_refused_once_too_many_bytes_wait_for_their_commit() {
    const BYTES: usize = 1 << 20;
    let big = |statement: u64| {
        let row = Some(vec![0; BYTES].into());
        let mutations = vec![Mutation { table: TableId(1), key: vec![statement as u8], row }];
        Write { mutations, ..write(statement) }
    };
    let mut world = World::new(2, ReplicationMode::Sync, Durability::Sync);
    rest(&mut world);
    world.held.insert(world::Hold::Wire(REPLICA, PRIMARY));
    let fit = WRITES_IN_FLIGHT_BYTES_MAX.div_ceil(big(1).mutations[0].bytes()) as u64;
    world.tells_effects = true;
    world.write_all(PRIMARY, (1..=fit + 1).map(big));
    let refusal = WriteError::TooManyInFlight.to_string();
    assert_eq!(world.story.matches(&refusal).count(), 1, "the last one alone");
    world.tells_effects = false;
    world.held.clear();
    rest(&mut world);
    world.write(PRIMARY, big(fit + 2));
    rest(&mut world);
    assert_eq!(world.checks.violations, Vec::<String>::new());
    assert_eq!(world.checks.acknowledged.len() as u64, fit + 1, "what is committed makes room");
}

fn view(primary: NodeId, replicas: BTreeMap<NodeId, (SyncState, bool)>) -> Event {
    Event::View(View {
        epoch: Epoch(1),
        version: 1,
        primary,
        armed: true,
        replicas,
        sync_replication: true,
        sync_durability: true,
        unsynced: false,
        settings: Settings::default(),
    })
}

fn trims(effects: &[Effect]) -> Vec<Lsn> {
    let trims =
        effects.iter().filter_map(|e| if let Effect::Trim(before) = e { Some(*before) } else { None });
    trims.collect()
}

/// Records of a whole log, of which some are too old to be kept.
const RECORDS: u64 = LOG_RECORDS_KEPT + 12_000;

/// Writes 4,000 statements at a time until so many records are applied, and answers with what was trimmed.
fn write_until(instance: &mut Instance, applied: u64, mut events: Vec<Event>) -> Vec<Lsn> {
    let mut trimmed = Vec::new();
    let mut statement = instance.positions().0.0;
    while instance.positions().2.0 < applied {
        let effects = instance.step(Instant(0), events);
        events = effects
            .iter()
            .filter_map(|e| if let Effect::Sync { lsn, cuts } = e { Some((*lsn, *cuts)) } else { None })
            .map(|(lsn, cuts)| Event::Durable { lsn, cuts })
            .collect();
        events.extend((0..4_000).map(|i| Event::Write {
            ticket: i,
            epoch: Epoch(1),
            write: write(statement + i),
        }));
        statement += 4_000;
        trimmed.extend(trims(&instance.step(Instant(0), [Event::Tick])));
    }
    trimmed
}

#[test]
fn a_primary_keeps_a_bounded_log() {
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let trimmed = write_until(&mut instance, RECORDS, vec![view(PRIMARY, BTreeMap::new())]);
    let (_, _, applied) = instance.positions();
    assert!(
        trimmed.last().is_some_and(|first| applied.0 - first.0 < LOG_RECORDS_KEPT + 12_000),
        "{trimmed:?}"
    );
}

/// A view in which so many bytes of the log are kept.
fn view_with_bytes(log_bytes_kept: u64, replicas: BTreeMap<NodeId, (SyncState, bool)>) -> Event {
    let Event::View(seen) = view(PRIMARY, replicas) else { unreachable!("it is a view") };
    Event::View(View { settings: Settings { log_bytes_kept, ..Settings::default() }, ..seen })
}

/// Writes statements of about 1 MB, one by one, and answers with what was done to the log.
fn write_megabytes(instance: &mut Instance, count: u64) -> Vec<Effect> {
    let mut done = Vec::new();
    for _ in 0..count {
        let (last, ..) = instance.positions();
        let mutation = Mutation { table: TableId(1), key: vec![1], row: Some(vec![7; 1 << 20].into()) };
        let big = Write { mutations: vec![mutation], ..write(last.0) };
        instance.step(Instant(0), [Event::Write { ticket: 1, epoch: Epoch(1), write: big }]);
        let (last, ..) = instance.positions();
        done.extend(instance.step(Instant(0), [Event::Durable { lsn: last, cuts: 0 }, Event::Tick]));
    }
    done
}

#[test]
fn a_log_is_kept_by_its_bytes_as_well_and_what_is_remembered_of_it_stays() {
    const KEPT: u64 = 100 << 20;
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    instance.step(Instant(0), [view_with_bytes(KEPT, BTreeMap::new())]);
    instance.step(Instant(0), [Event::Durable { lsn: Lsn(1), cuts: 0 }]);
    let done = write_megabytes(&mut instance, 1_000);
    let first = *trims(&done).last().expect("it was trimmed");
    let (last, ..) = instance.positions();
    let kept = last.0 - first.0;
    assert!((90..130).contains(&kept), "{kept} of about 1 MB each");
    // S12: the statements that were in what is gone come back after a restart, before those that the log has.
    let saved =
        done.iter().rev().find_map(|e| if let Effect::SaveOutcomes(all) = e { Some(all) } else { None });
    let saved = saved.expect("they are written down before the log is cut");
    assert_eq!(saved.last().map(|(_, outcome)| outcome.lsn.next()), Some(first));
    let reopened = Saved { first, last, applied: last, outcomes: saved.clone(), ..Saved::default() };
    let reopened = Instance::open(PARTITION, PRIMARY, reopened);
    assert!(matches!(reopened.known(StatementId(1)), Known::Committed(_)));
}

#[test]
fn a_linked_replica_holds_the_log_up_to_a_bound() {
    const KEPT: u64 = 50 << 20;
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let replica = BTreeMap::from([(REPLICA, (SyncState::Async, true))]);
    instance.step(Instant(0), [view_with_bytes(KEPT, replica), follow()]);
    instance.step(Instant(0), [Event::Durable { lsn: Lsn(1), cuts: 0 }]);
    // It acknowledges nothing, and the log is held for it.
    assert_eq!(trims(&write_megabytes(&mut instance, 150)), []);
    // Four times what is kept is the bound.
    let held = trims(&write_megabytes(&mut instance, 1_500));
    let (last, ..) = instance.positions();
    let kept = last.0 - held.last().expect("it was trimmed").0;
    assert!((190..230).contains(&kept), "{kept} of about 1 MB each");
}

#[test]
fn a_snapshot_cuts_the_log_as_far_as_no_replica_needs_it() {
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let replica = BTreeMap::from([(REPLICA, (SyncState::Async, true))]);
    write_until(&mut instance, 4_000, vec![view(PRIMARY, replica)]);
    let (_, _, applied) = instance.positions();
    // The replica is away: what it lacks stays.
    assert_eq!(trims(&instance.step(Instant(0), [Event::Snapshot])), []);
    // It is here, and has a part.
    instance.step(Instant(0), [follow()]);
    let ack = |durable| Event::Received {
        peer: REPLICA,
        link: 1,
        message: Message::Ack { epoch: Epoch(1), durable, synced: true },
    };
    instance.step(Instant(0), [ack(Lsn(1_000))]);
    assert_eq!(trims(&instance.step(Instant(0), [Event::Snapshot])), [Lsn(1_001)]);
    // It has everything.
    instance.step(Instant(0), [ack(applied)]);
    assert_eq!(trims(&instance.step(Instant(0), [Event::Snapshot])), [applied.next()]);
    assert_eq!(trims(&instance.step(Instant(0), [Event::Snapshot])), []);
}

fn follow() -> Event {
    let message = Message::Follow { epoch: Epoch(1), history: History::default(), last: Lsn(0) };
    Event::Received { peer: REPLICA, link: 1, message }
}

#[test]
fn a_replica_whose_copy_takes_long_finds_the_log_after_it() {
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let seen = view(PRIMARY, BTreeMap::from([(REPLICA, (SyncState::Async, true))]));
    write_until(&mut instance, 4_000, vec![seen]);
    let at = instance.positions().2;
    let provisioning = instance.step(Instant(0), [follow()]);
    assert!(provisioning.iter().any(|e| matches!(e, Effect::Provision { .. })), "{provisioning:?}");

    let history = History::from_iter([(Epoch(1), Lsn(1))]);
    let ready = Event::CopyReady { peer: REPLICA, link: 1, copy: 7, at, history };
    let offered = instance.step(Instant(0), [ready]);
    assert!(
        offered.iter().any(|e| matches!(e, Effect::Send { message: Message::Provision { copy: 7, .. }, .. })),
        "{offered:?}"
    );

    let trimmed = write_until(&mut instance, RECORDS + 20_000, vec![]);
    assert!(trimmed.iter().all(|first| *first <= at.next()), "the copy is as of {at}, but {trimmed:?}");
    let has = Message::Ack { epoch: Epoch(1), durable: at, synced: true };
    let has = Event::Received { peer: REPLICA, link: 1, message: has };
    let effects = instance.step(Instant(0), [has]);
    let from =
        effects.iter().find_map(|e| if let Effect::ReadLog { from, .. } = e { Some(*from) } else { None });
    assert_eq!(from, Some(at.next()));

    // It goes away: nobody needs the old records any more.
    let down = Event::LinkDown { peer: REPLICA, link: 1 };
    let trimmed = trims(&instance.step(Instant(0), [down, Event::Tick]));
    assert!(trimmed.last().is_some_and(|first| *first > at.next()), "{trimmed:?}");
}

#[test]
fn a_kept_copy_that_does_not_fit_the_log_is_not_offered() {
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let seen = view(PRIMARY, BTreeMap::from([(REPLICA, (SyncState::Async, true))]));
    write_until(&mut instance, RECORDS, vec![seen]);
    let (_, _, applied) = instance.positions();
    let whole = [(Epoch(1), Lsn(1))];
    // What was trimmed is not there to go on with; what is not applied here, and what another epoch wrote, was taken
    // away by a power cut (S6).
    let misfits = [
        (Lsn(1), History::from_iter(whole)),
        (applied.next(), History::from_iter(whole)),
        (applied, History::from_iter([(Epoch(0), Lsn(1))])),
    ];
    for (at, history) in misfits {
        instance.step(Instant(0), [follow()]);
        let ready = |copy| Event::CopyReady { peer: REPLICA, link: 1, copy, at, history: history.clone() };
        let effects = instance.step(Instant(0), [ready(7)]);
        assert!(
            matches!(effects[..], [Effect::Provision { link: 1, fresh: true, .. }]),
            "as of {at}: {effects:?}"
        );
        // One that was made just now and does not fit was overtaken by the log: all begins anew.
        let effects = instance.step(Instant(0), [ready(8)]);
        assert_eq!(effects, [Effect::CloseLink { peer: REPLICA, link: 1 }], "as of {at}");
    }
}

/// What is sent to the replica, as the bytes of each message's records.
fn sizes(effects: &[Effect]) -> Vec<usize> {
    let messages = effects.iter().filter_map(|e| match e {
        Effect::Send { message: Message::Append { records, .. }, .. } => Some(records),
        _ => None,
    });
    messages.map(|records| records.iter().map(Record::bytes).sum()).collect()
}

#[test]
fn what_is_on_its_way_to_a_replica_is_bounded_in_bytes() {
    const BIG: usize = 3 << 20;
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let seen = view(PRIMARY, BTreeMap::from([(REPLICA, (SyncState::Async, true))]));
    let first = instance.step(Instant(0), [seen, follow()]);
    assert!(
        first.iter().any(|e| matches!(e, Effect::Send { message: Message::Start { .. }, .. })),
        "{first:?}"
    );
    instance.step(Instant(0), [Event::Durable { lsn: Lsn(1), cuts: 0 }]);
    let big = |statement: u64| {
        let mutation = Mutation { table: TableId(1), key: vec![1], row: Some(vec![7; BIG].into()) };
        Write { mutations: vec![mutation], ..write(statement) }
    };
    let writes = (1..=20).map(|s| Event::Write { ticket: s, epoch: Epoch(1), write: big(s) });
    let sent = sizes(&instance.step(Instant(0), writes));
    // A second record would not have fitted beside the first: each goes alone.
    assert!(sent.iter().all(|bytes| *bytes <= REPLICATION_BATCH_BYTES_MAX), "{sent:?}");
    let on_the_way: usize = sent.iter().sum();
    assert!(on_the_way > 3 * REPLICATION_BATCH_BYTES_MAX, "{sent:?}");
    assert!(on_the_way < 4 * REPLICATION_BATCH_BYTES_MAX + BIG + 1000, "{sent:?}");

    // What it acknowledges makes room for as much.
    let ack = Message::Ack { epoch: Epoch(1), durable: Lsn(3), synced: true };
    let more = sizes(&instance.step(Instant(0), [Event::Received { peer: REPLICA, link: 1, message: ack }]));
    assert_eq!(more.len(), 2, "{more:?}");
}

#[test]
fn a_replica_stops_at_records_that_no_primary_could_have_sent() {
    let record = |epoch, lsn| Record { epoch: Epoch(epoch), lsn: Lsn(lsn), payload: Payload::EpochStart };
    let nonsense = [
        vec![record(1, 1), record(1, 3)],
        vec![record(1, 2)],
        vec![record(2, 1)],
        vec![record(1, 1), record(0, 2)],
    ];
    for records in nonsense {
        let mut instance = Instance::open(PARTITION, REPLICA, Saved::default());
        let replicas = BTreeMap::from([(REPLICA, (SyncState::Async, true))]);
        instance.step(Instant(0), [view(PRIMARY, replicas), Event::LinkUp { peer: PRIMARY, link: 1 }]);
        let received = |message| Event::Received { peer: PRIMARY, link: 1, message };
        let start = Message::Start { epoch: Epoch(1), keep: Lsn(0) };
        let append = Message::Append { epoch: Epoch(1), after: Lsn(0), records, commit: Lsn(0) };
        let effects = instance.step(Instant(0), [received(start), received(append)]);
        assert!(effects.iter().any(|e| matches!(e, Effect::Halt(_))), "{effects:?}");
    }
}

#[test]
fn a_replica_rises_while_a_thousand_writers_are_at_work() {
    const WRITERS: u64 = 1_000;
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let seen = view(PRIMARY, BTreeMap::from([(REPLICA, (SyncState::Async, true))]));
    instance.step(Instant(0), [seen, follow()]);
    instance.step(Instant(0), [Event::Durable { lsn: Lsn(1), cuts: 0 }]);
    let received = |message| Event::Received { peer: REPLICA, link: 1, message };
    let ack = |durable: u64| received(Message::Ack { epoch: Epoch(1), durable: Lsn(durable), synced: true });
    // It is always as many records behind as there are writers, and never at the end.
    let mut asked = false;
    for round in 0..5 {
        let writes = (0..WRITERS).map(|i| Event::Write {
            ticket: i,
            epoch: Epoch(1),
            write: write(1 + round * WRITERS + i),
        });
        instance.step(Instant(0), writes.chain([ack(1 + round * WRITERS)]));
        let (last, ..) = instance.positions();
        let effects = instance.step(Instant(0), [Event::Durable { lsn: last, cuts: 0 }, Event::Tick]);
        asked |=
            effects.iter().any(|e| matches!(e, Effect::RequestSyncState { state: SyncState::Ready, .. }));
    }
    assert!(asked);
}

#[test]
fn a_record_that_is_bigger_than_a_message_goes_alone() {
    let mut instance = Instance::open(PARTITION, PRIMARY, Saved::default());
    let seen = view(PRIMARY, BTreeMap::from([(REPLICA, (SyncState::Async, true))]));
    instance.step(Instant(0), [seen, follow(), Event::Durable { lsn: Lsn(1), cuts: 0 }]);
    let rows = [10, 2 * REPLICATION_BATCH_BYTES_MAX, 10, 10];
    let writes = rows.iter().zip(1..).map(|(bytes, s)| {
        let mutation = Mutation { table: TableId(1), key: vec![1], row: Some(vec![7; *bytes].into()) };
        Event::Write { ticket: s, epoch: Epoch(1), write: Write { mutations: vec![mutation], ..write(s) } }
    });
    instance.step(Instant(0), [Event::Durable { lsn: Lsn(1), cuts: 0 }]);
    let sent = sizes(&instance.step(Instant(0), writes));
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent[1] > REPLICATION_BATCH_BYTES_MAX && sent[2] < 1000, "{sent:?}");
}

#[test]
fn a_replica_keeps_a_bounded_log() {
    let mut instance = Instance::open(PARTITION, REPLICA, Saved::default());
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
