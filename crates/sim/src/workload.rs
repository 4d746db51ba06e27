//! Clients, and what they were told.
//!
//! A client has one statement on its way at a time, thinks, and sends the next. A write adds one to one or several rows
//! of a partition; a read reads one row; some begin transactions. Some clients only read, and each of them stays with a
//! partition for long: it goes on where all others wait for what they cannot reach.

mod transactions;

use std::collections::{BTreeMap, HashMap};

use baton_model::{PartitionId, StatementId, TransactionId};

use self::transactions::Session;
pub use self::transactions::{Deal, Told};
use crate::kernel::{MS, Rng, Time};
use crate::world::{Ask, Event, Whose, World};

/// How a statement ended, as its client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The write is done.
    Written,
    /// The row.
    Read(Option<(u64, StatementId)>),
    /// Nothing was done.
    Undone,
    /// It may have been done.
    Unknown,
}

/// What is known of a statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Where it went.
    pub partition: PartitionId,
    /// The rows it writes; of a read, the one it reads.
    pub keys: Vec<u64>,
    /// Whether it writes.
    pub writes: bool,
    /// When it began.
    begun: Time,
    /// Of a read, how often its row was written, as somebody knew when it began.
    at_least: u64,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// A client.
#[derive(Debug)]
struct Client {
    /// The aggregator that it is connected to.
    at: usize,
    current: Option<StatementId>,
    /// Its transaction, if it is in one.
    session: Option<Session>,
    /// What it has seen of each row through this connection: it must not see less.
    seen: BTreeMap<(PartitionId, u64), u64>,
    /// Whether it only reads.
    reads: bool,
    /// Where such a client stays.
    stays: Option<PartitionId>,
}

/// A client that only reads goes elsewhere after so many statements, on average.
const STAYS: u64 = 100;

/// All clients.
#[derive(Debug)]
pub struct Workload {
    clients: Vec<Client>,
    /// Every statement; the one with id `i` stands at `i - 1`.
    statements: Vec<Statement>,
    /// Which statement on its way a call is for.
    pub calls: HashMap<u64, u64>,
    numbers: u64,
    rng: Rng,
    /// What is drawn for transactions.
    dice: Rng,
    /// Every transaction.
    pub transactions: BTreeMap<TransactionId, Deal>,
    /// Whether clients send new statements.
    pub active: bool,
    /// Statements by how they ended: written, read, undone, unknown.
    pub counts: [u64; 4],
    /// Transactions by how they ended: committed, rolled back, unknown.
    pub deals: [u64; 3],
    /// Of each partition, when a write was last done.
    pub written_at: BTreeMap<PartitionId, Time>,
}

impl Workload {
    /// So many clients, and so many that only read, none of which has said anything yet.
    #[must_use]
    pub fn new(clients: usize, readers: usize, aggregators: usize, rng: Rng, dice: Rng) -> Self {
        let client = |number| Client {
            at: number % aggregators,
            current: None,
            session: None,
            seen: BTreeMap::new(),
            reads: number >= clients,
            stays: None,
        };
        Self {
            clients: (0..clients + readers).map(client).collect(),
            statements: Vec::new(),
            calls: HashMap::new(),
            numbers: 0,
            rng,
            dice,
            transactions: BTreeMap::new(),
            active: true,
            counts: [0; 4],
            deals: [0; 3],
            written_at: BTreeMap::new(),
        }
    }

    /// A number that nobody was given.
    pub fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A statement.
    #[must_use]
    pub fn statement(&self, id: StatementId) -> Option<&Statement> {
        self.statements.get(usize::try_from(id.0.checked_sub(1)?).ok()?)
    }

    /// Whether a statement is on its way, or a transaction open.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.clients.iter().any(|client| client.current.is_some() || client.session.is_some())
    }

    /// Through which aggregators those read that stay with a partition, and which.
    pub fn reads(&self) -> impl Iterator<Item = (usize, PartitionId)> {
        self.clients.iter().filter_map(|client| Some((client.at, client.stays?)))
    }

    /// A partition has lost something: so much of each row is left.
    pub fn lost(&mut self, partition: PartitionId, left: impl Fn((PartitionId, u64)) -> u64) {
        for client in &mut self.clients {
            for (place, seen) in client.seen.iter_mut().filter(|(place, _)| place.0 == partition) {
                *seen = left(*place).min(*seen);
            }
        }
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }
}

impl World {
    /// A client does the next thing.
    pub(crate) fn client_acts(&mut self, number: usize) {
        if self.workload.clients[number].current.is_some() || self.client_deals(number) {
            return;
        }
        if !self.workload.active {
            return;
        }
        let at = self.workload.clients[number].at;
        if !self.takes_clients(at) {
            let next = self.workload.rng.below(self.setup.aggregators as u64) as usize;
            let client = &mut self.workload.clients[number];
            client.at = next;
            client.seen.clear();
            let pause = self.now + 20 * MS;
            self.at(pause, Event::Client(number));
            return;
        }
        // Once the faults are over, nobody asks for what only an operator can bring back.
        let faults = self.nemesis.active;
        let catalog = self.catalog().clone();
        let ids = || catalog.partitions().map(|p| p.id).filter(|id| faults || !self.is_out_of_reach(*id));
        let count = ids().count() as u64;
        let chosen = self.workload.rng.clone().below(count) as usize;
        let stays = self.workload.clients[number].stays.filter(|stays| ids().any(|id| id == *stays));
        let partition = stays.or_else(|| ids().nth(chosen));
        let rng = &mut self.workload.rng;
        rng.draw();
        let Some(partition) = partition else { return };
        let client = &mut self.workload.clients[number];
        client.stays = (client.reads && rng.below(STAYS) > 0).then_some(partition);
        let keys = self.setup.keys;
        let writes = !client.reads && rng.per_mille(self.setup.writes_per_mille);
        let mut chosen = vec![rng.below(keys)];
        if writes && rng.per_mille(250) {
            chosen.push(rng.below(keys));
            chosen.sort_unstable();
            chosen.dedup();
        }
        let id = StatementId(self.workload.statements.len() as u128 + 1);
        let ask = if writes { Ask::Write(id, chosen.clone()) } else { Ask::Read(chosen[0], None) };
        let (begun, at_least) = (self.now, self.checks.reads.known((partition, chosen[0])));
        let statement = Statement { partition, keys: chosen, writes, begun, at_least, ended: None };
        self.workload.statements.push(statement);
        self.workload.clients[number].current = Some(id);
        self.story
            .detail(self.now, || format!("client {number} at n{}: s{} {partition} {ask:?}", at + 1, id.0));
        self.begin_op(at, Whose::Client(number, id), partition, ask);
    }

    fn takes_clients(&self, at: usize) -> bool {
        self.nodes[at].up && self.nodes[at].paused_since.is_none()
    }

    /// A client is told how its statement ended.
    pub(crate) fn statement_ended(&mut self, _at: usize, number: usize, id: StatementId, ended: Ended) {
        let client = &mut self.workload.clients[number];
        if client.current != Some(id) {
            return;
        }
        client.current = None;
        let statement = &mut self.workload.statements[id.0 as usize - 1];
        statement.ended = Some(ended);
        let partition = statement.partition;
        let keys = statement.keys.clone();
        let (begun, at_least) = (statement.begun, statement.at_least);
        self.story.detail(self.now, || format!("client {number}: s{} ended: {ended:?}", id.0));
        let kind = match ended {
            Ended::Written => 0,
            Ended::Read(_) => 1,
            Ended::Undone => 2,
            Ended::Unknown => 3,
        };
        self.workload.counts[kind] += 1;
        match ended {
            Ended::Written => {
                self.workload.written_at.insert(partition, self.now);
                for (key, count) in self.checks.counts_of(partition, id) {
                    self.workload.clients[number].seen.insert((partition, key), count);
                    self.checks.reads.told((partition, key), count);
                }
            }
            Ended::Read(row) => {
                let place = (partition, keys[0]);
                let count = row.map_or(0, |(count, _)| count);
                self.check_read(place, begun, at_least, count);
                let known = self.shown(place, count);
                self.checks.reads.told(place, known);
                let seen = &mut self.workload.clients[number].seen;
                let before = seen.insert(place, known).unwrap_or(0);
                if count < before {
                    let key = keys[0];
                    self.violated(
                        "reads",
                        format!("client {number} sees {count} in row {key} of {partition}, and saw {before}"),
                    );
                }
            }
            Ended::Undone => self.check_undone(partition, id),
            Ended::Unknown => {}
        }
        self.client_thinks(number);
    }

    /// A client sends its next statement after a while.
    pub(crate) fn client_thinks(&mut self, number: usize) {
        let think = self.setup.think;
        let at = self.now + 1 + self.workload.rng.below(2 * think);
        self.at(at, Event::Client(number));
    }

    /// An aggregator's process has ended: whoever was connected does not know what became of its statement.
    pub(crate) fn clients_lose(&mut self, at: usize) {
        for number in 0..self.workload.clients.len() {
            if self.workload.clients[number].at != at {
                continue;
            }
            if let Some(id) = self.workload.clients[number].current {
                self.statement_ended(at, number, id, Ended::Unknown);
                self.workload.clients[number].seen.clear();
            }
            self.deal_is_lost(number);
        }
    }
}
