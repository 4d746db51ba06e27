//! The compiled modules of this node, by hash; and who decides with which, as the catalog says.
//!
//! A module is compiled as soon as it is installed, off the async threads, so that nobody waits for that when it is
//! bound. It is compiled once, whoever asks first, and forgotten when the catalog has it no more.
//!
//! * S8: a bound module that cannot be compiled, or is in quarantine, decides nothing: native classic does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_catalog::{BindingScope, Catalog, Command, Entry, PolicyModule};
use baton_model::CatalogIndex;
use baton_policy::DecisionPoint;
use baton_policy_host::{Binding, Bindings, BoundFor, Module, PolicyHost, Quarantined};
use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::Aggregator;
use crate::server::wall_clock_ms;
use crate::wire::{Request, Response};

/// A statement that changes who decides waits no longer until every aggregator decides so.
const TAKE_EFFECT: Duration = Duration::from_secs(3);
/// How often the cluster is told of policies in quarantine.
const REPORT: Duration = Duration::from_millis(500);
/// Between two questions to an aggregator whether it does.
const ASK_AGAIN: Duration = Duration::from_millis(20);

type Compiled = Arc<OnceCell<Result<Arc<Module>, String>>>;

/// The compiled modules of this node.
pub(super) struct Modules {
    host: PolicyHost,
    compiled: Mutex<BTreeMap<String, Compiled>>,
    /// The index of the catalog by which this node decides.
    bound: AtomicU64,
}

impl Modules {
    pub(super) fn new(host: PolicyHost) -> Self {
        Self { host, compiled: Mutex::default(), bound: AtomicU64::new(0) }
    }

    /// The module of these bytes, which have that hash; compiled now if it was not.
    ///
    /// # Errors
    /// Why it is no policy, for people.
    pub(super) async fn get(&self, hash: &str, bytes: &[u8]) -> Result<Arc<Module>, String> {
        let cell = {
            let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(compiled.entry(hash.to_owned()).or_default())
        };
        let compile = || async {
            let (host, bytes) = (self.host.clone(), bytes.to_vec());
            let compiled = tokio::task::spawn_blocking(move || host.compile(&bytes)).await;
            compiled.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        };
        cell.get_or_init(compile).await.clone()
    }

    /// Forgets what the catalog has no more.
    pub(super) fn retain(&self, catalog: &Catalog) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|hash, _| catalog.module(hash).is_some());
    }

    /// Everybody who may decide, or is asked beside.
    async fn bound(&self, catalog: &Catalog) -> Bindings {
        let mut bound = Bindings::default();
        for binding in catalog.bindings() {
            let Ok(point) = binding.decision_point.parse::<DecisionPoint>() else { continue };
            let Some(stored) = catalog.module(&binding.hash) else { continue };
            let module = match self.get(&stored.hash, &stored.bytes).await {
                Ok(module) => module,
                Err(error) => {
                    error!(policy = binding.policy, %error, "a bound policy cannot be loaded");
                    continue;
                }
            };
            let scope = match binding.scope {
                BindingScope::Cluster => BoundFor::Cluster,
                BindingScope::Group(group) => BoundFor::Group(group),
                BindingScope::Database(id) => match catalog.database_by_id(id) {
                    Some(database) => BoundFor::Database(database.name.clone()),
                    None => continue,
                },
            };
            let with = Binding { module, settings: binding.settings.clone() };
            if binding.shadow {
                bound.shadow(point, scope, with);
            } else {
                bound.bind(point, scope, with);
            }
        }
        bound
    }

    /// The index of the catalog by which this node decides.
    pub(super) fn bound_index(&self) -> CatalogIndex {
        CatalogIndex(self.bound.load(Ordering::Acquire))
    }
}

impl Aggregator {
    /// Compiles what is installed and forgets what is not. Older versions that nobody is bound to wait until they are.
    pub(super) async fn follow_modules(self: Arc<Self>) {
        let mut catalogs = self.context.watch_catalog();
        let mut known = BTreeSet::new();
        loop {
            let catalog = catalogs.borrow_and_update().clone();
            let installed: BTreeSet<String> = catalog.modules().map(|module| module.hash.clone()).collect();
            if installed != known {
                self.modules.retain(&catalog);
                let is_bound = |module: &&PolicyModule| catalog.bindings().any(|b| b.hash == module.hash);
                let bound: Vec<&PolicyModule> = catalog.modules().filter(is_bound).collect();
                for module in bound.into_iter().chain(catalog.policies()) {
                    if let Err(error) = self.modules.get(&module.hash, &module.bytes).await {
                        error!(policy = module.name, error, "a policy that is installed cannot be loaded");
                    }
                }
                known = installed;
            }
            tokio::select! {
                changed = catalogs.changed() => if changed.is_err() { return },
                () = self.context.shutdown.cancelled() => return,
            }
        }
    }

    /// Keeps the bound policies as the catalog says. To compile one takes seconds while processors are busy, and no node
    /// goes without pings and a lease meanwhile.
    pub(super) async fn follow_bindings(self: Arc<Self>) {
        let mut catalogs = self.context.watch_catalog();
        let mut decided_by = None;
        loop {
            let catalog = catalogs.borrow_and_update().clone();
            let bindings: Vec<_> = catalog.bindings().cloned().collect();
            let quarantines: Vec<_> = catalog.quarantines().cloned().collect();
            let wanted = Some((bindings, quarantines));
            if wanted != decided_by {
                let bound = self.modules.bound(&catalog).await;
                let held = catalog.quarantines().map(|held| held.hash.clone()).collect();
                self.decider.rebind(bound, held);
                decided_by = wanted;
            }
            self.modules.bound.store(catalog.index().0, Ordering::Release);
            tokio::select! {
                changed = catalogs.changed() => if changed.is_err() { return },
                () = self.context.shutdown.cancelled() => return,
            }
        }
    }

    /// Tells the cluster of policies that this node asks no more, so that nobody asks them until an operator says so.
    pub(super) async fn report_quarantined(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = sleep(REPORT) => {}
                () = self.context.shutdown.cancelled() => return,
            }
            for held in self.decider.quarantined() {
                let Quarantined { module, hash, reason } = held;
                error!(policy = module, hash, reason, "a policy is in quarantine");
                let reason =
                    format!("{reason} (at {})", self.context.catalog().address_of(self.context.node()));
                let command = Command::QuarantinePolicy { hash: hash.clone(), reason };
                let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
                match self.propose_at_master(entry).await {
                    // Refused is what is in quarantine already, or gone.
                    Ok(_) => self.decider.told(&hash),
                    Err(error) => warn!(%error, policy = module, "a policy in quarantine is not told of yet"),
                }
            }
        }
    }

    /// The index of the catalog by which this node decides, for whoever asks.
    pub fn bound_index(&self) -> CatalogIndex {
        self.modules.bound_index()
    }

    /// Waits, a bounded time, until every aggregator that is online decides by the catalog of this index or a later one.
    /// Who does not say so is named in the log: it does so as soon as it has that catalog.
    pub(super) async fn await_bound(&self, index: CatalogIndex) {
        let deadline = Instant::now() + TAKE_EFFECT;
        let catalog = self.context.catalog();
        let asked = catalog.aggregators().filter(|node| node.is_online()).map(|node| async move {
            let address = node.rpc_address();
            loop {
                let bound = if node.id == self.context.node() {
                    Some(self.bound_index())
                } else {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match self.context.ask(&address, &Request::BoundIndex, left).await {
                        Ok(Response::BoundIndex(bound)) => Some(bound),
                        _ => None,
                    }
                };
                if bound.is_some_and(|bound| bound >= index) {
                    return;
                }
                if Instant::now() >= deadline {
                    warn!(node = node.address(), %index, "an aggregator does not say that it decides by the new bindings");
                    return;
                }
                sleep(ASK_AGAIN).await;
            }
        });
        join_all(asked).await;
    }
}
