//! A leaf's copy of the catalog: watched from an aggregator, kept on disk, told to everybody here.
//!
//! A newer catalog is durable before anybody acts on it: a primary that waits for a replica because the catalog says
//! so must wait after a crash as well (S3).
//! The watch follows the pings: whoever sends those of the highest term is the master aggregator, and as soon as they
//! tell of a version that does not arrive, the watch moves to their sender.

use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, CatalogRow};
use baton_storage::CatalogStore;
use baton_transport::Inbound;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info};

use crate::context::Context;
use crate::wire::{CatalogNews, Opening, decode};

/// A watched aggregator that says nothing for this long is left for another one. It says something every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// A catalog that pings tell of must have arrived within this.
const LAG_MAX: Duration = Duration::from_millis(300);
/// Between two attempts to find an aggregator.
const RETRY: Duration = Duration::from_millis(100);
/// Entries that are made durable together, at most.
const BATCH_MAX: usize = 256;

/// Why a watch ended.
#[derive(Debug)]
enum End {
    /// Try the next aggregator.
    Next(String),
    /// The disk failed.
    Disk(baton_storage::StoreError),
}

/// Follows until the node stops.
pub async fn follow(context: Arc<Context>, store: CatalogStore) {
    let mut attempt = 0_usize;
    loop {
        let places = aggregators(&context);
        if let Some(address) = places.get(attempt % places.len().max(1)) {
            let ended = tokio::select! {
                ended = watch(&context, &store, address) => ended,
                () = context.shutdown.cancelled() => return,
            };
            match ended {
                End::Next(reason) => debug!(%address, reason, "the catalog is watched from elsewhere"),
                End::Disk(error) => {
                    error!(%error, "the catalog's copy cannot be written; this leaf stops");
                    context.shutdown.cancel();
                    return;
                }
            }
        }
        // The master aggregator, as pings tell, is always the first; after two attempts others get a turn.
        attempt += 1;
        tokio::select! {
            () = sleep(RETRY) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// Where to watch, the present master aggregator first and twice.
fn aggregators(context: &Context) -> Vec<String> {
    let catalog = context.catalog();
    let heard = *context.pulse.heard().borrow();
    let master = catalog.node(heard.from).filter(|node| !node.is_leaf()).map(|node| node.rpc_address());
    let mut places: Vec<String> = master.iter().chain(master.iter()).cloned().collect();
    places.extend(catalog.aggregators().map(|node| node.rpc_address()));
    if places.is_empty() {
        places = context.identity().aggregators;
    }
    places
}

async fn watch(context: &Context, store: &CatalogStore, address: &str) -> End {
    let mut catalog = Catalog::clone(&context.catalog());
    let opening = Opening::WatchCatalog { from: catalog.index() };
    let (_hold, mut news) = match context.open(address, &opening).await {
        Ok(stream) => stream,
        Err(error) => return End::Next(error.to_string()),
    };
    debug!(%address, from = %catalog.index(), "watching the catalog");
    let mut heard = context.pulse.heard();
    let mut behind_since: Option<Instant> = None;
    loop {
        let told = *heard.borrow_and_update();
        if told.catalog_index <= catalog.index() {
            behind_since = None;
        } else {
            behind_since.get_or_insert_with(Instant::now);
        }
        let patience = behind_since.map_or(SILENCE_MAX, |since| LAG_MAX.saturating_sub(since.elapsed()));
        let first = tokio::select! {
            first = timeout(patience, news.recv()) => first,
            changed = heard.changed() => if changed.is_ok() { continue } else { return End::Next("stop".into()) },
        };
        let message = match first {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(lost))) => return End::Next(lost.to_string()),
            Ok(None) => return End::Next("it ended the watch".into()),
            Err(_) => return End::Next("it is behind, or says nothing".into()),
        };
        let mut messages = vec![message];
        while messages.len() < BATCH_MAX
            && let Some(Ok(message)) = news.try_recv()
        {
            messages.push(message);
        }
        let before = catalog.index();
        if let Err(end) = take(store, &mut catalog, messages, &mut news).await {
            return end;
        }
        if catalog.index() > before {
            store.barrier().wait().await;
            context.publish_catalog(Arc::new(catalog.clone()));
        }
    }
}

async fn take(
    store: &CatalogStore,
    catalog: &mut Catalog,
    messages: Vec<bytes::Bytes>,
    news: &mut Inbound,
) -> Result<(), End> {
    let mut messages = messages.into_iter();
    while let Some(message) = messages.next() {
        match decode(&message).map_err(|garbled| End::Next(garbled.to_string()))? {
            CatalogNews::Alive => {}
            CatalogNews::Entry(index, entry) => {
                if index <= catalog.index() {
                    continue;
                }
                let applied = catalog.apply(index, &entry);
                let (puts, deletes): (Vec<_>, Vec<_>) =
                    applied.changed.into_iter().partition(|key| catalog.row(key).is_some());
                let puts = puts.iter().filter_map(|key| catalog.row(key));
                store.write(&[], index, puts, deletes).map_err(End::Disk)?;
            }
            CatalogNews::Snapshot { index, rows: count } => {
                let mut rows: Vec<CatalogRow> = Vec::new();
                while (rows.len() as u64) < count {
                    let message = match messages.next() {
                        Some(message) => message,
                        None => match timeout(SILENCE_MAX, news.recv()).await {
                            Ok(Some(Ok(message))) => message,
                            _ => return Err(End::Next("a snapshot broke off".into())),
                        },
                    };
                    match decode(&message) {
                        Ok(CatalogNews::Rows(more)) => rows.extend(more),
                        _ => return Err(End::Next("a snapshot has something else in it".into())),
                    }
                }
                if index > catalog.index() {
                    info!(%index, rows = rows.len(), "the catalog was taken over as a whole");
                    store.replace(&[], index, rows.iter().cloned()).map_err(End::Disk)?;
                    *catalog = Catalog::from_rows(index, rows);
                }
            }
            CatalogNews::Rows(_) => return Err(End::Next("rows without a snapshot".into())),
        }
    }
    Ok(())
}
