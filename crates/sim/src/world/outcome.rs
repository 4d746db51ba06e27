//! What became of a transaction whose COMMIT was not answered (S12): `SHOW TRANSACTION OUTCOME` at any aggregator.
//! Played as `baton-node`'s `aggregator/outcome.rs` does it, with the questions that go from node to node.
//!
//! "Committed" is said as soon as one partition has it in its rows. "Not committed" takes more: that no aggregator runs
//! it any more, and that every partition, asked after that, in the epochs of a catalog that is not older than the
//! question, has nothing of it and has forgotten nothing as young, and that no data was given up since it began.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use baton_model::{Epoch, NodeId, PartitionId, TransactionId};

use super::wire::{Knowledge, Question, Reply};
use super::{Body, Role, Timer, World};
use crate::kernel::{S, Time};

/// How long a node may take to say what it knows.
const ASK: Time = 3 * S;

/// The wall clocks of aggregators are taken to differ by no more, in milliseconds.
pub const CLOCKS_APART_MS: u64 = 1_000;

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is committed.
    Committed,
    /// It was never committed, and will not be.
    NotCommitted,
    /// Ask again.
    Undecided,
    /// It is so old that it may have been committed and forgotten, or it may have gone with its database.
    Unknown,
}

/// One question of a client, on its way.
#[derive(Debug)]
pub struct Inquiry {
    client: usize,
    transaction: TransactionId,
    stage: Stage,
    /// The calls that are not answered.
    missing: BTreeMap<u64, NodeId>,
    /// Whether the catalog is as new as the question.
    newest: bool,
    /// Whether somebody runs it, or may.
    runs: bool,
    known: BTreeMap<PartitionId, Option<Knowledge>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// How far is the catalog?
    Index,
    /// Until this node's catalog is there.
    Catalog(u64),
    /// Who runs it?
    Runs,
    /// What does every partition know?
    Knowledge,
}

impl Stage {
    /// Names it to a timer.
    const fn number(self) -> u8 {
        match self {
            Self::Index | Self::Catalog(_) => 0,
            Self::Runs => 1,
            Self::Knowledge => 2,
        }
    }
}

impl World {
    /// Asks a node something that is not about one partition.
    pub(super) fn ask(&mut self, me: usize, to: usize, question: Question) -> u64 {
        let call = self.workload.next_number();
        self.datagram(me, to, Body::Question { call, question: Box::new(question) });
        call
    }

    /// A node is asked something.
    pub(super) fn asked(&mut self, me: usize, from: usize, call: u64, question: Question) {
        let reply = match self.nodes[me].role {
            Role::Leaf(_) => self.leaf_asked(me, question),
            Role::Aggregator(_) => self.aggregator_asked(me, question),
        };
        if let Some(reply) = reply {
            self.datagram(me, from, Body::Reply { call, reply: Box::new(reply) });
        }
    }

    fn aggregator_asked(&self, me: usize, question: Question) -> Option<Reply> {
        match question {
            Question::CatalogIndex => Some(Reply::CatalogIndex(self.read_index(me))),
            Question::NotRunning(incarnation, transactions) => {
                let another = incarnation != self.nodes[me].incarnation;
                let running = &self.aggregator(me).transactions;
                let over = transactions.into_iter().filter(|id| another || !running.contains_key(id));
                Some(Reply::NotRunning(over.collect()))
            }
            _ => None,
        }
    }

    /// What a round of confirmations by the majority would give a leader; it is not played, but what it promises is so:
    /// nothing is committed that is beyond it.
    fn read_index(&self, me: usize) -> Option<u64> {
        let control = &self.aggregator(me).control;
        let confirmed = control.is_leader(self.group_time(me), me) && control.commit == self.truth.index();
        confirmed.then_some(control.commit)
    }

    /// A question is answered.
    pub(super) fn told(&mut self, me: usize, call: u64, reply: Reply) {
        if let Role::Leaf(_) = self.nodes[me].role {
            return self.leaf_told(me, call, reply);
        }
        if let Reply::Waits(waits) = reply {
            return self.waits_told(me, call, waits);
        }
        let asked = self
            .aggregator_mut(me)
            .inquiries
            .iter_mut()
            .find_map(|(number, inquiry)| inquiry.missing.remove(&call).map(|_| (*number, inquiry)));
        let Some((number, inquiry)) = asked else { return };
        let transaction = inquiry.transaction;
        match reply {
            Reply::CatalogIndex(Some(index)) => inquiry.stage = Stage::Catalog(index),
            Reply::NotRunning(over) => inquiry.runs |= !over.contains(&transaction),
            Reply::Knowledge(more) => {
                inquiry.known.extend(more.into_iter().map(|(partition, known)| (partition, Some(known))));
            }
            _ => {}
        }
        self.inquire_further(me, number);
    }

    /// A client asks what became of a transaction.
    pub fn begin_inquiry(&mut self, me: usize, client: usize, transaction: TransactionId) {
        let number = self.workload.next_number();
        let stage = match self.read_index(me) {
            Some(index) => Stage::Catalog(index),
            None => Stage::Index,
        };
        let mut missing = BTreeMap::new();
        if stage == Stage::Index
            && let Some(master) = self.aggregator(me).control.leader(self.group_time(me), me)
        {
            let call = self.ask(me, master, Question::CatalogIndex);
            missing.insert(call, self.nodes[master].id);
        }
        let (newest, runs, known) = (false, false, BTreeMap::new());
        let inquiry = Inquiry { client, transaction, stage, missing, newest, runs, known };
        self.aggregator_mut(me).inquiries.insert(number, inquiry);
        self.later(me, ASK, Timer::Inquiry(number, 0));
        self.inquire_further(me, number);
    }

    /// Somebody who was asked took too long: nothing is known of what he knows.
    pub(super) fn inquiry_timeout(&mut self, me: usize, number: u64, stage: u8) {
        let Some(inquiry) = self.aggregator_mut(me).inquiries.get_mut(&number) else { return };
        if inquiry.stage.number() != stage {
            return;
        }
        inquiry.missing.clear();
        match inquiry.stage {
            Stage::Catalog(_) => inquiry.stage = Stage::Index,
            Stage::Runs => inquiry.runs = true,
            _ => {}
        }
        self.inquire_further(me, number);
    }

    /// The catalog of an aggregator has moved.
    pub(super) fn inquiries_see(&mut self, me: usize) {
        let numbers: Vec<u64> = self.aggregator(me).inquiries.keys().copied().collect();
        for number in numbers {
            self.inquire_further(me, number);
        }
    }

    fn inquire_further(&mut self, me: usize, number: u64) {
        let own = self.nodes[me].id;
        let index = self.aggregator(me).control.commit;
        let Some(inquiry) = self.aggregator(me).inquiries.get(&number) else { return };
        if !inquiry.missing.is_empty() {
            return;
        }
        let transaction = inquiry.transaction;
        let newest = match inquiry.stage {
            Stage::Catalog(wanted) if index < wanted => return,
            Stage::Catalog(_) => true,
            _ => inquiry.newest,
        };
        let catalog = Rc::clone(self.catalog_at(index));
        let mut missing = BTreeMap::new();
        match inquiry.stage {
            Stage::Index | Stage::Catalog(_) => {
                let runs = self.aggregator(me).transactions.contains_key(&transaction);
                if !runs {
                    let others = catalog.aggregators().filter(|node| node.id != own && node.is_online());
                    for node in others {
                        let question = Question::NotRunning(node.incarnation, vec![transaction]);
                        missing.insert(self.ask(me, Self::position(node.id), question), node.id);
                    }
                }
                let Some(inquiry) = self.aggregator_mut(me).inquiries.get_mut(&number) else { return };
                (inquiry.newest, inquiry.runs, inquiry.stage) = (newest, runs, Stage::Runs);
            }
            Stage::Runs => {
                let mut by_leaf: BTreeMap<NodeId, Vec<(PartitionId, Epoch)>> = BTreeMap::new();
                for partition in catalog.partitions() {
                    if let Some(leaf) = catalog.serving(partition.id) {
                        by_leaf.entry(leaf.id).or_default().push((partition.id, partition.epoch));
                    }
                }
                for (leaf, partitions) in by_leaf {
                    let question = Question::Knowledge(transaction, index, partitions);
                    missing.insert(self.ask(me, Self::position(leaf), question), leaf);
                }
                let Some(inquiry) = self.aggregator_mut(me).inquiries.get_mut(&number) else { return };
                inquiry.known = catalog.partitions().map(|partition| (partition.id, None)).collect();
                inquiry.stage = Stage::Knowledge;
            }
            Stage::Knowledge => {
                let Some(inquiry) = self.aggregator_mut(me).inquiries.remove(&number) else { return };
                let verdict = inquiry.verdict(catalog.given_up_ms());
                return self.outcome_told(inquiry.client, transaction, verdict);
            }
        }
        if missing.is_empty() {
            return self.inquire_further(me, number);
        }
        let Some(inquiry) = self.aggregator_mut(me).inquiries.get_mut(&number) else { return };
        inquiry.missing = missing;
        let stage = inquiry.stage.number();
        self.later(me, ASK, Timer::Inquiry(number, stage));
    }
}

impl Inquiry {
    fn verdict(&self, given_up_ms: u64) -> Verdict {
        let begun_ms = self.transaction.begun_us() / 1000;
        let known: BTreeSet<Option<Knowledge>> = self.known.values().copied().collect();
        if known.contains(&Some(Knowledge::Committed)) {
            Verdict::Committed
        } else if self.runs
            || known.contains(&None)
            || known.contains(&Some(Knowledge::Undecided))
            || !self.newest
        {
            Verdict::Undecided
        } else if known.contains(&Some(Knowledge::Forgotten))
            || given_up_ms > 0 && begun_ms <= given_up_ms + CLOCKS_APART_MS
        {
            Verdict::Unknown
        } else {
            Verdict::NotCommitted
        }
    }
}
