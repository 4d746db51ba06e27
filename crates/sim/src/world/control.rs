//! The control group, modelled: Raft as the node's library carries it out, with elections called by policy.
//!
//! Terms, votes and entries are synced before anybody is told of them. A leader that a majority has confirmed within
//! the lease calls itself one; a member that has heard its leader within the lease helps nobody to replace it.
//! A campaign begins with pre-votes and goes on for two leases. Everybody keeps the whole log, so there are no
//! snapshots. Members do not change.
//!
//! What is committed goes into [`Truth`], which applies each entry once for the whole world: the catalog's `apply` is
//! deterministic, and each node holds the version that it has come to.

mod elections;
mod log;
mod truth;

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use baton_catalog::{Command, Entry};
use baton_model::{Instant, NodeId};

pub use self::truth::Truth;
use super::{Body, Origin, World};
use crate::kernel::{Disk, MS, Medium, Time};

/// How often a leader lets the members know that it lives.
const HEARTBEAT: Time = 50 * MS;
/// The floor under every election.
pub const LEASE: Time = 300 * MS;
/// Entries of one message, at most.
const BATCH: usize = 64;

/// An entry of the control group's log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// What it says; None is the first of a term.
    pub entry: Option<Rc<Entry>>,
}

/// What a member has on its disk.
#[derive(Clone, Debug, Default)]
pub struct Store {
    term: u64,
    vote: Option<usize>,
    /// The entry at index `i` stands at position `i - 1`.
    log: Vec<LogEntry>,
    /// Everything up to here was committed and applied.
    applied: u64,
}

/// A write to it.
#[derive(Clone, Debug)]
pub enum Write {
    Term(u64, Option<usize>),
    Append(LogEntry),
    /// Keeps so many entries.
    Truncate(usize),
    Applied(u64),
}

impl Medium for Store {
    type Op = Write;
    fn take(&mut self, op: Write) {
        match op {
            Write::Term(term, vote) => (self.term, self.vote) = (term, vote),
            Write::Append(entry) => self.log.push(entry),
            Write::Truncate(kept) => self.log.truncate(kept),
            Write::Applied(index) => self.applied = index,
        }
    }
}

impl Store {
    fn last(&self) -> (u64, u64) {
        (self.term_at(self.log.len() as u64), self.log.len() as u64)
    }

    fn term_at(&self, index: u64) -> u64 {
        index.checked_sub(1).and_then(|at| self.log.get(at as usize)).map_or(0, |entry| entry.term)
    }
}

/// What members say to each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// "Would you, or do you, vote for me?" With the end of the candidate's log.
    Vote { pre: bool, term: u64, last: (u64, u64), by_transfer: bool },
    /// The answer.
    Voted { pre: bool, term: u64, granted: bool },
    /// The next entries, possibly none.
    Append { term: u64, after: (u64, u64), entries: Vec<LogEntry>, commit: u64, sent_at: Instant },
    /// The answer: how far both logs are the same, or where to try.
    Appended { term: u64, matched: Result<u64, u64>, sent_at: Instant },
    /// "Take over, without asking whether I live."
    TakeOver { term: u64 },
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vote { pre, term, last, .. } => {
                write!(f, "{} t{term} last={}@t{}", if *pre { "PreVote" } else { "Vote" }, last.1, last.0)
            }
            Self::Voted { pre, term, granted } => {
                let what = if *pre { "PreVoted" } else { "Voted" };
                write!(f, "{what} t{term} {}", if *granted { "yes" } else { "no" })
            }
            Self::Append { term, after, entries, commit, .. } => {
                write!(f, "Append t{term} after={} {} entries commit={commit}", after.1, entries.len())
            }
            Self::Appended { term, matched, .. } => write!(f, "Appended t{term} {matched:?}"),
            Self::TakeOver { term } => write!(f, "TakeOver t{term}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    next: u64,
    matched: u64,
    /// When it was sent what it answered last.
    acked_at: Option<Instant>,
    waiting: bool,
}

/// What is done once everything written so far is durable.
#[derive(Debug)]
enum Then {
    Send(usize, Message),
    AskForVotes {
        by_transfer: bool,
    },
    /// The log up to here, as it was after so many cuts.
    CountOwn(u64, u64),
}

/// A proposal that waits for its outcome, at the leader.
#[derive(Debug)]
struct Proposal {
    index: u64,
    term: u64,
    origin: Origin,
}

/// One member.
#[derive(Debug)]
pub struct Control {
    disk: Disk<Store>,
    role: Role,
    leader: Option<usize>,
    /// When a leader was last heard; at the start, that.
    heard_at: Instant,
    /// Whether anybody was heard since the start.
    heard: bool,
    grace_until: Instant,
    campaign_until: Option<Instant>,
    votes: BTreeSet<usize>,
    peers: Vec<Peer>,
    /// The end of its own log that is durable.
    durable: u64,
    /// How often its log was cut.
    cuts: u64,
    /// Everything up to here is committed, and applied.
    pub commit: u64,
    after_sync: VecDeque<(u64, Then)>,
    proposals: VecDeque<Proposal>,
    voters: BTreeSet<NodeId>,
}

impl Control {
    /// A member that has just started; all of them are voters. What it has on disk comes along.
    pub fn start(mut disk: Disk<Store>, members: usize, now: Instant) -> Self {
        disk.process_ends();
        let durable = disk.now.log.len() as u64;
        Self {
            role: Role::Follower,
            leader: None,
            heard_at: now,
            heard: false,
            grace_until: now + std::time::Duration::from_micros(LEASE),
            campaign_until: None,
            votes: BTreeSet::new(),
            peers: vec![Peer::default(); members],
            durable,
            cuts: 0,
            commit: disk.now.applied,
            disk,
            after_sync: VecDeque::new(),
            proposals: VecDeque::new(),
            voters: (1..=members as u64).map(NodeId).collect(),
        }
    }

    /// Its disk, taken out for the next run of its process.
    pub fn into_disk(self) -> Disk<Store> {
        self.disk
    }

    /// Its disk.
    pub fn disk_mut(&mut self) -> &mut Disk<Store> {
        &mut self.disk
    }

    fn majority(&self) -> usize {
        self.peers.len() / 2 + 1
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.disk.now.term
    }

    /// The last index of its log.
    pub fn log_index(&self) -> u64 {
        self.disk.now.log.len() as u64
    }

    /// Who counts for a majority.
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// Whether it leads and a majority confirmed it within the lease: nobody else can lead now (S10).
    pub fn is_leader(&self, now: Instant, me: usize) -> bool {
        if self.role != Role::Leader {
            return false;
        }
        let recent =
            |peer: &Peer| peer.acked_at.is_some_and(|at| now.since(at).as_micros() < u128::from(LEASE));
        1 + self.peers.iter().enumerate().filter(|(i, peer)| *i != me && recent(peer)).count()
            >= self.majority()
    }

    /// How long ago a majority confirmed that it leads.
    pub fn confirmed_ago(&self, now: Instant, me: usize) -> Option<std::time::Duration> {
        let mut acked: Vec<_> =
            self.peers.iter().enumerate().filter(|(i, _)| *i != me).map(|(_, peer)| peer.acked_at).collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        match self.majority() {
            1 => Some(std::time::Duration::ZERO),
            most => acked.get(most - 2).copied().flatten().map(|at| now.since(at)),
        }
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self, now: Instant, me: usize) -> Option<usize> {
        self.leader.filter(|leader| *leader != me || self.is_leader(now, me))
    }

    /// How long ago it was last led.
    pub fn unled_ms(&self, now: Instant, me: usize) -> u64 {
        if self.is_leader(now, me) { 0 } else { now.since(self.heard_at).as_millis() as u64 }
    }

    /// Within the lease of a leader that it has heard, itself included, or in its own first moments.
    fn is_leased(&self, now: Instant, me: usize) -> bool {
        let heard = self.heard && now.since(self.heard_at).as_micros() < u128::from(LEASE);
        heard || now < self.grace_until || self.is_leader(now, me)
    }
}

impl World {
    /// Commits commands before the world begins: everybody has them.
    pub(super) fn found(&mut self, commands: Vec<Command>) {
        for command in commands {
            let entry = Rc::new(Entry { statement: None, at_ms: 0, command });
            let entry = LogEntry { term: 1, entry: Some(entry) };
            let index = self.truth.index() + 1;
            assert!(self.truth.commit(index, &entry));
            let outcome = self.truth.outcomes[index as usize - 1].as_ref();
            assert!(outcome.is_some_and(Result::is_ok), "{outcome:?}");
            for member in 0..self.setup.aggregators {
                self.aggregator_mut(member).control.disk.write(Write::Append(entry.clone()));
            }
        }
        for member in 0..self.setup.aggregators {
            let control = &mut self.aggregator_mut(member).control;
            control.disk.write(Write::Term(1, None));
            control.disk.write(Write::Applied(control.log_index()));
            control.disk.process_ends();
            control.durable = control.log_index();
            control.commit = control.log_index();
        }
    }

    fn send_control(&mut self, me: usize, to: usize, message: Message) {
        self.datagram(me, to, Body::Control(message));
    }

    /// A message of another member.
    pub(super) fn control_message(&mut self, me: usize, from: usize, message: Message) {
        match message {
            Message::Vote { pre, term, last, by_transfer } => {
                self.asked_for_vote(me, from, pre, term, last, by_transfer);
            }
            Message::Voted { pre, term, granted } => {
                let control = &mut self.aggregator_mut(me).control;
                let current = control.term();
                if !granted {
                    self.adopt_term(me, term);
                } else if pre && control.role == Role::PreCandidate && term == current + 1
                    || !pre && control.role == Role::Candidate && term == current
                {
                    control.votes.insert(from);
                    self.count_votes(me);
                }
            }
            Message::Append { term, after, entries, commit, sent_at } => {
                self.asked_to_append(me, from, term, after, entries, commit, sent_at);
            }
            Message::Appended { term, matched, sent_at } => {
                self.adopt_term(me, term);
                let control = &mut self.aggregator_mut(me).control;
                if control.role != Role::Leader || term != control.term() {
                    return;
                }
                let last = control.log_index();
                let peer = &mut control.peers[from];
                peer.waiting = false;
                peer.acked_at = peer.acked_at.max(Some(sent_at));
                match matched {
                    Ok(index) => {
                        peer.matched = peer.matched.max(index);
                        peer.next = peer.matched + 1;
                    }
                    Err(hint) => peer.next = hint.max(peer.matched).max(1).min(peer.next.max(2) - 1),
                }
                let more = peer.next <= last;
                self.count(me);
                if more {
                    self.append_to(me, from);
                }
            }
            Message::TakeOver { term } => {
                if term == self.aggregator(me).control.term() {
                    self.stand(me, true);
                }
            }
        }
    }
}
