//! The compiled modules of this node, by hash; and who decides with which, as the catalog says.
//!
//! A module is compiled as soon as it is installed, off the async threads, so that nobody waits for that when it is
//! bound. It is compiled once, whoever asks first, and forgotten when the catalog has it no more.
//!
//! * S8: a bound module that is in quarantine decides nothing: native classic does. So does one that cannot be compiled,
//!   unless another one is bound for more than its part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_catalog::{BindingScope, Catalog, Command, Entry, PolicyModule, Severity, event_type};
use baton_model::{Blob, CatalogIndex};
use baton_policy::DecisionPoint;
use baton_policy_host::{BUILTINS, Binding, Bindings, BoundFor, Builtin, Failed, Module, PolicyHost};
use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::Aggregator;
use crate::server::wall_clock_ms;
use crate::wire::{Request, Response};

/// A statement that changes who decides waits no longer until every aggregator decides so.
const TAKE_EFFECT: Duration = Duration::from_secs(3);
/// How often the cluster is told of policies that fail.
const REPORT: Duration = Duration::from_millis(500);
/// A policy that fails again is told of again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(60);
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
            self.hold(&catalog);
            if decided_by.as_ref() != Some(&bindings) {
                let bound = self.modules.bound(&catalog).await;
                self.decider.rebind(bound);
                decided_by = Some(bindings);
            }
            self.modules.bound.store(catalog.index().0, Ordering::Release);
            tokio::select! {
                changed = catalogs.changed() => if changed.is_err() { return },
                () = self.context.shutdown.cancelled() => return,
            }
        }
    }

    /// Tells the cluster of policies that gave no valid answer here, once a minute each, and of those that this node asks no
    /// more, so that nobody asks them until an operator says so. As the master aggregator it installs what comes with its
    /// binary, if that is another one than the cluster was founded by.
    pub(super) async fn report_policies(self: Arc<Self>) {
        let mut reported: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = sleep(REPORT) => {}
                () = self.context.shutdown.cancelled() => return,
            }
            let catalog = self.context.catalog();
            self.hold(&catalog);
            let at = catalog.address_of(self.context.node());
            reported.retain(|_, at| at.elapsed() < REPORT_AGAIN);
            for Failed { module, hash, reason } in self.decider.take_failures() {
                if reported.contains_key(&hash) {
                    continue;
                }
                let details = format!(
                    "{module} gave no valid answer at {at}, native classic decided instead: {reason}"
                );
                let (severity, event_type) = (Severity::Error, event_type::POLICY_FALLBACK.to_owned());
                let told = Command::RecordEvent { severity, event_type, node: None, details };
                if self.tell_policy(&module, told).await {
                    reported.insert(hash, Instant::now());
                }
            }
            for Failed { module, hash, reason } in self.decider.quarantined() {
                error!(policy = module, hash, reason, "a policy is in quarantine");
                let reason = format!("{reason} (at {at})");
                // Refused is what is in quarantine already, or gone.
                if self.tell_policy(&module, Command::QuarantinePolicy { hash: hash.clone(), reason }).await {
                    self.decider.told(&hash);
                }
            }
            if self.group_status().is_leader && catalog.cluster().is_some() {
                self.install_built_in(&catalog).await;
            }
        }
    }

    /// Says whether the cluster was told.
    async fn tell_policy(&self, module: &str, command: Command) -> bool {
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        let told = self.propose_at_master(entry).await;
        if let Err(error) = &told {
            warn!(%error, policy = module, "the cluster was not told of a policy that failed");
        }
        told.is_ok()
    }

    /// What comes with the binary is there under its name, whatever version the cluster was founded by. What is bound stays
    /// bound to its bytes.
    async fn install_built_in(&self, catalog: &Catalog) {
        // One that an operator has dropped stays away.
        let is_another = |builtin: &&Builtin| {
            catalog.policy(builtin.name).is_some() && catalog.module(builtin.hash()).is_none()
        };
        for builtin in BUILTINS.iter().filter(is_another) {
            let module = match self.built_in(builtin).await {
                Ok(module) => module,
                Err(error) => {
                    error!(
                        policy = builtin.name,
                        error, "a policy that comes with the binary cannot be loaded"
                    );
                    continue;
                }
            };
            self.tell_policy(builtin.name, Command::InstallPolicy { module, replace: true }).await;
        }
    }

    /// A module that comes with the binary.
    ///
    /// # Errors
    /// That it is none, for people.
    pub(super) async fn built_in(&self, builtin: &Builtin) -> Result<PolicyModule, String> {
        let module = self.modules.get(builtin.hash(), builtin.bytes).await?;
        Ok(PolicyModule {
            name: module.name().to_owned(),
            version: module.manifest().version.clone(),
            hash: module.hash().to_owned(),
            decision_points: module.manifest().decision_points.iter().map(ToString::to_string).collect(),
            bytes: Blob::new(builtin.bytes),
            signature: None,
        })
    }

    fn hold(&self, catalog: &Catalog) {
        self.decider.hold(catalog.quarantines().map(|held| held.hash.clone()).collect());
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
