//! The log: what is proposed is sent, synced, counted and committed.

use std::rc::Rc;

use baton_catalog::Entry;
use baton_model::Instant;

use super::{BATCH, HEARTBEAT, LogEntry, Message, Proposal, Role, Then, Write};
use crate::world::{Event, Origin, Timer, World};

impl World {
    /// A process begins to be a member: what it has is applied as soon as it hears that it is committed.
    pub(in crate::world) fn control_timer(&mut self, me: usize) {
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

    pub(super) fn append_to(&mut self, me: usize, peer: usize) {
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

    /// The leader takes a proposal. None if this member does not lead.
    pub(in crate::world) fn propose(&mut self, me: usize, entry: Entry, origin: Origin) -> Option<u64> {
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

    pub(super) fn after_sync(&mut self, me: usize, then: Then) {
        let control = &mut self.aggregator_mut(me).control;
        let written = control.disk.written();
        control.after_sync.push_back((written, then));
        if control.disk.ask_sync() {
            self.begin_sync(me);
        }
    }

    /// A sync of the control log is done.
    pub(in crate::world) fn control_synced(&mut self, me: usize) {
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
    pub(super) fn count(&mut self, me: usize) {
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

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    pub(super) fn asked_to_append(
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

    fn begin_sync(&mut self, me: usize) {
        let at = self.now + self.sync_time(me);
        let run = self.nodes[me].run;
        self.queue.push(at, Event::Synced { node: me, run });
    }
}
