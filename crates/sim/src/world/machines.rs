//! Machines and processes: how they start, end, stop and go on, how connections are made and lost, and disks.

use baton_model::{Incarnation, StoreId};

use super::observer::Aggregator;
use super::{Body, Event, Leaf, Purpose, Refused, Role, Timer, World};
use crate::kernel::{ConnId, MS, S, Time};

/// A connection that hears nothing for so long, though it asks, is given up.
const KEEPALIVE: Time = 5 * S;
/// A message that found the way cut still comes if the way is free again within this.
const PARKED_MAX: Time = 3 * S;
/// What waited for a stopped process beside messages: its own timers come after them.
const AFTER_MESSAGES: Time = 5;

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is killed, or it stops by itself; the machine goes on.
    Killed,
    /// The machine loses power.
    PowerCut,
}

impl World {
    // ---- disks

    pub(super) fn sync_time(&mut self, node: usize) -> Time {
        let (least, more) = self.setup.sync;
        let takes = least + self.rng.below(more) + self.nodes[node].disk_weather.slower;
        self.nodes[node].syncing_since = Some(self.now);
        takes
    }

    pub(super) fn sync_ends(&mut self, node: usize) {
        if std::mem::take(&mut self.nodes[node].disk_weather.fails) {
            // S2: after a failed sync nobody knows what is durable. The process ends, and what it had not synced
            // is not to be found again.
            let id = self.nodes[node].id;
            self.tell(|| format!("{id}: a sync fails, the process aborts"));
            self.end(node, End::Killed, true);
            return;
        }
        let since = self.nodes[node].syncing_since.take();
        self.nodes[node].sync_took = since.map_or(0, |since| self.now - since);
        match self.nodes[node].role {
            Role::Aggregator(_) => self.control_synced(node),
            Role::Leaf(_) => self.leaf_synced(node),
        }
    }

    // ---- processes

    /// A process ends. Whether what it had not synced goes with it is for the caller to say; with the power it does.
    pub fn end(&mut self, node: usize, how: End, loses_unsynced: bool) {
        if how == End::PowerCut {
            self.nodes[node].powered = false;
        }
        if !self.nodes[node].up {
            return;
        }
        let id = self.nodes[node].id;
        self.tell(|| {
            format!("{id} ends: {how:?}{}", if loses_unsynced { ", loses what was not synced" } else { "" })
        });
        let keep = self.rng.coin();
        let draw = self.rng.draw();
        let machine = &mut self.nodes[node];
        machine.up = false;
        machine.mark |= loses_unsynced;
        machine.run += 1;
        machine.paused_since = None;
        machine.backlog.clear();
        machine.disk_weather.fails = false;
        let lost = |unsynced: usize| if keep { unsynced } else { draw as usize % (unsynced + 1) };
        let mut callers = Vec::new();
        match &mut machine.role {
            Role::Aggregator(aggregator) => {
                let disk = aggregator.control.disk_mut();
                if loses_unsynced {
                    disk.power_cut(lost(disk.unsynced()));
                } else {
                    disk.process_ends();
                }
            }
            Role::Leaf(leaf) => {
                callers = leaf.callers();
                leaf.instances.clear();
                if loses_unsynced {
                    leaf.disk.power_cut(lost(leaf.disk.unsynced()));
                } else {
                    leaf.disk.process_ends();
                }
            }
        }
        for (conn, _) in self.net.of_node(node) {
            match how {
                End::Killed => self.send(node, conn, None),
                // Nobody is told. Whoever sends notices when the machine is there again, or by the silence.
                End::PowerCut => self.watch_for_silence(conn),
            }
        }
        if how == End::Killed {
            for (from, call) in callers {
                self.datagram(node, from, Body::Lost { call });
            }
        }
        if self.aggregators().contains(&node) {
            self.clients_lose(node);
        }
        self.check_disk(node);
    }

    /// A process starts, with what is on its disk.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].up {
            return;
        }
        // Connections of its last run that others still believe in are refused now.
        for (conn, purpose, ends) in self.net.all().collect::<Vec<_>>() {
            if ends.contains(&node) {
                self.break_connection(conn, purpose, ends);
            }
        }
        self.incarnations += 1;
        let incarnation = Incarnation(self.incarnations);
        let (now, group_now) = (self.local(node), self.group_time(node));
        let members = self.setup.aggregators;
        let machine = &mut self.nodes[node];
        machine.up = true;
        machine.powered = true;
        machine.run += 1;
        machine.incarnation = incarnation;
        machine.lost_tail = machine.mark;
        machine.heard = super::Heard::default();
        (machine.syncing_since, machine.sync_took) = (None, 0);
        let id = machine.id;
        match &mut machine.role {
            Role::Aggregator(aggregator) => {
                let empty = Aggregator::start(id, Default::default(), members, now, group_now);
                let disk = std::mem::replace(&mut **aggregator, empty).control.into_disk();
                **aggregator = Aggregator::start(id, disk, members, now, group_now);
            }
            Role::Leaf(leaf) => **leaf = Leaf::start(std::mem::take(&mut leaf.disk), now),
        }
        self.tell(|| format!("{id} starts as {incarnation}"));
        match self.nodes[node].role {
            Role::Aggregator(_) => self.aggregator_starts(node),
            Role::Leaf(_) => self.leaf_starts(node),
        }
        self.check_disk(node);
    }

    /// A leaf that is down gets an empty disk.
    pub fn lose_disk(&mut self, node: usize) {
        self.incarnations += 1;
        let store = StoreId(self.incarnations);
        self.nodes[node].store = store;
        self.nodes[node].mark = false;
        let now = self.local(node);
        if let Role::Leaf(leaf) = &mut self.nodes[node].role {
            **leaf = Leaf::start(Default::default(), now);
        }
        let id = self.nodes[node].id;
        self.tell(|| format!("{id} has an empty disk, {store}"));
        self.check_disk(node);
    }

    /// A process is stopped; the machine goes on for it, and takes in what is sent to it.
    pub fn pause(&mut self, node: usize) {
        if !self.nodes[node].up || self.nodes[node].paused_since.is_some() {
            return;
        }
        self.nodes[node].paused_since = Some(self.now);
        let id = self.nodes[node].id;
        self.tell(|| format!("{id} is stopped"));
        for (conn, _) in self.net.of_node(node) {
            self.watch_for_silence(conn);
        }
    }

    /// It goes on: first with what came meanwhile, then with what it wanted to do by itself. Its machine may have slept.
    pub fn resume(&mut self, node: usize, slept: bool) {
        let Some(since) = self.nodes[node].paused_since.take() else { return };
        if slept {
            self.nodes[node].clock.slept(since, self.now);
            // The machine's own clock, by which a sync is timed, stood still.
            let asleep = self.now - since;
            self.nodes[node].syncing_since = self.nodes[node].syncing_since.map(|began| began + asleep);
        }
        let id = self.nodes[node].id;
        let slept = if slept { ", and its machine slept" } else { "" };
        self.tell(|| format!("{id} goes on{slept}"));
        for event in std::mem::take(&mut self.nodes[node].backlog) {
            let late = matches!(event, Event::Timer { .. }) || self.rng.per_mille(20);
            let at = self.now + if late { AFTER_MESSAGES } else { 0 };
            // What is on a connection stays in order, whenever it is looked at.
            self.queue.push(at, event);
        }
    }

    // ---- ways

    /// Cuts a way.
    pub fn cut(&mut self, from: usize, to: usize) {
        if self.net.is_cut(from, to) {
            return;
        }
        self.net.cut(self.now, from, to);
        for (conn, _, ends) in self.net.all().collect::<Vec<_>>() {
            if ends.contains(&from) && ends.contains(&to) {
                self.watch_for_silence(conn);
            }
        }
    }

    /// Frees a way.
    pub fn heal(&mut self, from: usize, to: usize) {
        for (conn, end, count) in self.net.heal(from, to) {
            for _ in 0..count {
                self.queue.push(self.now, Event::Arrive { conn, end });
            }
        }
        let mut parked = std::mem::take(&mut self.parked);
        let now = self.now;
        parked.retain(|(sent, ..)| sent + PARKED_MAX > now);
        for (sent, of, at, body) in parked {
            if (of, at) == (from, to) {
                self.queue.push(now, Event::Datagram { from, to, body, sent });
            } else {
                self.parked.push((sent, of, at, body));
            }
        }
    }

    /// A connection breaks, and both ends notice in their time.
    pub fn break_connection(&mut self, conn: ConnId, purpose: Purpose, ends: [usize; 2]) {
        for end in self.net.break_off(conn) {
            let (node, peer) = (ends[end], ends[1 - end]);
            let at = self.now + self.rng.between(1, 20 * MS);
            let run = self.nodes[node].run;
            self.queue.push(at, Event::Down { node, run, conn, purpose, peer });
        }
    }

    fn watch_for_silence(&mut self, conn: ConnId) {
        let at = self.now + KEEPALIVE;
        self.queue.push(at, Event::Keepalive { conn, since: self.now });
    }

    /// Pings watch over their connections themselves.
    pub(super) fn keepalive(&mut self, conn: ConnId, since: Time) {
        let Some((purpose, ends)) = self.net.about(conn) else { return };
        if purpose == Purpose::Heartbeat {
            return;
        }
        let [a, b] = ends;
        let cut = [(a, b), (b, a)]
            .iter()
            .any(|(from, to)| self.net.cut_since(*from, *to).is_some_and(|at| at <= since));
        let mute = ends.iter().any(|node| {
            let node = &self.nodes[*node];
            !node.powered || node.paused_since.is_some_and(|at| at <= since)
        });
        if cut || mute {
            self.break_connection(conn, purpose, ends);
        }
    }

    // ---- connections

    pub(super) fn asked_to_connect(&mut self, from: usize, to: usize, purpose: Purpose, attempt: u64) {
        if self.net.is_cut(from, to) || !self.nodes[to].powered {
            return;
        }
        let answer = if !self.nodes[to].up {
            Err(Refused::ByHost)
        } else if self.accepts(to, purpose) {
            Ok(self.net.open(purpose, from, to))
        } else {
            Err(Refused::ByProcess)
        };
        if let (Ok(conn), Purpose::Replicate(partition)) = (answer, purpose) {
            self.adopt_link(to, partition, conn);
        } else if let (Ok(conn), Purpose::Watch) = (answer, purpose) {
            self.adopt_watch(to, conn);
        }
        if self.net.is_cut(to, from) {
            // The answer is lost; so is the connection, in the end.
            if let Ok(conn) = answer {
                self.break_connection(conn, purpose, [from, to]);
            }
            return;
        }
        let at = self.now + self.net.delay(to, from);
        let run = self.nodes[from].run;
        self.queue.push(at, Event::SynAnswer { to: from, run, purpose, attempt, answer });
    }

    fn accepts(&self, node: usize, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Heartbeat => true,
            Purpose::Watch => matches!(self.nodes[node].role, Role::Aggregator(_)),
            Purpose::Replicate(partition) => self.leaf(node).instances.contains_key(&partition),
        }
    }

    pub(super) fn connect_answered(
        &mut self,
        node: usize,
        purpose: Purpose,
        attempt: u64,
        answer: Result<ConnId, Refused>,
    ) {
        match purpose {
            Purpose::Heartbeat => self.line_answered(node, attempt, answer),
            Purpose::Watch => self.watch_answered(node, attempt, answer.ok()),
            Purpose::Replicate(partition) => self.link_answered(node, partition, attempt, answer.ok()),
        }
    }

    pub(super) fn connect_timed_out(&mut self, node: usize, attempt: u64) {
        match self.nodes[node].role {
            Role::Aggregator(_) => self.line_timed_out(node, attempt),
            Role::Leaf(_) => self.leaf_connect_timed_out(node, attempt),
        }
    }

    pub(super) fn connection_down(&mut self, node: usize, conn: ConnId, purpose: Purpose, peer: usize) {
        self.send(node, conn, None);
        match (purpose, &self.nodes[node].role) {
            (Purpose::Heartbeat, Role::Aggregator(_)) => self.line_lost(node, peer, conn),
            (Purpose::Heartbeat, Role::Leaf(_)) => {}
            (Purpose::Watch, Role::Aggregator(_)) => self.watcher_lost(node, conn),
            (Purpose::Watch, Role::Leaf(_)) => self.watch_lost(node, conn),
            (Purpose::Replicate(partition), _) => self.link_lost(node, partition, peer, conn),
        }
    }

    /// As soon as a process takes something in, if it is this run of it.
    pub(crate) fn later_at(&mut self, node: usize, timer: Timer) {
        self.timer(node, 1, timer);
    }

    /// When something is tried again after so much of a node's own time.
    pub(super) fn later(&mut self, node: usize, after: Time, timer: Timer) {
        self.timer(node, after, timer);
    }
}
