//! Whether what was read here of a primary is the present, and may be shown to anybody.
//!
//! It is if this instance still serves, and either nobody can have taken its place without its knowledge, or it holds a
//! lease from the master aggregator by a catalog that this leaf has applied. It is asked *after* the rows are read: a
//! process that slept in between must not send what it read before (checklist 11).
//!
//! A write that is committed needs no lease, because its replicas would refuse it. What a statement says without a
//! commit (that no row is meant, or that a key is taken) was only read, and needs one.

use std::time::Duration;

use baton_model::Key;
use baton_model::limits::LEAF_READ_LEASE_WAIT_MS;
use tokio::time::{Instant, sleep, timeout_at};

use super::tenure::Tenure;
use super::write::Made;
use crate::wire::DataRefusal;

/// How often a read without lease looks again, if nothing tells that it is worth it earlier.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// When a read that begins now has waited long enough for a lease.
pub fn patience() -> Instant {
    Instant::now() + Duration::from_millis(LEAF_READ_LEASE_WAIT_MS)
}

impl Tenure {
    /// Whether rows that were read in this tenure are the present.
    ///
    /// # Errors
    /// [`DataRefusal::NotPrimary`] for good, [`DataRefusal::NoLease`] for now.
    pub fn may_show(&self) -> Result<(), DataRefusal> {
        // In this order: it was so in this epoch, if it still serves in it afterwards.
        let irreplaceable = self.is_irreplaceable();
        self.still_serves()?;
        let context = self.context();
        let catalog = context.catalog();
        if self.is_drained() {
            // Another primary may serve already: a planned change waits for no lease to run out.
            return Err(DataRefusal::NoLease);
        }
        if irreplaceable || !catalog.switch("leaf_read_lease") {
            return Ok(());
        }
        // What the instance is yet to be told counts as well.
        let known = catalog.partition(self.partition());
        if !known.is_some_and(|known| known.epoch == self.epoch() && known.primary == context.node()) {
            return Err(DataRefusal::NotPrimary);
        }
        if context.pulse.holds_lease(self.now(), catalog.index()) {
            Ok(())
        } else {
            Err(DataRefusal::NoLease)
        }
    }

    /// What a statement came to, if the rows that it was made of are the present; that is for the commit to say, but
    /// where nothing is to be committed, and where it failed.
    ///
    /// # Errors
    /// As [`Tenure::may_show`], and its own.
    pub fn shown<T: Outcome>(&self, made: Result<T, DataRefusal>) -> Result<T, DataRefusal> {
        let is_only_read = match &made {
            Ok(made) => made.is_only_read(),
            Err(refusal) => matches!(refusal, DataRefusal::Failed(_)),
        };
        if is_only_read {
            self.may_show()?;
        }
        made
    }

    /// Waits until it may, if a lease is all that is missing.
    ///
    /// # Errors
    /// As [`Tenure::may_show`].
    pub async fn until_it_may_show(&self, deadline: Instant) -> Result<(), DataRefusal> {
        let mut renewed = self.context().pulse.renewed();
        loop {
            renewed.borrow_and_update();
            match self.may_show() {
                Err(DataRefusal::NoLease) if Instant::now() < deadline => {}
                answer => return answer,
            }
            let news = async {
                tokio::select! {
                    _ = renewed.changed() => {}
                    () = sleep(LOOK_AGAIN) => {}
                }
            };
            let _ = timeout_at(deadline, news).await;
        }
    }
}

/// What a statement came to on the rows that it read.
pub trait Outcome {
    /// Whether nothing is to be committed by it.
    fn is_only_read(&self) -> bool;
}

impl Outcome for Made {
    fn is_only_read(&self) -> bool {
        self.mutations.is_empty()
    }
}

/// Keys that were chosen are only where to look again.
impl Outcome for Vec<Key> {
    fn is_only_read(&self) -> bool {
        false
    }
}
