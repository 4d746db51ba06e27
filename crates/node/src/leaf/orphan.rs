//! Data on this leaf's disk that the catalog gives to nobody here.
//!
//! * S7: it goes by an operator's word alone, which the master aggregator passes on. This leaf believes it only if its
//!   own copy of the catalog is as new and says that the partition has another primary, which serves.
//! * S10: so a master aggregator that was deposed long ago has nothing removed.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_failover::may_clear;
use baton_model::{CatalogIndex, Lsn, PartitionId};
use tokio::time::timeout;
use tracing::{info, warn};

use super::Leaf;
use super::partition::Input;
use super::saved::orphan;
use crate::wire::{DrainRequest, InstanceStatus};

/// The catalog that takes an instance away must be here within this.
const CATALOG_MAX: Duration = Duration::from_secs(1);

impl Leaf {
    /// What is on the disk of partitions that have no instance here, as far as it can be read.
    pub(super) fn orphans(&self) -> Vec<InstanceStatus> {
        let running: BTreeSet<PartitionId> = self.all().iter().map(|handle| handle.partition()).collect();
        let catalog = self.context.catalog();
        let stored = self.store.partitions().unwrap_or_else(|error| {
            warn!(%error, "orphans cannot be listed");
            Vec::new()
        });
        stored
            .into_iter()
            .filter(|id| !running.contains(id) && catalog.database_by_id(id.database).is_some())
            .filter_map(|id| orphan(&self.store, id).ok())
            .collect()
    }

    /// Removes what is here of a partition.
    ///
    /// # Errors
    /// Why it must stay.
    pub async fn drop_orphan(&self, partition: PartitionId, index: CatalogIndex) -> Result<(), String> {
        let mut catalogs = self.context.watch_catalog();
        let _ = timeout(CATALOG_MAX, catalogs.wait_for(|catalog| catalog.index() >= index)).await;
        let _reconciling = self.reconciling.lock().await;
        let catalog = self.context.catalog();
        if catalog.index() < index {
            return Err(format!("this leaf has the catalog of {} only", catalog.index()));
        }
        if !may_clear(&catalog, self.context.node(), partition) {
            return Err(
                "the catalog gives it to this leaf, or its partition has no primary that serves".into()
            );
        }
        if self.instance(partition).is_ok() {
            return Err("its instance is about to end here".into());
        }
        info!(%partition, "an orphan is removed by an operator's word");
        tokio::task::block_in_place(|| self.store.drop_partition(partition))
            .map_err(|error| error.to_string())
    }

    /// Has an instance stop taking writes, for a planned change of primaries.
    ///
    /// # Errors
    /// Why it goes on as before.
    pub async fn drain(&self, request: &DrainRequest) -> Result<Lsn, String> {
        let DrainRequest { partition, epoch, to, drain_ms, hold_ms } = *request;
        let instance = self.instance(partition).map_err(|_| "there is no instance of it here".to_owned())?;
        let (drain, hold) = (Duration::from_millis(drain_ms), Duration::from_millis(hold_ms));
        // What transactions have not committed here would be lost: new ones wait, and those that are open end first.
        let tenure = instance.tenure().ok_or("it does not serve")?;
        let drained = async {
            let until = tenure.now() + 2 * drain + hold;
            let open = |count: usize| format!("{count} transactions are open that did not end in time");
            tenure.close(drain, until).await.map_err(open)?;
            let asked = instance.ask(|reply| Input::HandOver { epoch, to, drain, hold, reply }).await;
            asked.ok_or("its instance has ended")?.map_err(|error| error.to_string())
        };
        let drained = drained.await;
        if drained.is_err() {
            tenure.reopen();
        }
        drained
    }
}
