//! What statements do at a primary, within a transaction or as one of their own: enter, lock, put, take back, read.
//!
//! Each call is answered at once and changes nothing outside the memory of this process.
//!
//! * A call that names a workspace finds exactly that one, and only while it is open.
//! * S9: a row is written under its lock.
//!
//! Not here: what becomes of it all (`ending.rs`), and what a workspace holds (`workspace.rs`).

use baton_model::limits::TRANSACTIONS_OPEN_MAX;
use baton_model::{Instant, TableId, TransactionId};

use super::{Entry, Participant, Stage};
use crate::locks::{Grant, Owner, RowKey};
use crate::record::Mutation;
use crate::transaction::message::{Origin, Place};
use crate::transaction::workspace::{NotPut, Overlay, Workspace};

/// Why a statement of a transaction is not carried out here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Its workspace is gone: the transaction has to be rolled back.
    Gone,
    /// Too many transactions are open here. Nothing has changed.
    TooMany,
    /// It has written too much. Nothing has changed.
    TooLarge,
    /// The primary is about to hand over, and what would be opened here would be lost. Nothing has changed.
    HandingOver,
}

impl From<NotPut> for Refused {
    fn from(why: NotPut) -> Self {
        match why {
            NotPut::TooLarge => Self::TooLarge,
            // Whoever sent it has gone on, and hears no answer.
            NotPut::Late => Self::Gone,
        }
    }
}

impl Participant {
    /// A statement of a transaction begins. Without a place it opens the workspace, or finds it opened by an earlier
    /// attempt whose answer was lost.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the workspace that is named is not there (any more), or its aggregator is gone;
    /// [`Refused::TooMany`].
    pub fn enter(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        origin: Origin,
        place: Option<Place>,
    ) -> Result<Place, Refused> {
        if self.aggregators.lack(&origin) {
            return Err(Refused::Gone);
        }
        if let Some(place) = place {
            self.open(transaction, place)?.touched = now;
            return Ok(place);
        }
        if let Some(entry) = self.entries.get_mut(&transaction) {
            entry.touched = now;
            return if matches!(entry.stage, Stage::Open) { Ok(entry.place) } else { Err(Refused::Gone) };
        }
        if now < self.closed_until {
            return Err(Refused::HandingOver);
        }
        if self.entries.len() >= TRANSACTIONS_OPEN_MAX {
            return Err(Refused::TooMany);
        }
        self.opened += 1;
        let place = Place { epoch: self.epoch, number: self.opened };
        let entry = Entry {
            place,
            origin: Some(origin),
            work: Workspace::default(),
            touched: now,
            stage: Stage::Open,
        };
        self.entries.insert(transaction, entry);
        Ok(place)
    }

    fn open(&mut self, transaction: TransactionId, place: Place) -> Result<&mut Entry, Refused> {
        let open = |entry: &&mut Entry| entry.place == place && matches!(entry.stage, Stage::Open);
        self.entries.get_mut(&transaction).filter(open).ok_or(Refused::Gone)
    }

    /// Locks rows for a transaction, or puts it in the queue.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn lock(
        &mut self,
        transaction: TransactionId,
        place: Place,
        keys: impl IntoIterator<Item = RowKey>,
    ) -> Result<Grant, Refused> {
        self.open(transaction, place)?;
        Ok(self.locks.acquire(Owner::Transaction(transaction), keys))
    }

    /// Locks rows for a statement that is its own transaction, or puts it in the queue.
    pub fn lock_for_statement(&mut self, number: u64, keys: impl IntoIterator<Item = RowKey>) -> Grant {
        self.locks.acquire(Owner::Statement(number), keys)
    }

    /// A statement that is its own transaction is over. Answers with the owners that now have what they waited for.
    pub fn release_statement(&mut self, number: u64) -> Vec<Owner> {
        self.locks.release(Owner::Statement(number))
    }

    /// A transaction's statement waits no more; it keeps the locks that it has.
    pub fn give_up_waiting(&mut self, transaction: TransactionId) -> Vec<Owner> {
        self.locks.give_up(Owner::Transaction(transaction))
    }

    /// What a statement does, under locks that the transaction has. `keep` is the oldest statement that may still be
    /// taken back.
    ///
    /// # Errors
    /// [`Refused::Gone`], [`Refused::TooLarge`].
    pub fn put(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        place: Place,
        (statement, keep): (u32, u32),
        mutations: Vec<Mutation>,
        affected_rows: u64,
    ) -> Result<(), Refused> {
        let missing = mutations
            .iter()
            .find(|m| !self.locks.is_held_by(transaction, &(m.table, m.key.clone())))
            .map(|m| m.table);
        let entry = self.open(transaction, place)?;
        assert_eq!(missing, None, "S9: a row is written under its lock");
        entry.touched = now;
        Ok(entry.work.put(statement, keep, mutations, affected_rows)?)
    }

    /// Takes back what statements after this one did, of as many as have been begun. Locks stay.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn take_back(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        place: Place,
        (after, begun): (u32, u32),
    ) -> Result<(), Refused> {
        let entry = self.open(transaction, place)?;
        entry.touched = now;
        entry.work.take_back(after, begun);
        Ok(())
    }

    /// A transaction's open workspace.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn workspace(&self, transaction: TransactionId, place: Place) -> Result<&Workspace, Refused> {
        let open = |entry: &&Entry| entry.place == place && matches!(entry.stage, Stage::Open);
        self.entries.get(&transaction).filter(open).map(|entry| &entry.work).ok_or(Refused::Gone)
    }

    /// A table's rows as a transaction has them, for a statement or a read of it.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn overlay(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        place: Place,
        table: TableId,
    ) -> Result<Overlay, Refused> {
        let entry = self.open(transaction, place)?;
        entry.touched = now;
        Ok(entry.work.overlay(table).cloned().unwrap_or_default())
    }
}
