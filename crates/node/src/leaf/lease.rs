//! Whether what was read here of a primary is the present, and may be shown to anybody.
//!
//! It is if this instance still serves, and either nobody can have taken its place without its knowledge, or it holds a
//! lease from the master aggregator by a catalog that this leaf has applied. It is asked *after* the rows are read: a
//! process that slept in between must not send what it read before (checklist 11).
//!
//! A write that is committed needs no lease, because its replicas would refuse it. What a statement says without a
//! commit (that no row is meant, or that a key is taken) was only read, and needs one.

use std::time::Duration;

use baton_model::Epoch;
use baton_model::limits::LEAF_READ_LEASE_WAIT_MS;
use tokio::time::{Instant, sleep, timeout_at};

use super::partition::PartitionHandle;
use crate::wire::DataRefusal;

/// How often a read without lease looks again, if nothing tells that it is worth it earlier.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// When a read that begins now has waited long enough for a lease.
pub fn patience() -> Instant {
    Instant::now() + Duration::from_millis(LEAF_READ_LEASE_WAIT_MS)
}

impl PartitionHandle {
    /// Whether rows that were read since the instance was seen to serve in this epoch are the present.
    ///
    /// # Errors
    /// [`DataRefusal::NotPrimary`] for good, [`DataRefusal::NoLease`] for now.
    pub fn may_show(&self, epoch: Epoch) -> Result<(), DataRefusal> {
        // In this order: it was so in this epoch, if it still serves in it afterwards.
        let irreplaceable = self.is_irreplaceable();
        if self.serving_epoch() != Some(epoch) {
            return Err(DataRefusal::NotPrimary);
        }
        let catalog = self.context.catalog();
        if irreplaceable || !catalog.switch("leaf_read_lease") {
            return Ok(());
        }
        // What the instance is yet to be told counts as well.
        let known = catalog.partition(self.partition());
        if !known.is_some_and(|known| known.epoch == epoch && known.primary == self.context.node()) {
            return Err(DataRefusal::NotPrimary);
        }
        if self.context.pulse.holds_lease(self.context.clock.now(), catalog.index()) {
            Ok(())
        } else {
            Err(DataRefusal::NoLease)
        }
    }

    /// Waits until it may, if a lease is all that is missing.
    ///
    /// # Errors
    /// As [`PartitionHandle::may_show`].
    pub async fn until_it_may_show(&self, epoch: Epoch, deadline: Instant) -> Result<(), DataRefusal> {
        let mut renewed = self.context.pulse.renewed();
        loop {
            renewed.borrow_and_update();
            match self.may_show(epoch) {
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
