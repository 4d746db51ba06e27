//! The shell's part: what an instance wants done is done to its disk, its links, its copies and the master aggregator.
//!
//! Effects are carried out in order, and what they do to a disk is shown to the checks.
//! Not here: the answers to effects, which wait as moves of their own.

use baton_catalog::Command;
use baton_model::limits::REPLICATION_BATCH_RECORDS_MAX;
use baton_model::{NodeId, SyncState};
use baton_replication::{Effect, Event};

use super::disk::{Stored, Write as DiskWrite};
use super::{PARTITION, SYNC_REPLICA_TIMEOUT, World};

/// Copies of all leaves together, at most.
const COPIES_MAX: u64 = 1_000_000;

impl World {
    pub(super) fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let partition = self.partition().clone();
        let known_store = self.catalog().node(id).map(|node| node.store);
        let Some(leaf) = self.leaves.get_mut(&id) else { return };
        let known_disk = known_store == Some(leaf.store);
        match effect {
            Effect::SaveEpochs { epoch, history } => {
                leaf.disk.write(DiskWrite::SaveEpochs(epoch, history));
            }
            Effect::Append(records) => {
                self.checks.appended(id, &leaf.disk.now, &records);
                leaf.disk.write(DiskWrite::Append(records));
            }
            Effect::Truncate(last) => {
                self.checks.cut(id, &leaf.disk.now, last);
                leaf.disk.write(DiskWrite::Truncate(last));
            }
            Effect::Trim(before) => leaf.disk.write(DiskWrite::Trim(before)),
            Effect::SaveOutcomes(outcomes) => leaf.disk.write(DiskWrite::SaveOutcomes(outcomes)),
            Effect::Sync { lsn, cuts } => {
                leaf.disk.ask_sync(lsn, cuts);
                if !leaf.syncs {
                    // The system syncs it in its own time; nobody waits for that.
                    if !self.checks.loses_power {
                        leaf.disk.finish_sync(true);
                    }
                    leaf.pending.push_back(Event::Durable { lsn, cuts });
                }
            }
            Effect::Apply(records) => {
                self.checks.applied(id, &leaf.disk.now, &records);
                leaf.disk.write(DiskWrite::Apply(records));
            }
            Effect::Send { peer, link, message } => self.send(peer, link, message),
            Effect::ReadLog { peer, link, from } => {
                let log = leaf.disk.now.log.range(from..).take(REPLICATION_BATCH_RECORDS_MAX);
                let records = log.map(|(_, record)| record.clone()).collect();
                leaf.pending.push_back(Event::LogRead { peer, link, records });
            }
            Effect::Provision { peer, link, at_least, fresh } => {
                // A number says whose copy it is. The newest one is taken again, if that will do.
                let own = id.0 * COPIES_MAX..(id.0 + 1) * COPIES_MAX;
                let kept =
                    self.copies.range(own).next_back().filter(|(_, (at, ..))| !fresh && *at >= at_least);
                let kept = kept.map(|(copy, _)| *copy);
                let copy = kept.unwrap_or_else(|| {
                    let copy = id.0 * COPIES_MAX + self.copies.len() as u64;
                    let Stored { applied, history, rows, .. } = leaf.disk.now.clone();
                    self.copies.insert(copy, (applied, history, rows));
                    copy
                });
                let (at, history, _) = self.copies[&copy].clone();
                leaf.pending.push_back(Event::CopyReady { peer, link, copy, at, history });
            }
            Effect::FetchCopy { peer, copy, .. } => leaf.fetching = Some((peer, copy)),
            Effect::Link(to) => {
                leaf.wants = to;
                if let Some(link) = leaf.opened.take() {
                    self.close(link, id);
                }
            }
            Effect::CloseLink { link, .. } => {
                if leaf.opened == Some(link) {
                    leaf.lose_link(self.now);
                }
                self.close(link, id);
            }
            Effect::Reply { ticket, result } => {
                if let Ok(outcome) = result {
                    let statement = self.tickets[ticket as usize];
                    self.checks.acknowledged(statement, outcome);
                }
            }
            Effect::ReportLag { epoch, version, replica, lag } => {
                // The master aggregator decides as classic does.
                let online = self.catalog().node(replica).is_some_and(|node| node.is_online());
                if lag.silent >= SYNC_REPLICA_TIMEOUT || !online {
                    let (state, reason) = (SyncState::Async, "it lags".into());
                    let partition = PARTITION;
                    let command = Command::SetSyncState { partition, epoch, version, replica, state, reason };
                    self.requests.push(command);
                }
            }
            Effect::RequestSyncState { epoch, version, replica, state, reason } => {
                let command =
                    Command::SetSyncState { partition: PARTITION, epoch, version, replica, state, reason };
                self.requests.push(command);
            }
            Effect::RequestSynced { epoch, version } => {
                self.requests.push(Command::NoteSynced { partition: PARTITION, epoch, version });
            }
            Effect::Drained { ticket, result } => {
                self.drained.insert(ticket, result.is_ok());
            }
            Effect::Serve(_) => {}
            Effect::InstallCopy { copy, at, epoch, history, outcomes } => {
                self.checks.replaced(&partition, id, known_disk, &leaf.disk.now);
                leaf.disk.write(DiskWrite::Empty);
                let rows = self.copies[&copy].2.clone();
                leaf.disk.write(DiskWrite::Copied(Box::new((at, rows, epoch, history, outcomes))));
                self.checks.rows(id, &leaf.disk.now);
            }
            Effect::Report(what) => {
                if !self.checks.loses_power {
                    self.checks.violated(format!("{id} reported: {what}"));
                }
            }
            Effect::Halt(reason) => {
                if !self.expects_halts {
                    self.checks.violated(format!("{id} halted: {reason}"));
                }
            }
        }
    }
}
