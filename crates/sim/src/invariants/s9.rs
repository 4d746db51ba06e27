//! S9: what belongs together is all there or not at all.
//!
//! Of a statement over several rows of a partition: looked at on disks, after every end and start of a process and at
//! rest. The rows of a copy are exactly what the committed log makes of them up to where the copy says it is.
//!
//! Of a transaction over several partitions: looked at whenever a record is committed, by what its rows say and by what
//! its client wanted.
//!
//! * It is decided once, at home, when all others have it prepared, and only if its client asked for it.
//! * Where it was prepared it ends as home decided, after home decided, and once. No time-out ends it.
//! * Until then nobody else's write to one of its rows is committed, whoever is the primary.
//! * A committed write adds to what is committed what its statement or transaction says: none is lost, none comes twice.
//! * What a client was told of the end is true, then and for ever.
//!
//! At rest: what is decided is in all its partitions, and nothing is in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use baton_model::{Lsn, PartitionId, StatementId, TableId, TransactionId};
use baton_replication::transaction::{DECIDED, Decided, PREPARED, Prepared, transaction_of};
use baton_replication::{Mutation, Payload, Record};

use crate::workload::{Deal, Workload};
use crate::world::{Rows, World, counter};

pub(super) fn whole(world: &World, me: usize, partition: PartitionId) -> Result<(), String> {
    let Some(copy) = world.leaf(me).disk.now.copies.get(&partition) else { return Ok(()) };
    let Some(chronicle) = world.checks.chronicles.get(&partition) else { return Ok(()) };
    if copy.importing {
        return Ok(());
    }
    let mut rows = Rows::default();
    for record in chronicle.committed.iter().take(copy.applied.0 as usize) {
        rows.apply(record);
    }
    // What it applied may be gone elsewhere; then it will take another copy.
    if rows == copy.rows || world.checks.has_lost(partition, Some(copy)) {
        return Ok(());
    }
    let id = world.nodes[me].id;
    Err(format!("{id} has rows {:?} of {partition} at {}, not {rows:?}", copy.rows, copy.applied))
}

/// What committed records say of transactions.
#[derive(Debug, Default)]
pub(super) struct S9 {
    ledgers: BTreeMap<PartitionId, Ledger>,
    fates: BTreeMap<TransactionId, Fate>,
}

/// Of a partition, what is committed.
#[derive(Debug, Default)]
struct Ledger {
    counts: BTreeMap<u64, u64>,
    /// The rows of what is prepared.
    locked: BTreeMap<u64, TransactionId>,
}

/// Of a transaction, what is committed.
#[derive(Debug, Default)]
struct Fate {
    /// Who decides, as those say who have it prepared.
    decider: Option<PartitionId>,
    /// Where it was decided.
    home: Option<PartitionId>,
    /// Where it was prepared, and what it writes there.
    prepared: BTreeMap<PartitionId, Vec<(u64, u64)>>,
    /// Where its rows are, and where they stand.
    landed: BTreeMap<PartitionId, (Lsn, Vec<(u64, u64)>)>,
    /// Where it was prepared and given up.
    dropped: BTreeSet<PartitionId>,
    /// A part of what was committed of it is gone: nothing is expected of it but that it keeps its locks.
    maimed: bool,
}

impl Fate {
    /// The rows that it has, or will have, in a partition, with the counts that it gives them.
    fn rows(&self, partition: PartitionId) -> Option<&Vec<(u64, u64)>> {
        self.landed.get(&partition).map(|(_, rows)| rows).or_else(|| self.prepared.get(&partition))
    }

    /// Whether all of it is there, or cannot but come there.
    fn is_whole(&self, deal: &Deal) -> bool {
        deal.partitions().all(|partition| {
            let wanted = deal.writes.keys().filter(|(of, _)| *of == partition).map(|(_, key)| *key);
            self.rows(partition).is_some_and(|rows| rows.iter().map(|(key, _)| *key).eq(wanted))
                && !self.dropped.contains(&partition)
        })
    }
}

/// What one record does for one transaction.
#[derive(Debug, Default)]
struct Part {
    rows: Vec<(u64, u64)>,
    prepares: Option<Prepared>,
    finishes: bool,
    decides: Option<Decided>,
}

/// The counters that mutations write, by key.
fn counters(mutations: &[Mutation]) -> impl Iterator<Item = (u64, u64, StatementId)> {
    mutations.iter().filter_map(counter).map(|(key, (count, tag))| (key, count, tag))
}

/// What mutations say of transactions, in this table of theirs.
fn of_transactions(
    mutations: &[Mutation],
    table: TableId,
) -> impl Iterator<Item = (TransactionId, Option<&[u8]>)> {
    let rows = mutations.iter().filter(move |mutation| mutation.table == table);
    rows.filter_map(|mutation| Some((transaction_of(&mutation.key)?, mutation.row.as_deref())))
}

impl S9 {
    /// The counts that a transaction gives to rows, of what is or will be committed.
    pub(super) fn counts(&self, id: TransactionId) -> Vec<((PartitionId, u64), u64)> {
        let Some(fate) = self.fates.get(&id) else { return Vec::new() };
        let places: BTreeSet<PartitionId> = fate.prepared.keys().chain(fate.landed.keys()).copied().collect();
        let rows = |partition: PartitionId| fate.rows(partition).into_iter().flatten();
        let counts = places.into_iter().flat_map(|of| rows(of).map(move |(key, count)| ((of, *key), *count)));
        counts.collect()
    }

    /// How often a row was written, of what is committed.
    pub(super) fn count(&self, (partition, key): (PartitionId, u64)) -> u64 {
        self.ledgers.get(&partition).and_then(|ledger| ledger.counts.get(&key)).copied().unwrap_or(0)
    }

    /// A record is committed that was not before.
    pub(super) fn committed(
        &mut self,
        workload: &Workload,
        partition: PartitionId,
        record: &Record,
    ) -> Result<(), String> {
        let Payload::Write(write) = &record.payload else { return Ok(()) };
        let mut parts: BTreeMap<TransactionId, Part> = BTreeMap::new();
        for mutation in write.mutations.iter().filter(|m| m.table == PREPARED || m.table == DECIDED) {
            let Some(id) = transaction_of(&mutation.key) else { continue };
            let row = mutation.row.as_deref();
            match (mutation.table == PREPARED, row) {
                (true, None) => parts.entry(id).or_default().finishes = true,
                (true, Some(row)) => parts.entry(id).or_default().prepares = Prepared::from_row(row),
                (false, Some(row)) => parts.entry(id).or_default().decides = Decided::from_row(row),
                (false, None) => {} // It is forgotten.
            }
        }
        let ledger = self.ledgers.entry(partition).or_default();
        for (key, count, tag) in counters(&write.mutations) {
            let id = TransactionId(tag.0);
            let deal = workload.transactions.get(&id);
            let adds = deal.map_or(1, |deal| deal.writes.get(&(partition, key)).copied().unwrap_or(0));
            let before = ledger.counts.insert(key, count).unwrap_or(0);
            if count != before + adds {
                return Err(format!(
                    "{record} of {partition} makes {count} of {before} in row {key}, by {tag:?}"
                ));
            }
            let holder = ledger.locked.get(&key).copied();
            if holder.is_some_and(|holder| holder != id || !parts.get(&id).is_some_and(|part| part.finishes))
            {
                return Err(format!(
                    "{record} of {partition} writes row {key} by {tag:?}, which {holder:?} has prepared"
                ));
            }
            if deal.is_some() {
                parts.entry(id).or_default().rows.push((key, count));
            }
        }
        for (id, part) in parts {
            self.takes_part(workload, partition, record.lsn, id, part)?;
        }
        Ok(())
    }

    fn takes_part(
        &mut self,
        workload: &Workload,
        partition: PartitionId,
        lsn: Lsn,
        id: TransactionId,
        part: Part,
    ) -> Result<(), String> {
        let ledger = self.ledgers.entry(partition).or_default();
        let fate = self.fates.entry(id).or_default();
        if let Some(prepared) = part.prepares {
            let rows: Vec<(u64, u64)> =
                counters(&prepared.mutations).map(|(key, count, _)| (key, count)).collect();
            ledger.locked.extend(rows.iter().map(|(key, _)| (*key, id)));
            if fate.maimed {
                return Ok(());
            }
            if fate.landed.contains_key(&partition) {
                return Err(format!("{id} is prepared in {partition}, where it has been"));
            }
            fate.decider = Some(prepared.home.partition);
            fate.prepared.insert(partition, rows);
            return Ok(());
        }
        if part.finishes {
            ledger.locked.retain(|_, holder| *holder != id);
        }
        if fate.maimed {
            if !part.rows.is_empty() {
                fate.landed.insert(partition, (lsn, part.rows));
            }
            return Ok(());
        }
        if let Some(Decided { prepared }) = &part.decides {
            fate.home = Some(partition);
            let missing = prepared.iter().find(|(of, _)| {
                !fate.prepared.contains_key(of) || fate.landed.contains_key(of) || fate.dropped.contains(of)
            });
            if let Some((missing, _)) = missing {
                return Err(format!("{id} is decided in {partition}, and {missing} has it not prepared"));
            }
        }
        if part.decides.is_some()
            && let Some((of, key)) = workload.transactions.get(&id).and_then(|deal| deal.lost)
        {
            return Err(format!(
                "{id} is decided, and had lost its lock of row {key} of {of} before its COMMIT"
            ));
        }
        let ends = part.finishes || part.decides.is_some();
        if !ends && !part.rows.is_empty() {
            return Err(format!("rows of {id} come to {partition} without its end"));
        }
        if part.finishes
            && part.rows.is_empty()
            && fate.prepared.get(&partition).is_some_and(|of| !of.is_empty())
        {
            fate.dropped.insert(partition);
            if let Some(home) = fate.home {
                return Err(format!("{id} is given up in {partition}, and {home} has decided it"));
            }
            return Ok(());
        }
        if !part.rows.is_empty() {
            let Some(home) = fate.home else {
                return Err(format!("rows of {id} come to {partition} before it is decided"));
            };
            if let Some((first, _)) = fate.landed.insert(partition, (lsn, part.rows)) {
                return Err(format!("rows of {id}, of {home}, come to {partition} at {first} and at {lsn}"));
            }
        }
        let deal = workload.transactions.get(&id);
        match deal {
            Some(deal) if fate.home.is_some() => {
                if !deal.asked || deal.told == Some(false) {
                    return Err(format!(
                        "{id} is committed in {partition}, and its client was told: {deal:?}"
                    ));
                }
                if !fate.is_whole(deal) {
                    return Err(format!("{id} is committed as {fate:?}, but wanted was {:?}", deal.writes));
                }
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(format!("nobody has begun {id}, which is in {partition}")),
        }
    }

    /// This is all that is left of a partition, and this is gone from it.
    pub(super) fn lost(&mut self, partition: PartitionId, kept: &[Rc<Record>], gone: &[Rc<Record>]) {
        let mut ledger = Ledger::default();
        for record in kept {
            let Payload::Write(write) = &record.payload else { continue };
            ledger.counts.extend(counters(&write.mutations).map(|(key, count, _)| (key, count)));
            for (id, row) in of_transactions(&write.mutations, PREPARED) {
                match row.and_then(Prepared::from_row) {
                    Some(prepared) => {
                        ledger.locked.extend(counters(&prepared.mutations).map(|(key, ..)| (key, id)));
                    }
                    None => ledger.locked.retain(|_, holder| *holder != id),
                }
            }
        }
        self.ledgers.insert(partition, ledger);
        let last = kept.last().map_or(Lsn(0), |record| record.lsn);
        for record in gone {
            let Payload::Write(write) = &record.payload else { continue };
            let prepared = of_transactions(&write.mutations, PREPARED).map(|(id, _)| id);
            // That an old decision is forgotten says nothing new of it.
            let decided = of_transactions(&write.mutations, DECIDED).filter_map(|(id, row)| row.map(|_| id));
            for id in prepared.chain(decided) {
                let fate = self.fates.entry(id).or_default();
                fate.maimed = true;
                if fate.landed.get(&partition).is_some_and(|(lsn, _)| *lsn > last) {
                    fate.landed.remove(&partition);
                }
            }
        }
    }

    /// Whether rows of a transaction are committed, and not gone.
    pub(super) fn is_anywhere(&self, id: TransactionId) -> bool {
        self.fates.get(&id).is_some_and(|fate| !fate.landed.is_empty())
    }

    /// A client is told how its transaction ended.
    pub(super) fn told(&self, id: TransactionId, deal: &Deal, committed: bool) -> Result<(), String> {
        let none = Fate::default();
        let fate = self.fates.get(&id).unwrap_or(&none);
        let is_so = if deal.writes.is_empty() { true } else { committed == fate.home.is_some() };
        if fate.maimed || is_so && (!committed || fate.is_whole(deal)) {
            return Ok(());
        }
        let said = if committed { "committed" } else { "not committed" };
        Err(format!("a client is told that {id} is {said}: {fate:?}, wanted was {:?}", deal.writes))
    }
}

/// At rest nothing is in doubt, and what is decided is everywhere.
pub(super) fn at_rest(world: &World) -> Result<(), String> {
    let counts = |partition: &PartitionId| {
        world.catalog().partition(*partition).is_some() && !world.is_given_up(*partition)
    };
    for (id, fate) in &world.checks.s9.fates {
        let Some(deal) = world.workload.transactions.get(id) else { continue };
        // What went with its database, or waits for its operator, is nobody's.
        if fate.maimed || !fate.prepared.keys().chain(&fate.decider).chain(&fate.home).all(counts) {
            continue;
        }
        let doubtful =
            fate.prepared.keys().find(|of| !fate.landed.contains_key(of) && !fate.dropped.contains(of));
        if let Some(partition) = doubtful {
            return Err(format!("at rest, {id} is in doubt in {partition}: {fate:?}"));
        }
        let half =
            fate.home.is_some() == fate.landed.is_empty() || fate.home.is_some() && !fate.is_whole(deal);
        if half || deal.told.is_some_and(|committed| committed != fate.home.is_some()) {
            return Err(format!("at rest, {id} is {fate:?}, and its client knows {deal:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use baton_model::DatabaseId;

    use super::*;

    const ID: TransactionId = TransactionId(1 << 70);

    fn partition(ordinal: u32) -> PartitionId {
        PartitionId { database: DatabaseId(1), ordinal }
    }

    fn fate() -> (Fate, Deal) {
        let writes = BTreeMap::from([((partition(0), 1), 1), ((partition(1), 2), 1)]);
        let mut fate = Fate { home: Some(partition(0)), ..Fate::default() };
        fate.landed.insert(partition(0), (Lsn(5), vec![(1, 1)]));
        fate.prepared.insert(partition(1), vec![(2, 1)]);
        let deal = Deal { writes, ..Deal::default() };
        (fate, deal)
    }

    #[test]
    fn half_a_transaction_is_found() {
        let (mut half, deal) = fate();
        assert!(half.is_whole(&deal), "the other half is prepared and will come");
        half.prepared.clear();
        assert!(!half.is_whole(&deal), "the other half is nowhere");
        let (mut given_up, deal) = fate();
        given_up.dropped.insert(partition(1));
        assert!(!given_up.is_whole(&deal));
    }

    #[test]
    fn a_client_that_is_told_what_is_not_so_is_found() {
        let (fate, deal) = fate();
        let mut s9 = S9::default();
        assert!(s9.told(ID, &deal, true).is_err(), "nothing of it is committed");
        assert_eq!(s9.told(ID, &deal, false), Ok(()));
        s9.fates.insert(ID, fate);
        assert_eq!(s9.told(ID, &deal, true), Ok(()));
        assert!(s9.told(ID, &deal, false).is_err());
    }
}
