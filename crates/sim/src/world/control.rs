//! The control group, modelled: Raft as the node's library carries it out, with elections called by policy.
//!
//! Terms, votes and entries are synced before anybody is told of them. A leader that a majority has confirmed within
//! the lease calls itself one; a member that has heard its leader within the lease helps nobody to replace it.
//! A campaign begins with pre-votes and goes on for two leases. Everybody keeps the whole log, so there are no
//! snapshots. Members do not change.
//!
//! What is committed goes into [`Truth`], which applies each entry once for the whole world: the catalog's `apply` is
//! deterministic, and each node holds the version that it has come to.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use baton_catalog::{Catalog, Command, Entry, Outcome};
use baton_model::{CatalogIndex, Instant, NodeId};

use super::{Body, Event, Origin, Timer, World};
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

/// What is committed, and what it comes to.
#[derive(Debug)]
pub struct Truth {
    /// The committed log.
    pub log: Vec<LogEntry>,
    /// The catalog after each index; the first is the empty one.
    pub catalogs: Vec<Rc<Catalog>>,
    outcomes: Vec<Option<Outcome>>,
}

impl Default for Truth {
    fn default() -> Self {
        Self { log: Vec::new(), catalogs: vec![Rc::new(Catalog::default())], outcomes: Vec::new() }
    }
}

impl Truth {
    /// The newest catalog that is committed anywhere.
    pub fn catalog(&self) -> &Rc<Catalog> {
        self.catalogs.last().expect("there is always the empty one")
    }

    /// The last index.
    pub fn index(&self) -> u64 {
        self.log.len() as u64
    }

    /// Takes in an entry that a member has seen committed. False if another one was committed at its index.
    fn commit(&mut self, index: u64, entry: &LogEntry) -> bool {
        if let Some(known) = self.log.get(index as usize - 1) {
            return known.term == entry.term;
        }
        assert_eq!(index, self.index() + 1, "a member commits in order");
        let mut outcome = None;
        let mut catalog = Rc::clone(self.catalog());
        if let Some(entry) = &entry.entry {
            let mut next = Catalog::clone(&catalog);
            outcome = Some(next.apply(CatalogIndex(index), entry).outcome);
            catalog = Rc::new(next);
        }
        self.log.push(entry.clone());
        self.catalogs.push(catalog);
        self.outcomes.push(outcome);
        true
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

    /// A process begins to be a member: what it has is applied as soon as it hears that it is committed.
    pub(super) fn control_timer(&mut self, me: usize) {
        let now = self.group_time(me);
        let control = &mut self.aggregator_mut(me).control;
        if control.role != Role::Leader {
            return;
        }
        for peer in &mut control.peers {
            peer.waiting = false;
        }
        debug_assert!(now >= control.heard_at);
        for peer in 0..self.setup.aggregators {
            self.append_to(me, peer);
        }
        self.timer(me, HEARTBEAT, Timer::ControlHeartbeat);
    }

    fn append_to(&mut self, me: usize, peer: usize) {
        if peer == me {
            return;
        }
        let sent_at = self.group_time(me);
        let control = &mut self.aggregator_mut(me).control;
        if control.role != Role::Leader || control.peers[peer].waiting {
            return;
        }
        let next = control.peers[peer].next.max(1);
        let log = &control.disk.now.log;
        let from = (next as usize - 1).min(log.len());
        let entries: Vec<LogEntry> = log[from..].iter().take(BATCH).cloned().collect();
        let after = (control.disk.now.term_at(from as u64), from as u64);
        let message =
            Message::Append { term: control.term(), after, entries, commit: control.commit, sent_at };
        control.peers[peer].waiting = true;
        self.send_control(me, peer, message);
    }

    fn send_control(&mut self, me: usize, to: usize, message: Message) {
        self.datagram(me, to, Body::Control(message));
    }

    /// The leader takes a proposal. None if this member does not lead.
    pub(super) fn propose(&mut self, me: usize, entry: Entry, origin: Origin) -> Option<u64> {
        let now = self.group_time(me);
        let control = &mut self.aggregator_mut(me).control;
        if !control.is_leader(now, me) {
            return None;
        }
        let term = control.term();
        let entry = LogEntry { term, entry: Some(Rc::new(entry)) };
        control.disk.write(Write::Append(entry));
        let index = control.log_index();
        control.proposals.push_back(Proposal { index, term, origin });
        let cuts = self.aggregator(me).control.cuts;
        self.after_sync(me, Then::CountOwn(index, cuts));
        for peer in 0..self.setup.aggregators {
            self.append_to(me, peer);
        }
        Some(index)
    }

    fn after_sync(&mut self, me: usize, then: Then) {
        let control = &mut self.aggregator_mut(me).control;
        let written = control.disk.written();
        control.after_sync.push_back((written, then));
        if control.disk.ask_sync() {
            self.begin_sync(me);
        }
    }

    /// A sync of the control log is done.
    pub(super) fn control_synced(&mut self, me: usize) {
        let control = &mut self.aggregator_mut(me).control;
        let (covered, again) = control.disk.finish_sync();
        let mut due = Vec::new();
        while let Some((_, then)) = control.after_sync.pop_front_if(|(written, _)| *written <= covered) {
            due.push(then);
        }
        if again {
            self.begin_sync(me);
        }
        for then in due {
            match then {
                Then::Send(to, message) => self.send_control(me, to, message),
                Then::AskForVotes { by_transfer } => self.ask_for_votes(me, by_transfer),
                Then::CountOwn(index, cuts) => {
                    let control = &mut self.aggregator_mut(me).control;
                    if cuts == control.cuts {
                        control.durable = control.durable.max(index);
                    }
                    self.count(me);
                }
            }
        }
    }

    /// A leader commits what a majority has, if it is of its own term.
    fn count(&mut self, me: usize) {
        let control = &mut self.aggregator_mut(me).control;
        if control.role != Role::Leader {
            return;
        }
        let mut matched: Vec<u64> = control.peers.iter().map(|peer| peer.matched).collect();
        matched[me] = control.durable;
        matched.sort_unstable();
        let committed = matched[matched.len() - control.majority()];
        if committed > control.commit && control.disk.now.term_at(committed) == control.term() {
            self.commit_up_to(me, committed);
            // Members learn of it at once: leaves wait for it.
            for peer in 0..self.setup.aggregators {
                self.append_to(me, peer);
            }
        }
    }

    fn commit_up_to(&mut self, me: usize, up_to: u64) {
        let from = self.aggregator(me).control.commit;
        for index in from + 1..=up_to {
            let entry = self.aggregator(me).control.disk.now.log[index as usize - 1].clone();
            let known = self.truth.index();
            if !self.truth.commit(index, &entry) {
                self.violated("S10", format!("{} commits another entry at {index}", self.nodes[me].id));
                return;
            }
            if self.truth.index() > known {
                self.catalog_moved(index);
            }
        }
        let control = &mut self.aggregator_mut(me).control;
        control.commit = control.commit.max(up_to);
        control.disk.write(Write::Applied(up_to));
        let mut answered = Vec::new();
        while let Some(proposal) = control.proposals.pop_front_if(|proposal| proposal.index <= up_to) {
            answered.push(proposal);
        }
        for Proposal { index, term, origin } in answered {
            let same = self.truth.log[index as usize - 1].term == term;
            let outcome = if same { self.truth.outcomes[index as usize - 1].clone() } else { None };
            self.proposal_answered(me, origin, outcome);
        }
        self.applied(me);
    }

    /// From now on in this term, as a follower if the term is newer.
    fn adopt_term(&mut self, me: usize, term: u64) {
        let control = &mut self.aggregator_mut(me).control;
        if term > control.term() {
            control.disk.write(Write::Term(term, None));
            control.leader = None;
            self.step_down(me);
        }
    }

    fn step_down(&mut self, me: usize) {
        let control = &mut self.aggregator_mut(me).control;
        control.role = Role::Follower;
        control.votes.clear();
        let given_up = std::mem::take(&mut control.proposals);
        for proposal in given_up {
            self.proposal_answered(me, proposal.origin, None);
        }
    }

    /// A member wants to lead. Pre-votes go on for two leases.
    pub(super) fn campaign(&mut self, me: usize) {
        let now = self.group_time(me);
        let control = &mut self.aggregator_mut(me).control;
        let begin = now.max(control.grace_until);
        if control.campaign_until.is_none() {
            control.campaign_until = Some(begin + std::time::Duration::from_micros(2 * LEASE));
            let wait = begin.since(now).as_micros() as u64;
            self.timer(me, wait.max(1), Timer::Campaign);
        }
    }

    /// Whether a campaign goes on; the policy is not asked meanwhile.
    pub(super) fn is_campaigning(&self, me: usize) -> bool {
        self.aggregator(me).control.campaign_until.is_some()
    }

    pub(super) fn campaign_timer(&mut self, me: usize) {
        let now = self.group_time(me);
        let control = &mut self.aggregator_mut(me).control;
        let over = control.campaign_until.is_none_or(|until| now >= until);
        let led = control.leader.is_some_and(|leader| leader != me) && control.is_leased(now, me);
        if control.role == Role::Leader || over || led {
            control.campaign_until = None;
            if matches!(control.role, Role::PreCandidate | Role::Candidate) {
                control.role = Role::Follower;
            }
            return;
        }
        if control.role != Role::Candidate || control.votes.is_empty() {
            control.role = Role::PreCandidate;
            control.votes = BTreeSet::from([me]);
            let (term, last) = (control.term() + 1, control.disk.now.last());
            for peer in (0..self.setup.aggregators).filter(|peer| *peer != me) {
                let message = Message::Vote { pre: true, term, last, by_transfer: false };
                self.send_control(me, peer, message);
            }
            if self.setup.aggregators == 1 {
                self.stand(me, false);
            }
        } else {
            // Votes that are on their way are waited for, once.
            control.role = Role::Follower;
        }
        self.timer(me, LEASE / 4, Timer::Campaign);
    }

    /// Votes for itself in a new term, durably, and asks the others.
    fn stand(&mut self, me: usize, by_transfer: bool) {
        let control = &mut self.aggregator_mut(me).control;
        let term = control.term() + 1;
        control.disk.write(Write::Term(term, Some(me)));
        control.role = Role::Candidate;
        control.leader = None;
        control.votes.clear();
        self.after_sync(me, Then::AskForVotes { by_transfer });
    }

    fn ask_for_votes(&mut self, me: usize, by_transfer: bool) {
        let control = &mut self.aggregator_mut(me).control;
        if control.role != Role::Candidate {
            return;
        }
        control.votes.insert(me);
        let (term, last) = (control.term(), control.disk.now.last());
        for peer in (0..self.setup.aggregators).filter(|peer| *peer != me) {
            self.send_control(me, peer, Message::Vote { pre: false, term, last, by_transfer });
        }
        self.count_votes(me);
    }

    fn count_votes(&mut self, me: usize) {
        let control = &mut self.aggregator_mut(me).control;
        if control.votes.len() < control.majority() {
            return;
        }
        match control.role {
            Role::PreCandidate => self.stand(me, false),
            Role::Candidate => self.lead(me),
            Role::Follower | Role::Leader => {}
        }
    }

    fn lead(&mut self, me: usize) {
        let now = self.group_time(me);
        let members = self.setup.aggregators;
        let control = &mut self.aggregator_mut(me).control;
        control.role = Role::Leader;
        control.leader = Some(me);
        control.campaign_until = None;
        control.heard_at = now;
        let term = control.term();
        control.disk.write(Write::Append(LogEntry { term, entry: None }));
        let index = control.log_index();
        control.peers = vec![Peer { next: index, ..Peer::default() }; members];
        let id = self.nodes[me].id;
        self.tell(|| format!("{id} leads the control group in term {term}"));
        self.checks.leads(term, id);
        let cuts = self.aggregator(me).control.cuts;
        self.after_sync(me, Then::CountOwn(index, cuts));
        self.control_timer(me);
    }

    /// A leader hands its office over, if the other has its whole log.
    pub(super) fn transfer_to(&mut self, me: usize, to: usize) -> bool {
        let now = self.group_time(me);
        let control = &mut self.aggregator_mut(me).control;
        if !control.is_leader(now, me) || to == me || control.peers[to].matched < control.log_index() {
            return false;
        }
        // From here on it proposes nothing and confirms nobody: there is no way back.
        let term = control.term();
        control.leader = Some(to);
        self.step_down(me);
        self.send_control(me, to, Message::TakeOver { term });
        true
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

    fn asked_for_vote(
        &mut self,
        me: usize,
        from: usize,
        pre: bool,
        term: u64,
        last: (u64, u64),
        by_transfer: bool,
    ) {
        let now = self.group_time(me);
        let control = &self.aggregator(me).control;
        let refused = term < control.term() || control.is_leased(now, me) && !by_transfer;
        if refused {
            let term = control.term();
            self.send_control(me, from, Message::Voted { pre, term, granted: false });
            return;
        }
        if !pre {
            self.adopt_term(me, term);
        }
        let control = &mut self.aggregator_mut(me).control;
        let whole = last >= control.disk.now.last();
        if pre {
            let granted = whole && term > control.term();
            let term = if granted { term } else { control.term() };
            self.send_control(me, from, Message::Voted { pre, term, granted });
            return;
        }
        let free = control.disk.now.vote.is_none_or(|vote| vote == from);
        let granted = whole && free && control.role == Role::Follower;
        if granted {
            control.disk.write(Write::Term(term, Some(from)));
        }
        let term = control.term();
        // The vote, or the newer term, is durable before anybody hears of it.
        self.after_sync(me, Then::Send(from, Message::Voted { pre, term, granted }));
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    fn asked_to_append(
        &mut self,
        me: usize,
        from: usize,
        term: u64,
        after: (u64, u64),
        entries: Vec<LogEntry>,
        commit: u64,
        sent_at: Instant,
    ) {
        let now = self.group_time(me);
        let newer = term > self.aggregator(me).control.term();
        if term < self.aggregator(me).control.term() {
            let term = self.aggregator(me).control.term();
            self.send_control(me, from, Message::Appended { term, matched: Err(0), sent_at });
            return;
        }
        self.adopt_term(me, term);
        let control = &mut self.aggregator_mut(me).control;
        if matches!(control.role, Role::PreCandidate | Role::Candidate) {
            control.role = Role::Follower;
        }
        control.campaign_until = None;
        let changed = control.leader != Some(from);
        control.leader = Some(from);
        control.heard_at = now;
        control.heard = true;
        let (after_term, after_index) = after;
        let last = control.log_index();
        if after_index > last || control.disk.now.term_at(after_index) != after_term {
            let hint = after_index.min(last + 1);
            let answer = Message::Appended { term, matched: Err(hint), sent_at };
            if newer {
                self.after_sync(me, Then::Send(from, answer))
            } else {
                self.send_control(me, from, answer)
            }
            return;
        }
        let matched = after_index + entries.len() as u64;
        let mut wrote = newer;
        for (index, entry) in (after_index + 1..).zip(entries) {
            if index <= control.log_index() {
                if control.disk.now.term_at(index) == entry.term {
                    continue;
                }
                control.disk.write(Write::Truncate(index as usize - 1));
                control.durable = control.durable.min(index - 1);
                control.cuts += 1;
            }
            control.disk.write(Write::Append(entry));
            wrote = true;
        }
        let answer = Message::Appended { term, matched: Ok(matched), sent_at };
        let reaches = commit.min(matched);
        let behind = reaches > control.commit;
        if wrote || matched > control.durable {
            let cuts = control.cuts;
            self.after_sync(me, Then::CountOwn(matched, cuts));
            self.after_sync(me, Then::Send(from, answer));
        } else {
            self.send_control(me, from, answer);
        }
        if behind {
            self.commit_up_to(me, reaches);
        }
        if changed {
            self.tell_led(me);
        }
    }

    fn tell_led(&mut self, me: usize) {
        let control = &self.aggregator(me).control;
        let (id, term) = (self.nodes[me].id, control.term());
        let leader = control.leader.map(|leader| self.nodes[leader].id);
        self.tell(|| format!("{id} follows {} in term {term}", leader.unwrap_or_default()));
    }

    fn begin_sync(&mut self, me: usize) {
        let at = self.now + self.sync_time(me);
        let run = self.nodes[me].run;
        self.queue.push(at, Event::Synced { node: me, run });
    }
}
