//! S9 under anything that can happen: a few partitions whose primaries are deposed, do not know it and answer all the
//! same, logs that lose their ends, messages that come late, twice or never, coordinators and aggregators that vanish.
//!
//! A partition's log is modelled as writes that are committed one after the other; at a change of the primary some of
//! those that were on their way are committed and the rest is lost, as the real log does it. Every transaction moves an
//! amount between rows of different partitions and leaves a mark in each, so that half a transaction shows twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use baton_model::{
    Blob, CatalogIndex, DatabaseId, Epoch, Incarnation, Instant, Key, NodeId, PartitionId, TableId,
    TransactionId,
};
use baton_replication::transaction::{
    Aggregators, Answer, CommitOutcome, Coordinator, CoordinatorEffect, CoordinatorEvent, DECIDED, Decided,
    Home, Origin, PREPARED, Participant, ParticipantEffect, ParticipantEvent, Place, Prepared, Refused,
    Request, Standing, TransactionSettings, WriteOutcome, key_of, transaction_of,
};
use baton_replication::{Grant, Mutation, Owner, Write};

const ACCOUNTS: TableId = TableId(1);
const MARKS: TableId = TableId(2);
const PARTITIONS: u32 = 3;
const ACCOUNTS_EACH: u8 = 2;
const START: i64 = 100;
const BEGIN: Instant = Instant(0);
const TICK: Duration = Duration::from_millis(50);
const SETTINGS: TransactionSettings = TransactionSettings { idle_timeout: Duration::from_secs(2) };
const ORIGIN: Origin =
    Origin { aggregator: NodeId(1), incarnation: Incarnation(1), began_at: CatalogIndex(5) };

type Rows = BTreeMap<(TableId, Key), Blob>;

fn partition(ordinal: u32) -> PartitionId {
    PartitionId { database: DatabaseId(1), ordinal }
}

fn amount(row: &Blob) -> i64 {
    i64::from_be_bytes((**row).try_into().expect("an amount"))
}

fn account(number: u8) -> (TableId, Key) {
    (ACCOUNTS, vec![number])
}

/// A generator whose numbers depend on nothing but its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A primary, or one that was and does not know it is no more.
struct Primary {
    participant: Participant,
    /// What it has applied; a deposed one applies no more.
    rows: Rows,
    /// Not committed yet.
    log: VecDeque<(TransactionId, Write)>,
    deposed: bool,
}

/// What is on its way.
#[derive(Clone, Debug)]
enum Letter {
    /// A coordinator's request, and whose it is.
    Request { of: usize, to: PartitionId, request: Request },
    /// Its answer.
    Answer { of: usize, from: PartitionId, request: Request, answer: Answer },
    /// A participant's question to home.
    Question { from: PartitionId, epoch: Epoch, home: Home, transaction: TransactionId },
    /// Home's answer.
    Told { to: PartitionId, epoch: Epoch, transaction: TransactionId, answer: Answer },
    /// A statement that arrives late, after its transaction went on without it.
    Late { to: PartitionId, transaction: TransactionId },
}

/// Whose request a ticket is.
enum Asker {
    Coordinator { of: usize, to: PartitionId, request: Request },
    Participant { partition: PartitionId, epoch: Epoch, transaction: TransactionId },
}

struct Transfer {
    id: TransactionId,
    coordinator: Option<Coordinator>,
    /// The requests that it waits for, by partition.
    open: BTreeMap<PartitionId, Request>,
    participants: BTreeSet<PartitionId>,
    outcome: Option<CommitOutcome>,
    gone: bool,
}

struct World {
    dice: Dice,
    now: Instant,
    /// Of each partition, its primaries, the newest last.
    primaries: BTreeMap<PartitionId, Vec<Primary>>,
    wire: Vec<Letter>,
    askers: BTreeMap<u64, Asker>,
    next_ticket: u64,
    transfers: Vec<Transfer>,
    /// Of each transaction, what was ever said to be final.
    said: BTreeMap<TransactionId, BTreeSet<&'static str>>,
    calm: bool,
    /// What a test of the checks breaks on purpose.
    aborts_by_time: bool,
    story: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut primaries = BTreeMap::new();
        for ordinal in 0..PARTITIONS {
            let start = |n| (account(n), Blob::from(START.to_be_bytes().to_vec()));
            let rows: Rows = (0..ACCOUNTS_EACH).map(start).collect();
            let participant = Participant::take_over(BEGIN, partition(ordinal), Epoch(1), SETTINGS, []);
            let primary = Primary { participant, rows, log: VecDeque::new(), deposed: false };
            primaries.insert(partition(ordinal), vec![primary]);
        }
        Self {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: BEGIN,
            primaries,
            wire: Vec::new(),
            askers: BTreeMap::new(),
            next_ticket: 0,
            transfers: Vec::new(),
            said: BTreeMap::new(),
            calm: false,
            aborts_by_time: false,
            story: Vec::new(),
        }
    }

    fn tell(&mut self, line: String) {
        self.story.push(line);
    }

    /// The primary that serves, or, while things go wrong, sometimes one that only believes so.
    fn some_primary(&mut self, partition: PartitionId) -> usize {
        let count = self.primaries[&partition].len();
        if !self.calm && count > 1 && self.dice.once_in(4) { count - 2 } else { count - 1 }
    }

    fn step(&mut self, partition: PartitionId, which: usize, event: ParticipantEvent) {
        let now = self.now;
        let primary = &mut self.primaries.get_mut(&partition).unwrap()[which];
        let epoch = primary.participant.epoch();
        let line = format!("{partition} {epoch}: {event}");
        let effects = primary.participant.step(now, event);
        self.tell(line);
        for effect in effects {
            self.tell(format!("{partition} {epoch} ⇒ {effect}"));
            match effect {
                ParticipantEffect::Answer { ticket, answer } => self.answer(ticket, answer),
                ParticipantEffect::AnswerFromRows { ticket, transaction, .. } => {
                    let rows = &self.primaries[&partition][which].rows;
                    let found = rows.contains_key(&(DECIDED, key_of(transaction)));
                    self.answer(ticket, if found { Answer::Committed } else { Answer::Aborted });
                }
                ParticipantEffect::Write { transaction, write } => {
                    let primary = &mut self.primaries.get_mut(&partition).unwrap()[which];
                    if primary.deposed {
                        // The real one would wait, and hear that it is deposed; late, here.
                        continue;
                    }
                    primary.log.push_back((transaction, write));
                }
                ParticipantEffect::Ask { transaction, home } => {
                    self.wire.push(Letter::Question { from: partition, epoch, home, transaction });
                }
                ParticipantEffect::Report(text) => panic!("{text}"),
                ParticipantEffect::Granted(_) | ParticipantEffect::Over(_) => {}
            }
        }
    }

    fn ask(&mut self, partition: PartitionId, asker: Asker, request: Request) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.askers.insert(ticket, asker);
        let which = self.some_primary(partition);
        self.step(partition, which, ParticipantEvent::Request { ticket, request });
    }

    fn answer(&mut self, ticket: u64, answer: Answer) {
        match self.askers.remove(&ticket) {
            Some(Asker::Coordinator { of, to, request }) => {
                self.wire.push(Letter::Answer { of, from: to, request, answer });
            }
            Some(Asker::Participant { partition, epoch, transaction }) => {
                self.note_said(transaction, answer);
                self.wire.push(Letter::Told { to: partition, epoch, transaction, answer });
            }
            None => {}
        }
    }

    /// S9: home never says both.
    fn note_said(&mut self, transaction: TransactionId, answer: Answer) {
        let word = match answer {
            Answer::Committed => "committed",
            Answer::Aborted => "aborted",
            _ => return,
        };
        let said = self.said.entry(transaction).or_default();
        said.insert(word);
        assert_eq!(said.len(), 1, "S9: home said of {transaction} {said:?}");
    }

    /// A transfer runs its statements, if it gets its locks at once, and begins to commit.
    fn begin(&mut self) {
        let number = self.transfers.len() as u64 + 1;
        let id = TransactionId::new(number, self.dice.next());
        let count = 1 + self.dice.below(PARTITIONS as usize);
        let first = self.dice.below(PARTITIONS as usize) as u32;
        let mut participants = BTreeMap::new();
        let mut moved = 0;
        for n in 0..count as u32 {
            let to = partition((first + n) % PARTITIONS);
            let delta = if n + 1 == count as u32 { -moved } else { self.dice.below(9) as i64 - 4 };
            moved += delta;
            let Some(place) = self.statement(to, id, delta) else {
                self.tell(format!("{id} could not have its locks in {to}"));
                for to in participants.into_keys() {
                    let which = self.some_primary(to);
                    let request = Request::Finish { transaction: id, commit: false };
                    self.step(to, which, ParticipantEvent::Request { ticket: 0, request });
                }
                return;
            };
            participants.insert(to, place);
            if self.dice.once_in(4) {
                self.wire.push(Letter::Late { to, transaction: id });
            }
        }
        let names = participants.keys().copied().collect();
        let (coordinator, effects) = Coordinator::begin(id, &participants).expect("it has written");
        let of = self.transfers.len();
        self.transfers.push(Transfer {
            id,
            coordinator: Some(coordinator),
            open: BTreeMap::new(),
            participants: names,
            outcome: None,
            gone: false,
        });
        self.coordinate(of, effects);
    }

    fn statement(&mut self, to: PartitionId, id: TransactionId, delta: i64) -> Option<Place> {
        let key = account(self.dice.below(ACCOUNTS_EACH as usize) as u8);
        let mark = (MARKS, key_of(id));
        let (now, which) = (self.now, self.some_primary(to));
        let primary = &mut self.primaries.get_mut(&to).unwrap()[which];
        let place = primary.participant.enter(now, id, ORIGIN, None).ok()?;
        if primary.participant.lock(id, place, [key.clone(), mark.clone()]) != Ok(Grant::Now) {
            let _ = primary.participant.give_up_waiting(id);
            primary.participant.step(now, ParticipantEvent::NotRunning(id));
            return None;
        }
        let value = amount(&primary.rows[&key]) + delta;
        let set =
            |(table, key): (TableId, Key), bytes: Vec<u8>| Mutation { table, key, row: Some(bytes.into()) };
        let mutations = vec![set(key, value.to_be_bytes().to_vec()), set(mark, vec![1])];
        primary.participant.put(now, id, place, (1, 1), mutations, 1).expect("it is open");
        Some(place)
    }

    fn coordinate(&mut self, of: usize, effects: Vec<CoordinatorEffect>) {
        let id = self.transfers[of].id;
        for effect in effects {
            self.tell(format!("{id} ⇒ {effect}"));
            match effect {
                CoordinatorEffect::Send { partition, request } => {
                    self.transfers[of].open.insert(partition, request.clone());
                    self.wire.push(Letter::Request { of, to: partition, request });
                }
                CoordinatorEffect::Conclude(outcome) => {
                    let transfer = &mut self.transfers[of];
                    assert_eq!(transfer.outcome, None, "it is concluded once");
                    match outcome {
                        CommitOutcome::Committed => self.said.entry(id).or_default().insert("committed"),
                        CommitOutcome::RolledBack(_) => self.said.entry(id).or_default().insert("aborted"),
                        CommitOutcome::Unknown => false,
                    };
                    let said = &self.said.get(&id).map_or(0, BTreeSet::len);
                    assert!(*said <= 1, "S9: of {id} both was said");
                    self.transfers[of].outcome = Some(outcome);
                }
            }
        }
    }

    fn deliver(&mut self, letter: Letter) {
        match letter {
            Letter::Request { of, to, request } => {
                if self.transfers[of].open.get(&to) == Some(&request) || !self.calm {
                    let asker = Asker::Coordinator { of, to, request: request.clone() };
                    self.ask(to, asker, request);
                }
            }
            Letter::Answer { of, from, request, answer } => {
                let transfer = &mut self.transfers[of];
                if transfer.gone || transfer.open.get(&from) != Some(&request) {
                    return;
                }
                if answer.is_to_be_asked_again() {
                    self.wire.push(Letter::Request { of, to: from, request });
                    return;
                }
                transfer.open.remove(&from);
                let Some(coordinator) = &mut transfer.coordinator else { return };
                let effects = coordinator.step(CoordinatorEvent::Answered { partition: from, answer });
                self.coordinate(of, effects);
            }
            Letter::Question { from, epoch, home, transaction } => {
                let asker = Asker::Participant { partition: from, epoch, transaction };
                let request = Request::Inquire { transaction, place: home.place };
                self.ask(home.partition, asker, request);
            }
            Letter::Told { to, epoch, transaction, answer } => {
                let asked = |primary: &Primary| primary.participant.epoch() == epoch;
                if let Some(which) = self.primaries[&to].iter().position(asked) {
                    self.step(to, which, ParticipantEvent::Told { transaction, answer });
                }
            }
            Letter::Late { to, transaction } => {
                let (now, which) = (self.now, self.some_primary(to));
                let primary = &mut self.primaries.get_mut(&to).unwrap()[which];
                let entered = primary.participant.enter(now, transaction, ORIGIN, None);
                self.tell(format!("{to}: late statement of {transaction}: {entered:?}"));
            }
        }
    }

    /// One write of a partition is committed and applied.
    fn commit_one(&mut self, partition: PartitionId) {
        let which = self.primaries[&partition].len() - 1;
        let primary = &mut self.primaries.get_mut(&partition).unwrap()[which];
        let Some((transaction, write)) = primary.log.pop_front() else { return };
        let outcome = if !self.calm && self.dice.once_in(12) {
            WriteOutcome::Busy // It was never in the log.
        } else {
            apply(&mut primary.rows, write);
            WriteOutcome::Done
        };
        self.step(partition, which, ParticipantEvent::Written { transaction, outcome });
    }

    /// Another instance takes over, with some of what was on its way.
    fn fail_over(&mut self, of: PartitionId) {
        let now = self.now;
        let survivors = self.primaries[&of].last().unwrap().log.len();
        let kept = self.dice.below(survivors + 1);
        let primaries = self.primaries.get_mut(&of).unwrap();
        let old = primaries.last_mut().unwrap();
        let epoch = old.participant.epoch().next();
        let mut rows = old.rows.clone();
        let mut lost: Vec<TransactionId> = Vec::new();
        for (n, (transaction, write)) in std::mem::take(&mut old.log).into_iter().enumerate() {
            if n < kept {
                apply(&mut rows, write);
            }
            lost.push(transaction);
        }
        old.deposed = true;
        let prepared: Vec<(TransactionId, Prepared)> = rows
            .iter()
            .filter(|((table, _), _)| *table == PREPARED)
            .map(|((_, key), row)| (transaction_of(key).unwrap(), Prepared::from_row(row).unwrap()))
            .collect();
        let participant = Participant::take_over(now, of, epoch, SETTINGS, prepared);
        primaries.push(Primary { participant, rows, log: VecDeque::new(), deposed: false });
        let old = primaries.len() - 2;
        self.tell(format!("{of} fails over to {epoch}; {kept} of {survivors} writes survive"));
        if self.dice.once_in(2) {
            for transaction in lost {
                let outcome = WriteOutcome::Deposed;
                self.step(of, old, ParticipantEvent::Written { transaction, outcome });
            }
        }
    }

    fn tick(&mut self) {
        self.now = self.now + TICK;
        for ordinal in 0..PARTITIONS {
            for which in 0..self.primaries[&partition(ordinal)].len() {
                if self.aborts_by_time && self.dice.once_in(8) {
                    // The mutant: who hears nothing thinks that it was aborted.
                    let open: Vec<TransactionId> =
                        self.transfers.iter().map(|transfer| transfer.id).collect();
                    for transaction in open {
                        let answer = Answer::Aborted;
                        self.step(partition(ordinal), which, ParticipantEvent::Told { transaction, answer });
                    }
                }
                self.step(partition(ordinal), which, ParticipantEvent::Tick);
            }
        }
    }

    fn anything(&mut self) {
        let some = partition(self.dice.below(PARTITIONS as usize) as u32);
        match self.dice.below(100) {
            0..12 => self.begin(),
            12..15 => self.fail_over(some),
            15..20 => self.tick(),
            20..40 => self.commit_one(some),
            // The aggregator is marked offline, and is back; then it is as if nothing had been.
            40 => {
                for offline_at in [CatalogIndex(9), CatalogIndex(0)] {
                    let standing = Standing { incarnation: Incarnation(1), offline_at };
                    let standings = BTreeMap::from([(ORIGIN.aggregator, standing)]);
                    let aggregators = Aggregators { index: CatalogIndex(9), standings };
                    let which = self.some_primary(some);
                    self.step(some, which, ParticipantEvent::Aggregators(aggregators));
                }
            }
            41 if !self.transfers.is_empty() => {
                let of = self.dice.below(self.transfers.len());
                self.transfers[of].gone = true;
                self.transfers[of].coordinator = None;
            }
            // A coordinator loses patience with one of its requests.
            42..44 if !self.transfers.is_empty() => {
                let of = self.dice.below(self.transfers.len());
                let transfer = &mut self.transfers[of];
                if let (Some((partition, _)), Some(coordinator)) =
                    (transfer.open.pop_first(), &mut transfer.coordinator)
                {
                    let effects = coordinator.step(CoordinatorEvent::Unanswered { partition });
                    self.coordinate(of, effects);
                }
            }
            _ if !self.wire.is_empty() => {
                let at = self.dice.below(self.wire.len());
                let letter = self.wire[at].clone();
                match self.dice.below(12) {
                    // Lost; whoever asked asks again.
                    0 => {
                        self.wire.swap_remove(at);
                        if let Letter::Answer { of, from, request, .. } = letter {
                            self.wire.push(Letter::Request { of, to: from, request });
                        }
                    }
                    // Twice.
                    1 => self.deliver(letter),
                    _ => {
                        self.wire.swap_remove(at);
                        self.deliver(letter);
                    }
                }
            }
            _ => {}
        }
    }

    /// All faults stop; coordinators that are left go on or give up. Everything must be over soon.
    fn settle(&mut self) {
        self.calm = true;
        for _ in 0..2_000 {
            self.tick();
            for _ in 0..50 {
                if let Some(letter) = self.wire.pop() {
                    self.deliver(letter);
                }
            }
            for ordinal in 0..PARTITIONS {
                while !self.primaries[&partition(ordinal)].last().unwrap().log.is_empty() {
                    self.commit_one(partition(ordinal));
                }
            }
            if self.is_quiet() {
                return;
            }
        }
        panic!("what is prepared stays in doubt although everybody can be asked");
    }

    fn is_quiet(&self) -> bool {
        let newest = |ordinal| self.primaries[&partition(ordinal)].last().unwrap();
        (0..PARTITIONS).all(|ordinal| {
            let transfers = self.transfers.iter();
            transfers.map(|transfer| transfer.id).all(|id| !newest(ordinal).participant.knows(id))
        })
    }

    fn check(&self) {
        let mut total = 0;
        for ordinal in 0..PARTITIONS {
            let rows = &self.primaries[&partition(ordinal)].last().unwrap().rows;
            total += (0..ACCOUNTS_EACH).map(|n| amount(&rows[&account(n)])).sum::<i64>();
            assert!(rows.keys().all(|(table, _)| *table != PREPARED), "nothing is prepared any more");
        }
        assert_eq!(total, START * i64::from(ACCOUNTS_EACH) * i64::from(PARTITIONS), "S9: money came or went");
        for transfer in &self.transfers {
            let marked: BTreeSet<PartitionId> = (0..PARTITIONS)
                .map(partition)
                .filter(|of| {
                    let rows = &self.primaries[of].last().unwrap().rows;
                    rows.contains_key(&(MARKS, key_of(transfer.id)))
                })
                .collect();
            let all = marked == transfer.participants;
            assert!(all || marked.is_empty(), "S9: {} is in {marked:?} only", transfer.id);
            match transfer.outcome {
                Some(CommitOutcome::Committed) => {
                    assert!(all, "{} was acknowledged and is lost", transfer.id)
                }
                Some(CommitOutcome::RolledBack(_)) => assert!(marked.is_empty(), "{} is there", transfer.id),
                Some(CommitOutcome::Unknown) | None => {}
            }
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.anything();
        }
        self.settle();
        self.check();
    }
}

fn apply(rows: &mut Rows, write: Write) {
    for Mutation { table, key, row } in write.mutations {
        match row {
            Some(row) => drop(rows.insert((table, key), row)),
            None => drop(rows.remove(&(table, key))),
        }
    }
}

/// Runs a seed; if it fails, its story and its number are printed.
fn try_seed(seed: u64, aborts_by_time: bool) -> Result<[usize; 3], String> {
    let mut world = World::new(seed);
    world.aborts_by_time = aborts_by_time;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(400)));
    match outcome {
        Ok(()) => {
            let count = |is: fn(&Option<CommitOutcome>) -> bool| {
                world.transfers.iter().filter(|transfer| is(&transfer.outcome)).count()
            };
            Ok([
                count(|outcome| matches!(outcome, Some(CommitOutcome::Committed))),
                count(|outcome| matches!(outcome, Some(CommitOutcome::RolledBack(_)))),
                count(|outcome| matches!(outcome, Some(CommitOutcome::Unknown) | None)),
            ])
        }
        Err(_) => Err(world.story.join("\n")),
    }
}

#[test]
fn s9_transactions_are_all_or_nothing_whatever_happens() {
    let mut outcomes = [0; 3];
    for seed in 0..1_500 {
        match try_seed(seed, false) {
            Ok(more) => (0..3).for_each(|n| outcomes[n] += more[n]),
            Err(story) => panic!("seed {seed}:\n{story}"),
        }
    }
    let [committed, rolled_back, unknown] = outcomes;
    println!("{committed} committed, {rolled_back} rolled back, {unknown} unknown");
    assert!(committed > 1_000 && rolled_back > 1_000 && unknown > 1_000, "{outcomes:?}");
}

/// Checklist 14: what is resolved by time-out is caught by the same rules.
#[test]
fn s9_who_decides_by_time_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = (0..200).any(|seed| try_seed(seed, true).is_err());
    let _ = std::panic::take_hook();
    assert!(caught, "the checks see nothing");
}

/// The rows of a partition with one transaction prepared, as the next primary finds them.
fn prepared_at(key: &[u8]) -> (TransactionId, Prepared) {
    let place = Place { epoch: Epoch(1), number: 1 };
    let mutations = vec![Mutation { table: ACCOUNTS, key: key.to_vec(), row: None }];
    (TransactionId(7), Prepared { place, home: Home { partition: partition(0), place }, mutations })
}

#[test]
fn s9_prepared_rows_are_locked_before_the_next_primary_serves() {
    let taken = [prepared_at(b"k")];
    let mut primary = Participant::take_over(BEGIN, partition(1), Epoch(2), SETTINGS, taken);
    assert_eq!(primary.in_doubt(ACCOUNTS, |key| key == b"k"), [TransactionId(7)]);
    assert_eq!(primary.in_doubt(ACCOUNTS, |key| key == b"other"), []);
    assert_eq!(primary.in_doubt(MARKS, |_| true), []);
    let row = (ACCOUNTS, b"k".to_vec());
    assert_eq!(primary.lock_for_statement(1, [row.clone()]), Grant::Later);
    let effects = primary.step(BEGIN, ParticipantEvent::Tick);
    assert!(matches!(effects[..], [ParticipantEffect::Ask { .. }]), "it asks home at once");
    let told = ParticipantEvent::Told { transaction: TransactionId(7), answer: Answer::Undecided };
    assert_eq!(primary.step(BEGIN, told), []);
    assert!(primary.has_prepared(TransactionId(7)), "time passes, and it waits");
    let told = ParticipantEvent::Told { transaction: TransactionId(7), answer: Answer::Committed };
    let effects = primary.step(BEGIN, told);
    let [ParticipantEffect::Write { write, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(write.mutations.len(), 2, "its row, and the prepared row goes");
    let written = ParticipantEvent::Written { transaction: TransactionId(7), outcome: WriteOutcome::Done };
    let effects = primary.step(BEGIN, written);
    assert_eq!(effects[0], ParticipantEffect::Granted(vec![Owner::Statement(1)]));
    assert_eq!(primary.in_doubt(ACCOUNTS, |_| true), []);
}

#[test]
fn s9_a_workspace_that_is_gone_is_opened_again_as_another_one() {
    let mut primary = Participant::take_over(BEGIN, partition(0), Epoch(3), SETTINGS, []);
    let id = TransactionId(9);
    let first = primary.enter(BEGIN, id, ORIGIN, None).unwrap();
    assert_eq!(primary.enter(BEGIN, id, ORIGIN, Some(first)), Ok(first));
    assert_eq!(primary.enter(BEGIN, id, ORIGIN, None), Ok(first), "its answer was lost");
    let late = BEGIN + SETTINGS.idle_timeout;
    assert_eq!(primary.step(late, ParticipantEvent::Tick), [ParticipantEffect::Over(id)]);
    assert_eq!(primary.enter(late, id, ORIGIN, Some(first)), Err(Refused::Gone));
    let second = primary.enter(late, id, ORIGIN, None).unwrap();
    assert_ne!(first, second);
    let ask = |place| Request::Commit { transaction: id, place, prepared: vec![] };
    let event = ParticipantEvent::Request { ticket: 1, request: ask(first) };
    let effects = primary.step(late, event);
    assert!(matches!(effects[..], [ParticipantEffect::AnswerFromRows { .. }]), "not by the second one");
    let event = ParticipantEvent::Request { ticket: 2, request: ask(second) };
    let effects = primary.step(late, event);
    let [ParticipantEffect::Write { write, .. }] = &effects[..] else { panic!("{effects:?}") };
    let [only] = &write.mutations[..] else { panic!("{write:?}") };
    assert_eq!(
        (only.table, Decided::from_row(only.row.as_deref().unwrap())),
        (DECIDED, Some(Decided::default()))
    );
}

#[test]
fn an_aggregator_that_was_away_cannot_go_on_with_what_it_began_before() {
    let standing = |incarnation, offline_at| Standing { incarnation, offline_at };
    let knows = |index, standing| Aggregators {
        index: CatalogIndex(index),
        standings: BTreeMap::from([(ORIGIN.aggregator, standing)]),
    };
    let never = CatalogIndex(0);
    assert!(!knows(9, standing(Incarnation(1), never)).lack(&ORIGIN));
    assert!(!knows(9, standing(Incarnation(1), CatalogIndex(4))).lack(&ORIGIN), "it began after that");
    assert!(knows(9, standing(Incarnation(1), CatalogIndex(6))).lack(&ORIGIN));
    assert!(knows(9, standing(Incarnation(2), never)).lack(&ORIGIN), "its process is another one");
    assert!(!knows(4, standing(Incarnation(0), never)).lack(&ORIGIN), "a catalog that has yet to hear of it");
    assert!(Aggregators { index: CatalogIndex(9), ..Aggregators::default() }.lack(&ORIGIN), "it was removed");
}
