//! Terms and votes: who may lead, who does, and how the office is handed over.

use std::collections::BTreeSet;

use super::{LEASE, LogEntry, Message, Peer, Role, Then, Write};
use crate::world::{Timer, World};

impl World {
    /// From now on in this term, as a follower if the term is newer.
    pub(super) fn adopt_term(&mut self, me: usize, term: u64) {
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
    pub(in crate::world) fn campaign(&mut self, me: usize) {
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
    pub(in crate::world) fn is_campaigning(&self, me: usize) -> bool {
        self.aggregator(me).control.campaign_until.is_some()
    }

    pub(in crate::world) fn campaign_timer(&mut self, me: usize) {
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
    pub(super) fn stand(&mut self, me: usize, by_transfer: bool) {
        let control = &mut self.aggregator_mut(me).control;
        let term = control.term() + 1;
        control.disk.write(Write::Term(term, Some(me)));
        control.role = Role::Candidate;
        control.leader = None;
        control.votes.clear();
        self.after_sync(me, Then::AskForVotes { by_transfer });
    }

    pub(super) fn ask_for_votes(&mut self, me: usize, by_transfer: bool) {
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

    pub(super) fn count_votes(&mut self, me: usize) {
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
    pub(in crate::world) fn transfer_to(&mut self, me: usize, to: usize) -> bool {
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

    pub(super) fn asked_for_vote(
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

    pub(super) fn tell_led(&mut self, me: usize) {
        let control = &self.aggregator(me).control;
        let (id, term) = (self.nodes[me].id, control.term());
        let leader = control.leader.map(|leader| self.nodes[leader].id);
        self.tell(|| format!("{id} follows {} in term {term}", leader.unwrap_or_default()));
    }
}
