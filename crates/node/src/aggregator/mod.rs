//! An aggregator: a member of the control group, an observer of all nodes, and a way into the cluster for clients.

mod addresses;
mod asking;
mod attach_detach;
mod auto_increment;
mod backup;
mod cluster;
mod degrade;
mod election;
mod execute;
mod feed;
mod gate;
mod leases;
mod long;
mod maintenance;
mod master;
mod members;
mod modules;
mod orphans;
mod outcome;
mod patience;
mod plans;
mod policies;
mod positions;
mod reference;
mod route;
mod session;
mod show;
mod show_plans;
mod show_policies;
mod supervisor;
mod switchover;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use baton_catalog::Decision as Record;
use baton_consensus::{ControlConfig, ControlGroup, RaftWire, Status, WireError};
use baton_failover::{HeldBack, Known};
use baton_model::limits::{DECISIONS_KEPT, HEARTBEAT_INTERVAL_MS};
use baton_model::{NodeId, TransactionId};
use baton_policy_host::{Decider, PolicyHost};
use baton_transport::heartbeat::HeartbeatShell;
use bytes::Bytes;
use tokio::sync::{OnceCell, watch};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::context::Context;
use crate::detection::{Judge, Judged, judge};
use crate::node::{StartError, check_place};
use crate::ring::Ring;
use crate::tripwire;
use crate::wire::{Request, Response};
use addresses::Addresses;
use auto_increment::AutoIncrement;
use leases::Leases;
use long::LongStatements;
use modules::Modules;
use positions::Positions;

pub use feed::serve as serve_catalog;
pub use session::ClientSessions;

/// What an aggregator is made of.
pub struct Aggregator {
    /// Shared with everything else in the process.
    pub context: Arc<Context>,
    /// Asks the bound policies.
    pub decider: Arc<Decider>,
    modules: Modules,
    group: OnceCell<Arc<ControlGroup>>,
    group_status: watch::Sender<Status>,
    heartbeat: HeartbeatShell,
    judged: watch::Receiver<Arc<Judged>>,
    /// The decision that made this node campaign last, until it is recorded by the master aggregator it became.
    campaign: Mutex<Option<Record>>,
    /// AUTO_INCREMENT values that this aggregator may give out.
    auto_increment: AutoIncrement,
    /// Writes of reference tables are computed and proposed one after the other.
    reference_writes: tokio::sync::Mutex<()>,
    /// The backups and restores that this node carries out as the master aggregator.
    long: LongStatements,
    /// The transactions of its clients that are open.
    transactions: Mutex<BTreeSet<TransactionId>>,
    /// How far the logs of all instances are, while this node is the master aggregator.
    positions: Positions,
    /// What leaves may show of what they read, while this node is the master aggregator.
    leases: Arc<Leases>,
    /// What was decided for operators' statements and is not recorded yet.
    unrecorded: Mutex<Vec<Record>>,
    /// Where decisions are written down.
    ring: Arc<Ring>,
    /// What the catalog says of nodes, as evidence tells it.
    known: Arc<ArcSwap<Known>>,
    /// How many statements of clients wait for somebody who could carry them out.
    waiting: AtomicU32,
    /// Leaves that answer and are not used yet, while this node is the master aggregator.
    held_back: Mutex<BTreeMap<NodeId, HeldBack>>,
    /// Held while the members of the control group are changed, and while its office is handed over without consensus.
    members: tokio::sync::Mutex<()>,
    /// Leaves from which a hand-over takes a partition that is not known to be committed, and since when.
    handing_over: switchover::HandingOver,
}

/// The control group's way to the other members.
struct GroupWire(Arc<Context>);

#[async_trait::async_trait]
impl RaftWire for GroupWire {
    async fn call(
        &self,
        _target: NodeId,
        address: String,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, WireError> {
        match self.0.ask(&address, &Request::Raft(request.to_vec()), timeout).await {
            Ok(Response::Raft(answer)) => Ok(answer.into()),
            Ok(_) => Err(WireError::Unreachable(format!("{address} is no member of a control group"))),
            Err(error) => Err(WireError::Unreachable(error.to_string())),
        }
    }
}

impl Aggregator {
    /// Starts with what is on disk: as a member of its cluster, or waiting to found or to join one.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(context: Arc<Context>) -> Result<Arc<Self>, StartError> {
        let decider = Arc::new(Decider::default());
        let (tell, judged) = watch::channel(Arc::default());
        let ring = Arc::new(Ring::open(&context.dir().path().join("decisions")));
        let known = Arc::new(ArcSwap::from_pointee(Known::default()));
        let of_node = Arc::clone(&context);
        let judge_with = Judge {
            decider: Arc::clone(&decider),
            known: Arc::clone(&known),
            ring: Arc::clone(&ring),
            tell,
            node: Box::new(move || of_node.node()),
        };
        let leases = Arc::new(Leases::default());
        let (heartbeat, changes) = HeartbeatShell::start(
            Arc::clone(&context.pulse),
            context.clock,
            Duration::from_millis(HEARTBEAT_INTERVAL_MS),
            judge(judge_with),
            leases.lend(context.clock),
        )
        .map_err(|error| StartError::Internal(error.to_string()))?;
        let host = PolicyHost::new().map_err(|error| StartError::Internal(error.to_string()))?;
        let aggregator = Arc::new(Self {
            context: Arc::clone(&context),
            decider,
            modules: Modules::new(host),
            group: OnceCell::new(),
            group_status: watch::Sender::new(Status::default()),
            heartbeat,
            judged,
            campaign: Mutex::default(),
            auto_increment: AutoIncrement::default(),
            reference_writes: tokio::sync::Mutex::default(),
            long: LongStatements::default(),
            transactions: Mutex::default(),
            positions: Positions::default(),
            leases,
            unrecorded: Mutex::default(),
            ring,
            known,
            waiting: AtomicU32::new(0),
            held_back: Mutex::default(),
            members: tokio::sync::Mutex::default(),
            handing_over: switchover::HandingOver::default(),
        });
        if context.identity().cluster.is_some() {
            // CURRENT is RocksDB's own pointer to what is there: without it, the store would be created anew.
            let folder = context.dir().path();
            if context.identity().has_control && !folder.join("CURRENT").exists() {
                return Err(StartError::ControlLost(folder.to_path_buf()));
            }
            let group = aggregator.open_group().await?;
            if let Err(error) = check_place(&context) {
                // RocksDB must be closed before the process ends: what goes on in it then aborts.
                group.shutdown().await;
                return Err(error);
            }
        }
        tokio::spawn(log_changes(Arc::clone(&context), changes));
        let shutdown = &context.shutdown;
        tripwire::spawn("the pinged nodes' keeper", shutdown, Arc::clone(&aggregator).follow_nodes());
        tripwire::spawn("the bound policies' keeper", shutdown, Arc::clone(&aggregator).follow_bindings());
        tripwire::spawn("the reporter of policies", shutdown, Arc::clone(&aggregator).report_policies());
        tripwire::spawn("the compiler of policies", shutdown, Arc::clone(&aggregator).follow_modules());
        tripwire::spawn("the supervisor", shutdown, supervisor::supervise(Arc::clone(&aggregator)));
        tripwire::spawn("the gatherer of positions", shutdown, positions::gather(Arc::clone(&aggregator)));
        tripwire::spawn("the runner of plans", shutdown, plans::run(Arc::clone(&aggregator)));
        tripwire::spawn("the keeper of members", shutdown, members::keep(Arc::clone(&aggregator)));
        tripwire::spawn("elections", shutdown, election::campaign_when_told(Arc::clone(&aggregator)));
        Ok(aggregator)
    }

    /// Opens the control group's store of this node; a second time it does nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open_group(self: &Arc<Self>) -> Result<&Arc<ControlGroup>, StartError> {
        self.group
            .get_or_try_init(|| async {
                let wire = Arc::new(GroupWire(Arc::clone(&self.context)));
                let config = ControlConfig::default();
                let group = ControlGroup::open(self.context.dir().path(), self.context.node(), wire, config)
                    .await
                    .map_err(|error| StartError::Internal(error.to_string()))?;
                let group = Arc::new(group);
                self.leases.follow(Arc::clone(&group));
                self.context.note_control()?;
                self.context.publish_catalog(group.catalog());
                let following = Arc::clone(self).follow_group(Arc::clone(&group));
                tripwire::spawn("the control group's follower", &self.context.shutdown, following);
                Ok(group)
            })
            .await
    }

    /// Passes on what the control group says.
    async fn follow_group(self: Arc<Self>, group: Arc<ControlGroup>) {
        let mut catalogs = group.watch();
        let mut statuses = group.watch_status();
        loop {
            let catalog = catalogs.borrow_and_update().clone();
            if catalog.index() > self.context.catalog().index() {
                self.context.publish_catalog(catalog);
            }
            let status = statuses.borrow_and_update().clone();
            self.context.pulse.set_term(status.term);
            self.context.pulse.set_log_index(status.last_log_index);
            if let Some(fault) = &status.fault {
                if !self.context.shutdown.is_cancelled() {
                    error!(fault, "the control group of this node has stopped; the node stops");
                    self.context.shutdown.cancel();
                }
                return;
            }
            self.group_status.send_replace(status);
            tokio::select! {
                changed = catalogs.changed() => if changed.is_err() { break },
                changed = statuses.changed() => if changed.is_err() { break },
                () = self.context.shutdown.cancelled() => break,
            }
        }
        if !self.context.shutdown.is_cancelled() {
            error!("the control group of this node has ended; the node stops");
            self.context.shutdown.cancel();
        }
    }

    /// The control group, once there is one.
    #[must_use]
    pub fn group(&self) -> Option<&Arc<ControlGroup>> {
        self.group.get()
    }

    /// What the control group says of itself, now.
    #[must_use]
    pub fn group_status(&self) -> Status {
        self.group().map_or_else(Status::default, |group| group.status())
    }

    /// Every change of it.
    pub fn watch_group(&self) -> watch::Receiver<Status> {
        self.group_status.subscribe()
    }

    /// What was seen and judged.
    #[must_use]
    pub fn judged(&self) -> watch::Receiver<Arc<Judged>> {
        self.judged.clone()
    }

    /// The last index of this node's control group log.
    #[must_use]
    pub fn log_index(&self) -> u64 {
        self.group_status.borrow().last_log_index
    }

    /// Asks the others for their votes.
    pub async fn campaign(&self) {
        if let Some(group) = self.group()
            && let Err(error) = group.campaign().await
        {
            warn!(%error, "cannot campaign");
        }
    }

    fn held_back(&self) -> BTreeMap<NodeId, HeldBack> {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was decided for operators' statements: the supervisor records it with its next plan.
    fn keep_records(&self, records: Vec<Record>) {
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        unrecorded.extend(records);
        let too_many = unrecorded.len().saturating_sub(DECISIONS_KEPT);
        unrecorded.drain(..too_many);
    }

    fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut *self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold_back(&self, leaves: BTreeMap<NodeId, HeldBack>) {
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = leaves;
    }

    fn keep_campaign(&self, record: Record) {
        *self.campaign.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }

    fn last_campaign(&self) -> Option<Record> {
        self.campaign.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_campaign(&self) {
        *self.campaign.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps the pinged nodes and the interval as the catalog says.
    async fn follow_nodes(self: Arc<Self>) {
        let mut catalogs = self.context.watch_catalog();
        let mut addresses = Addresses::default();
        let mut targets = Vec::new();
        let mut interval = HEARTBEAT_INTERVAL_MS;
        loop {
            let catalog = catalogs.borrow_and_update().clone();
            let known = Known::of(&catalog, 0);
            if known != **self.known.load() {
                self.known.store(Arc::new(known));
            }
            let wanted = addresses.targets(&catalog, self.context.node()).await;
            if wanted != targets && self.heartbeat.set_targets(wanted.clone()).await.is_ok() {
                targets = wanted;
            }
            let wanted = catalog.number("heartbeat_interval_ms");
            if wanted != interval && self.heartbeat.set_interval(Duration::from_millis(wanted)).await.is_ok()
            {
                interval = wanted;
            }
            tokio::select! {
                changed = catalogs.changed() => if changed.is_err() { return },
                () = sleep(addresses::AGAIN), if addresses.has_names() => {}
                () = self.context.shutdown.cancelled() => return,
            }
        }
    }
}

async fn log_changes(
    context: Arc<Context>,
    mut changes: tokio::sync::mpsc::Receiver<baton_transport::heartbeat::HealthChange>,
) {
    while let Some(change) = changes.recv().await {
        let address = context.catalog().address_of(change.node);
        info!(node = %change.node, address, from = %change.from, to = %change.to, reason = change.reason, "health");
    }
    if !context.shutdown.is_cancelled() {
        error!(
            "the heartbeat thread has ended; an aggregator that sees nobody must not decide: the node stops"
        );
        context.shutdown.cancel();
    }
}
