//! What an instance wants done, and how it is done here.

use std::rc::Rc;

use baton_catalog::{Command, Entry};
use baton_failover::LagReport;
use baton_model::PartitionId;
use baton_model::limits::REPLICATION_BATCH_RECORDS_MAX;
use baton_replication::{Effect, Event as CoreEvent};

use super::{CHUNK_STEP, Fetch};
use crate::kernel::{ConnId, MS};
use crate::world::store::{Copy, Made, Op};
use crate::world::{Body, Event, Timer, World};

impl World {
    fn write(&mut self, me: usize, partition: PartitionId, op: Copy) {
        self.check_write(me, partition, &op);
        self.leaf_mut(me).disk.write(Op::Of(partition, op));
    }

    pub(super) fn carry_out(&mut self, me: usize, partition: PartitionId, effect: Effect) {
        if self.story.details() {
            let id = self.nodes[me].id;
            self.story.detail(self.now, || format!("{id} {partition} {effect}"));
        }
        let wall_us = self.wall_us(me);
        let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) else { return };
        match effect {
            Effect::SaveEpochs { epoch, history } => {
                self.write(me, partition, Copy::SaveEpochs(epoch, Rc::new(history)));
            }
            Effect::Append(records) => {
                let records: Vec<Rc<_>> = records.into_iter().map(Rc::new).collect();
                self.write(me, partition, Copy::Append(Rc::new(records)));
            }
            Effect::Truncate(last) => self.write(me, partition, Copy::Truncate(last)),
            Effect::Trim(before) => self.write(me, partition, Copy::Trim(before)),
            Effect::Sync { lsn, cuts } => {
                let sync = running.sync;
                let leaf = self.leaf_mut(me);
                if sync {
                    let written = leaf.disk.written();
                    leaf.syncs.push_back((written, partition, lsn, cuts));
                    self.ask_leaf_sync(me);
                } else if let Some(running) = leaf.instances.get_mut(&partition) {
                    running.pending.push(CoreEvent::Durable { lsn, cuts });
                }
            }
            Effect::Apply(records) => {
                self.check_apply(me, partition, &records);
                if let Some(last) = records.last() {
                    let last = last.lsn;
                    self.write(me, partition, Copy::Apply(last));
                }
            }
            Effect::Send { peer: _, link, message } => {
                self.send(me, ConnId(link), Some(Body::Replication(message)));
            }
            Effect::ReadLog { peer, link, from } => {
                let leaf = self.leaf_mut(me);
                let records = leaf
                    .disk
                    .now
                    .copies
                    .get(&partition)
                    .map(|copy| copy.records_from(from, REPLICATION_BATCH_RECORDS_MAX))
                    .unwrap_or_default();
                if let Some(running) = leaf.instances.get_mut(&partition) {
                    running.pending.push(CoreEvent::LogRead { peer, link, records });
                }
            }
            Effect::Provision { peer, link, at_least, fresh } => {
                // A made copy that is kept will do, if the core takes it. A number says who made it, and when.
                let store = &self.leaf_mut(me).disk.now;
                let mut kept = store.made.iter().filter(|(_, made)| made.partition == partition);
                let kept = kept.find(|(_, made)| !fresh && made.at >= at_least);
                let kept = kept.map(|(number, made)| (*number, Rc::clone(made)));
                let (copy, made) = match kept {
                    Some(kept) => kept,
                    None => {
                        let stored = store.copies.get(&partition).cloned().unwrap_or_default();
                        let mut history = stored.history.clone();
                        history.cut(stored.applied);
                        let (at, rows) = (stored.applied, stored.rows);
                        let made = Rc::new(Made { partition, at, history, rows });
                        self.attempts += 1;
                        let number = self.attempts;
                        self.leaf_mut(me).disk.write(Op::Made(number, Rc::clone(&made)));
                        (number, made)
                    }
                };
                if let Some(running) = self.leaf_mut(me).instances.get_mut(&partition) {
                    let (at, history) = (made.at, made.history.clone());
                    running.pending.push(CoreEvent::CopyReady { peer, link, copy, at, history });
                }
            }
            Effect::FetchCopy { peer, link, copy } => {
                let leaf = self.leaf_mut(me);
                leaf.fetches.retain(|_, fetch| fetch.partition != partition);
                leaf.next_fetch += 1;
                let number = leaf.next_fetch;
                leaf.fetches.insert(number, Fetch { partition, peer, conn: ConnId(link), copy, chunks: 0 });
                self.later(me, CHUNK_STEP, Timer::FetchStep(number));
            }
            Effect::Link(to) => {
                running.wants = to;
                running.wish += 1;
                running.attempt = None;
                if let Some(own) = running.own.take() {
                    running.links.remove(&own);
                    self.send(me, own, None);
                }
                if to.is_some() {
                    self.link_connect(me, partition);
                }
            }
            Effect::CloseLink { link, .. } => {
                let conn = ConnId(link);
                running.links.remove(&conn);
                let own = running.own == Some(conn);
                if own {
                    running.own = None;
                }
                self.send(me, conn, None);
                if own {
                    self.link_connect_later(me, partition);
                }
            }
            Effect::Reply { ticket, result } => self.replied(me, partition, ticket, result),
            Effect::RequestSyncState { epoch, version, replica, state, reason } => {
                let command = Command::SetSyncState { partition, epoch, version, replica, state, reason };
                let entry = Entry { statement: None, at_ms: wall_us / MS, command };
                let master = self.nodes[me].heard.from;
                // An aggregator may sit on a request, and it may be asked of two.
                for late in self.nemesis.lateness(self.now).into_iter().flatten() {
                    let at = self.now + late + self.net.delay(me, master);
                    let body = Box::new(Body::Propose(Box::new(entry.clone())));
                    self.queue
                        .push(at, Event::Datagram { from: me, to: master, body, sent: self.now + late });
                }
            }
            Effect::ReportLag { epoch, version, replica, lag } => {
                let millis = |time: std::time::Duration| time.as_millis() as u64;
                let report = LagReport {
                    partition,
                    epoch,
                    version,
                    replica,
                    silent_ms: millis(lag.silent),
                    linked: lag.linked,
                    waiting_writes: lag.waiting_writes,
                    oldest_wait_ms: millis(lag.oldest_wait),
                };
                let master = self.nodes[me].heard.from;
                self.datagram(me, master, Body::Lag(Box::new(report)));
            }
            Effect::RequestSynced { epoch, version } => {
                let command = Command::NoteSynced { partition, epoch, version };
                let entry = Entry { statement: None, at_ms: wall_us / MS, command };
                let master = self.nodes[me].heard.from;
                self.datagram(me, master, Body::Propose(Box::new(entry)));
            }
            Effect::Drained { ticket, result } => {
                self.drain_ends(me, partition, ticket, result.map_err(|why| why.to_string()));
            }
            Effect::Serve(serves) => {
                let epoch = running.core.epoch();
                let id = self.nodes[me].id;
                // What is prepared is locked before anybody is served (S9).
                if serves {
                    self.tenure_begins(me, partition, epoch);
                } else {
                    self.tenure_ends(me, partition);
                }
                self.tell(|| {
                    let what = if serves { "serves" } else { "serves no more" };
                    format!("{id} {what} {partition} at {epoch}")
                });
                if serves {
                    self.check_serves(me, partition, epoch);
                }
            }
            Effect::SaveOutcomes(outcomes) => {
                self.write(me, partition, Copy::SaveOutcomes(Rc::new(outcomes)));
            }
            Effect::InstallCopy { copy, at, epoch, history, outcomes } => {
                let Some(made) = self.made(copy) else { return };
                assert_eq!(made.at, at, "a copy is installed as what it is");
                self.write(me, partition, Copy::Empty);
                let (history, outcomes) = (Rc::new(history), Rc::new(outcomes));
                self.write(me, partition, Copy::Installed(made, epoch, history, outcomes));
            }
            Effect::Report(what) => {
                let id = self.nodes[me].id;
                let what = format!("{id} {partition} reports: {what}");
                let copy = self.leaf(me).disk.now.copies.get(&partition);
                if self.checks.has_lost(partition, copy) {
                    self.tell(|| what);
                } else {
                    self.violated("S6", what);
                }
            }
            Effect::Halt(reason) => {
                running.wants = None;
                let links: Vec<ConnId> = std::mem::take(&mut running.links).into_iter().collect();
                for conn in links {
                    self.send(me, conn, None);
                }
                self.tenure_ends(me, partition);
                let id = self.nodes[me].id;
                self.violated("halt", format!("{id} {partition} halts: {reason}"));
            }
        }
    }
}
