//! A leaf: the instances that the catalog gives it, brought to what the catalog says of them.
//!
//! Wish and fact are kept apart: the catalog's mirror is the wish, [`Leaf::reconcile`] brings the running instances
//! to it, and each instance tells what it is now.
//!
//! * S7: the data of an instance that the catalog no longer gives to this leaf stays where it is, unless its whole
//!   database was dropped, or the master aggregator has it removed for an operator (`orphan.rs`).

mod backup;
mod chunk;
mod copy;
mod disk;
mod heavy;
mod lag;
mod lease;
mod links;
mod mirror;
mod orphan;
mod overlay;
mod partition;
mod read;
mod runs;
mod saved;
mod tail;
mod tenure;
#[cfg(test)]
mod tests;
mod within;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use baton_catalog::Catalog;
use baton_model::{DatabaseId, PartitionId, TableId};
use baton_replication::View;
use baton_storage::{CatalogStore, DataStore, StoreError};
use baton_transport::{Inbound, Outbound};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

pub use self::disk::open_data;
use self::tail::TailMark;
use crate::context::Context;
use crate::identity::IdentityError;
use crate::leaf::backup::Turns;
use crate::leaf::copy::Copies;
use crate::leaf::lag::LagReports;
use crate::leaf::partition::PartitionHandle;
use crate::tripwire;
use crate::wire::{DataRefusal, InstanceStatus};

/// Why a leaf cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory's identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The data folder is not this leaf's.
    #[error("{0} holds the data of another leaf; give this one its own, or an empty one")]
    OthersData(std::path::PathBuf),
    /// A record of a log, or what is kept beside it, is not what this version writes.
    #[error("the log of partition {0} has something that this version cannot read")]
    GarbledLog(PartitionId),
}

/// Writes of a leaf that are under way, at most: fewer than calls, so that a leaf whose writes all wait answers.
const WRITES_MAX: usize = 6144;

/// A leaf's instances.
pub struct Leaf {
    context: Arc<Context>,
    store: Arc<DataStore>,
    copies: Arc<Copies>,
    turns: Turns,
    /// A permit for each write that may be under way.
    writing: Semaphore,
    instances: RwLock<BTreeMap<PartitionId, Arc<PartitionHandle>>>,
    /// Where primaries say that replicas keep them waiting.
    lag: LagReports,
    /// That this run goes on, or has ended well.
    mark: Arc<Mutex<TailMark>>,
    /// Held while instances come and go, and while the data of one is removed.
    reconciling: tokio::sync::Mutex<()>,
}

impl Leaf {
    /// Opens the catalog's mirror and starts to follow the catalog, with the store that [`open_data`] opened.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn start(context: Arc<Context>, store: DataStore) -> Result<Arc<Self>, LeafError> {
        let store = Arc::new(store);
        let mirror = CatalogStore::open(&context.dir().path().join("catalog"))?;
        let stored = mirror.load()?;
        let mut seen = Seen::default();
        if stored.applied.is_some() {
            let catalog = Arc::new(Catalog::from_rows(stored.index, stored.rows));
            seen.note(&catalog);
            context.publish_catalog(catalog);
        }
        let shutdown = context.shutdown.clone();
        let (has_data, sync_failed) = (!store.partitions()?.is_empty(), store.has_failed_to_sync());
        let mark = TailMark::begin(context.dir().path(), has_data, sync_failed)?;
        // What fails from here on is noted for the next run.
        if sync_failed && let Err(error) = store.forget_failure() {
            warn!(%error, "that a sync has failed stays noted, and counts again at the next start");
        }
        if mark.lost_tail() {
            context.pulse.set_lost_tail();
        }
        let mark = Arc::new(Mutex::new(mark));
        let (lag, reports) = lag::reports();
        let copies = Copies::open(Arc::clone(&context), Arc::clone(&store))?;
        tripwire::spawn("the copies", &shutdown, Arc::clone(&copies).sweep_for_ever());
        let leaf = Arc::new(Self {
            context,
            store,
            copies,
            turns: Turns::default(),
            writing: Semaphore::new(WRITES_MAX),
            instances: RwLock::default(),
            lag,
            mark,
            reconciling: tokio::sync::Mutex::default(),
        });
        let noting = tail::note_when_known(Arc::clone(&leaf.context), Arc::clone(&leaf.mark));
        tokio::spawn(noting);
        tripwire::spawn("the reporter of lag", &shutdown, lag::send(Arc::clone(&leaf.context), reports));
        let following = mirror::follow(Arc::clone(&leaf.context), mirror);
        tripwire::spawn("the catalog's mirror", &shutdown, following);
        let reconciling = Arc::clone(&leaf).reconcile_for_ever(seen);
        tripwire::spawn("the reconciler", &shutdown, reconciling);
        tripwire::spawn("the keeper of transactions", &shutdown, Arc::clone(&leaf).keep_transactions());
        Ok(leaf)
    }

    /// Ends every instance and waits for it, so that the store is closed before the process is, and notes that nothing
    /// is lost with this run.
    pub async fn stop(&self) {
        for handle in self.all() {
            handle.stop().await;
        }
        self.instances.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.store.barrier().wait().await;
        let ended =
            tokio::task::block_in_place(|| self.mark.lock().unwrap_or_else(PoisonError::into_inner).end());
        if let Err(error) = ended {
            warn!(%error, "that this run has ended well could not be noted");
        }
    }

    /// How long the last sync took, in microseconds.
    #[must_use]
    pub fn last_sync_us(&self) -> u64 {
        self.store.barrier().last_sync_us()
    }

    /// How long the sync that goes on now has taken so far, in microseconds; 0 if none does.
    #[must_use]
    pub fn syncing_us(&self) -> u64 {
        self.store.barrier().syncing_us()
    }

    /// Committed records that are not applied yet, of all instances.
    #[must_use]
    pub fn apply_backlog(&self) -> u64 {
        self.all().iter().map(|handle| handle.status()).map(|s| s.commit.0.saturating_sub(s.applied.0)).sum()
    }

    /// How the instances are, and which data here belongs to none.
    #[must_use]
    pub fn status(&self) -> Vec<InstanceStatus> {
        let running = self.all().into_iter().map(|handle| handle.status());
        running.chain(self.orphans()).collect()
    }

    fn all(&self) -> Vec<Arc<PartitionHandle>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The running instance of a partition.
    ///
    /// # Errors
    /// [`DataRefusal::NotPrimary`] if there is none.
    pub fn instance(&self, partition: PartitionId) -> Result<Arc<PartitionHandle>, DataRefusal> {
        let instances = self.instances.read().unwrap_or_else(PoisonError::into_inner);
        instances.get(&partition).cloned().ok_or(DataRefusal::NotPrimary)
    }

    /// Sends a copy that was made here.
    pub fn send_copy(&self, partition: PartitionId, copy: u64, inbound: Inbound) -> Outbound {
        self.copies.serve(partition, copy, inbound)
    }

    async fn reconcile_for_ever(self: Arc<Self>, mut seen: Seen) {
        let mut catalogs = self.context.watch_catalog();
        loop {
            let catalog = catalogs.borrow_and_update().clone();
            if catalog.cluster().is_some()
                && let Err(error) = self.reconcile(&catalog, &mut seen).await
            {
                // The disk is not to be trusted any more: what is here must not be served (S2).
                error!(%error, "the data directory cannot be used; this leaf stops");
                self.context.shutdown.cancel();
                return;
            }
            tokio::select! {
                changed = catalogs.changed() => if changed.is_err() { return },
                () = self.context.shutdown.cancelled() => return,
            }
        }
    }

    async fn reconcile(&self, catalog: &Arc<Catalog>, seen: &mut Seen) -> Result<(), LeafError> {
        let me = self.context.node();
        let _reconciling = self.reconciling.lock().await;
        let wanted: BTreeSet<PartitionId> =
            catalog.partitions().filter(|p| p.role_of(me).is_some()).map(|p| p.id).collect();
        let running: Vec<Arc<PartitionHandle>> = self.all();
        for handle in &running {
            if !wanted.contains(&handle.partition()) {
                handle.stop().await;
                self.instances.write().unwrap_or_else(PoisonError::into_inner).remove(&handle.partition());
            }
        }
        self.remove_what_was_dropped(catalog, seen)?;
        for id in wanted {
            let known = self.instances.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
            let handle = match known {
                Some(handle) => handle,
                None => {
                    let (context, store) = (Arc::clone(&self.context), Arc::clone(&self.store));
                    let copies = Arc::clone(&self.copies);
                    let handle = PartitionHandle::start(context, store, copies, id, self.lag.clone())?;
                    self.instances
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(id, Arc::clone(&handle));
                    handle
                }
            };
            if let Some(view) = View::of(catalog, id, me, self.context.pulse.incarnation()) {
                handle.see(view).await;
            }
        }
        Ok(())
    }

    /// Removes the data of databases and tables that were dropped, now or while this leaf was down.
    fn remove_what_was_dropped(&self, catalog: &Catalog, seen: &mut Seen) -> Result<(), LeafError> {
        seen.note(catalog);
        let tables: BTreeSet<TableId> =
            catalog.databases_and_hidden().flat_map(|d| catalog.tables(d.id)).map(|t| t.schema.id).collect();
        let databases: BTreeSet<DatabaseId> =
            catalog.databases_and_hidden().map(|database| database.id).collect();
        let changed = seen.tables.as_ref() != Some(&tables);
        if !changed && seen.databases.as_ref() == Some(&databases) {
            return Ok(()); // What was dropped before has gone, and a failover must not wait for a look at the disk.
        }
        for partition in self.store.partitions()? {
            if catalog.database_by_id(partition.database).is_none() {
                if partition.database <= seen.newest_database {
                    info!(%partition, "its database was dropped");
                    self.store.drop_partition(partition)?;
                }
            } else if changed {
                for table in self.store.tables(partition)? {
                    if table <= seen.newest_table && !tables.contains(&table) {
                        info!(%partition, %table, "the table was dropped");
                        self.store.drop_table_rows(partition, table)?;
                    }
                }
            }
        }
        seen.tables = Some(tables);
        seen.databases = Some(databases);
        Ok(())
    }
}

/// What this process has seen in catalogs. Ids rise and are never given again: what is not in the catalog, but not newer
/// than something that was, has been dropped. What is newer, this leaf has yet to hear of, and its data stays: it may
/// have come from a primary whose catalog is ahead, and a mirror that was lost may begin anew with an old catalog.
#[derive(Default)]
struct Seen {
    newest_database: DatabaseId,
    newest_table: TableId,
    /// The tables, and the databases, of the last catalog that the store was compared with.
    tables: Option<BTreeSet<TableId>>,
    databases: Option<BTreeSet<DatabaseId>>,
}

impl Seen {
    fn note(&mut self, catalog: &Catalog) {
        for database in catalog.databases_and_hidden().map(|database| database.id) {
            self.newest_database = self.newest_database.max(database);
            let tables = catalog.tables(database).map(|table| table.schema.id);
            self.newest_table = tables.fold(self.newest_table, Ord::max);
        }
    }
}
