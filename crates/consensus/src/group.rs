//! One member of the control group, as the node uses it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_catalog::{Catalog, Entry, Outcome};
use baton_model::{CatalogIndex, NodeId};
use baton_storage::{ControlMeta, ControlStore};
use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, InitializeError, LinearizableReadError, RaftError,
};
use openraft::{ChangeMembers, Instant as _, ReadPolicy, ServerState};
use tokio::sync::watch;

use crate::config::{
    ControlConfig, MEMBERSHIP_TIMEOUT, PROPOSAL_BYTES_MAX, PROPOSE_TIMEOUT, SNAPSHOT_TIMEOUT,
    TRANSFER_TIMEOUT, VOTER_LAG_MAX,
};
use crate::errors::{HandleError, MembershipError, OpenError, ProposeError};
use crate::feed::{CatalogFeed, FeedSource};
use crate::log_store::{LogStore, decode, encode};
use crate::network::{Connections, RaftWire};
use crate::server::{LeaderHeard, Server};
use crate::state_machine::StateMachine;
use crate::status::Status;
use crate::types::{Address, Metrics, Proposal, Raft, Types};

/// How often a status is looked at although openraft reports nothing new: a leader that nobody answers must be seen
/// to be none when its lease ends.
const STATUS_INTERVAL: Duration = Duration::from_millis(25);
/// How often a shutdown looks whether the store is free.
const RELEASE_INTERVAL: Duration = Duration::from_millis(2);
/// How long a shutdown waits for the store to be free.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member of the control group: a voter, or a learner that only follows. Share it in an `Arc`.
pub struct ControlGroup {
    me: NodeId,
    raft: Raft,
    server: Server,
    /// None after a shutdown.
    store: Mutex<Option<Arc<ControlStore>>>,
    feed: Arc<FeedSource>,
    status: watch::Receiver<Status>,
    heard: Arc<LeaderHeard>,
    lease: Duration,
    /// Until when this member helps nobody to be elected, itself included, because it has just started.
    grace: Instant,
}

impl ControlGroup {
    /// Opens the member `me` in the folder `control/` of its data directory, and starts it.
    ///
    /// A new member is in no group until it founds one ([`ControlGroup::found`]) or a leader adds it
    /// ([`ControlGroup::add_learner`]). A member that is its group's only voter leads when this returns.
    ///
    /// # Errors
    /// If the folder cannot be opened or is another member's.
    pub async fn open(
        dir: &Path,
        me: NodeId,
        wire: Arc<dyn RaftWire>,
        config: ControlConfig,
    ) -> Result<Self, OpenError> {
        let settings = config.raft().map_err(|error| OpenError::Config(error.to_string()))?;
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || open_store(&dir, me)).await;
        let (store, log, machine) = opened.map_err(start)??;
        let feed = machine.feed();
        let connections = Connections { me: me.0, wire };
        let raft = Raft::new(me.0, Arc::new(settings), connections, log, machine).await.map_err(start)?;

        // Asked of openraft itself, because what it reports is not filled in before it has begun to run.
        let alone =
            raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([me.0]));
        let alone = alone.await.map_err(start)?;
        let lease = config.lease();
        let heard = Arc::new(LeaderHeard::now());
        let status = watch_status(&raft, lease, Arc::clone(&heard));
        let grace = Instant::now() + lease;
        let server = Server::new(raft.clone(), grace, Arc::clone(&heard));
        let store = Mutex::new(Some(store));
        let group = Self { me, raft, server, store, feed, status, heard, lease, grace };
        if alone {
            group.lead_alone().await?;
        }
        Ok(group)
    }

    /// Founds the group with this member alone, which leads when this returns.
    ///
    /// # Errors
    /// [`OpenError::AlreadyFounded`] if the member is or was in a group.
    pub async fn found(&self, address: Address) -> Result<(), OpenError> {
        let members = std::collections::BTreeMap::from([(self.me.0, address)]);
        match self.raft.initialize(members).await {
            Ok(()) => self.lead_alone().await,
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(OpenError::AlreadyFounded),
            Err(error) => Err(start(error)),
        }
    }

    /// The only voter needs nobody's leave.
    async fn lead_alone(&self) -> Result<(), OpenError> {
        self.raft.trigger().elect(false).await.map_err(start)?;
        let ready = |metrics: &Metrics| {
            metrics.state == ServerState::Leader
                && metrics.last_applied.map(|last| last.index) == metrics.last_log_index
        };
        self.raft.wait(Some(TRANSFER_TIMEOUT)).metrics(ready, "the only voter leads").await.map_err(start)?;
        Ok(())
    }

    /// Proposes an entry and waits until it is committed and applied here: [`ControlGroup::catalog`] has it then.
    ///
    /// # Errors
    /// See [`ProposeError`]; after `Unknown` the same entry may be proposed again if it carries a statement id (S12).
    pub async fn propose(&self, entry: Entry) -> Result<Outcome, ProposeError> {
        let proposal = Proposal::new(entry).map_err(|_| ProposeError::TooBig(usize::MAX))?;
        if proposal.size() > PROPOSAL_BYTES_MAX {
            return Err(ProposeError::TooBig(proposal.size()));
        }
        match tokio::time::timeout(PROPOSE_TIMEOUT, self.raft.client_write(proposal)).await {
            Ok(Ok(written)) => Ok(written.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: self.other(forward.leader_id) })
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ProposeError::Stopped(fatal.to_string())),
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// The catalog as this member has it. It may be behind the leader's; see [`ControlGroup::linearize`].
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.feed.catalog()
    }

    /// The catalog as it changes. Several entries may come as one change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.feed.watch()
    }

    /// Every entry that is applied from an index (exclusive) on, or a snapshot first: for those who mirror the catalog.
    #[must_use]
    pub fn subscribe(&self, from: CatalogIndex) -> CatalogFeed {
        self.feed.subscribe(from)
    }

    /// How this member stands, now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.raft.metrics().borrow_watched(), self.lease, &self.heard)
    }

    /// How this member stands, as it changes. What it says may be a moment old, and much older right after the process
    /// was stopped and let go on: before acting as the leader, ask [`ControlGroup::is_leader`].
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether this member leads and no other can (S10).
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.status().is_leader
    }

    /// How long the last sync of the control log took, in microseconds: a vital sign.
    #[must_use]
    pub fn last_sync_us(&self) -> u64 {
        self.store().as_ref().map_or(0, |store| store.barrier().last_sync_us())
    }

    /// How long the sync that goes on now has taken so far, in microseconds; 0 if none does.
    #[must_use]
    pub fn syncing_us(&self) -> u64 {
        self.store().as_ref().map_or(0, |store| store.barrier().syncing_us())
    }

    /// How many syncs of the control log there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.store().as_ref().map_or(0, |store| store.barrier().syncs())
    }

    fn store(&self) -> MutexGuard<'_, Option<Arc<ControlStore>>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to be elected, and answers whether it was. A round of pre-votes comes first: while a leader lives, its
    /// lease refuses them and nothing is changed by the attempt. It is repeated for two leases, so that a leader that
    /// has just died is replaced as soon as its lease has ended; right after [`ControlGroup::open`], a lease later.
    ///
    /// A member that lacks entries which the others have is refused too, and always will be: so every voter that
    /// judges the leader dead must campaign sooner or later, and not only the first of them.
    ///
    /// # Errors
    /// If this member's control group has stopped.
    pub async fn campaign(&self) -> Result<bool, ProposeError> {
        let status = self.status();
        if !status.voters.contains(&self.me) {
            return Ok(false);
        }
        tokio::time::sleep_until(self.grace.into()).await;
        let end = Instant::now() + self.lease * 2;
        let decided = |metrics: &Metrics| {
            metrics.state == ServerState::Leader
                || (metrics.current_term > status.term && metrics.current_leader.is_some())
        };
        while Instant::now() < end {
            self.raft
                .trigger()
                .elect(true)
                .await
                .map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
            let waited = self.raft.wait(Some(self.lease / 4)).metrics(decided, "elected").await;
            if let Ok(metrics) = waited {
                return Ok(metrics.state == ServerState::Leader);
            }
            // Votes that are on their way are not asked for again.
            let counting = |metrics: &Metrics| metrics.state != ServerState::Candidate;
            let _ = self.raft.wait(Some(self.lease)).metrics(counting, "counted").await;
        }
        Ok(false)
    }

    /// Hands the leadership to another voter and waits until it leads.
    ///
    /// Once it has begun, this member proposes nothing any more, and there is no way back: so the other must first
    /// answer now and have the whole log, and is told again and again until it leads.
    ///
    /// # Errors
    /// `NotLeader` if this member does not lead; `Behind` if the other is no voter, does not answer, or lacks a part
    /// of the log: nothing was done. `Unknown` if nobody came to lead in time: somebody will, once the voters notice
    /// that they are not led ([`Status::unled_ms`]).
    pub async fn transfer_to(&self, to: NodeId) -> Result<(), ProposeError> {
        let status = self.status();
        if !status.is_leader {
            return Err(ProposeError::NotLeader { leader: status.leader });
        }
        if to == self.me {
            return Ok(());
        }
        // An answer from before may have been its last.
        let began = Instant::now();
        let ready = move |metrics: &Metrics| {
            Status::of_voters(metrics).contains(&to) && is_level(metrics, to, began.elapsed(), 0)
        };
        let waited = self.raft.wait(Some(self.lease * 2)).metrics(ready, "level").await;
        waited.map_err(|_| ProposeError::Behind(to))?;
        // Whoever leads instead is as good: the office has moved.
        let led = |metrics: &Metrics| {
            metrics.current_term > status.term && metrics.current_leader.is_some_and(|now| now != self.me.0)
        };
        let end = Instant::now() + TRANSFER_TIMEOUT;
        while Instant::now() < end {
            // The request to take over is sent once, and is ignored by whom an entry reaches after it.
            self.raft
                .trigger()
                .transfer_leader(to.0)
                .await
                .map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
            if self.raft.wait(Some(self.lease / 2)).metrics(led, "handed over").await.is_ok() {
                return Ok(());
            }
        }
        Err(ProposeError::Unknown)
    }

    /// Adds a member that follows only, or moves one to another address, and waits until it has what the group had.
    /// The new member must be open, with this id and an empty or its own folder.
    ///
    /// # Errors
    /// [`MembershipError::Unknown`] also if it is added but did not catch up in time.
    pub async fn add_learner(&self, id: NodeId, address: Address) -> Result<(), MembershipError> {
        let add = async {
            let added =
                self.raft.add_learner(id.0, address, false).await.map_err(|error| self.membership(error))?;
            let caught_up = |metrics: &Metrics| match &metrics.replication {
                Some(replication) => {
                    id == self.me
                        || replication.get(&id.0).is_some_and(|matched| *matched >= Some(added.log_id))
                }
                None => true,
            };
            let waited = self.raft.wait(Some(MEMBERSHIP_TIMEOUT)).metrics(caught_up, "caught up").await;
            waited.map_err(|_| MembershipError::Unknown)?;
            self.still_leader()
        };
        bounded(add).await
    }

    /// Makes exactly these members the voters; a voter that is not among them goes on as a learner. Those that are new
    /// must be learners already, and follow: one that never answers would be counted for a majority that then never is.
    ///
    /// # Errors
    /// See [`MembershipError`]; `Refused` while a new one does not follow.
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let (old, lease) = (self.status().voters, self.lease);
        let new: Vec<NodeId> = voters.difference(&old).copied().filter(|voter| *voter != self.me).collect();
        let follow = |metrics: &Metrics| new.iter().all(|id| is_level(metrics, *id, lease, VOTER_LAG_MAX));
        if self.raft.wait(Some(lease)).metrics(follow, "the new voters follow").await.is_err() {
            return Err(MembershipError::Refused(format!("{new:?} do not all follow yet")));
        }
        let voters: BTreeSet<u64> = voters.into_iter().map(|id| id.0).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), true).await
    }

    /// Removes a member, voter or learner. An id that was removed is never used again (a member that lost its disk
    /// comes back under a new one), because the group has trusted its promises.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn remove(&self, id: NodeId) -> Result<(), MembershipError> {
        if self.status().voters.contains(&id) {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id.0])), false).await
        } else {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id.0])), false).await
        }
    }

    /// Whether a member could become a voter now: it has answered this leader within the lease, and lags little.
    #[must_use]
    pub fn follows(&self, id: NodeId) -> bool {
        let metrics = self.raft.metrics();
        is_level(&metrics.borrow_watched(), id, self.lease, VOTER_LAG_MAX)
    }

    /// Waits until a member has answered after this was asked, and lags little. An answer from before may have been its
    /// last.
    ///
    /// # Errors
    /// `Behind` if it does not in time.
    pub async fn hears(&self, id: NodeId) -> Result<(), ProposeError> {
        let began = Instant::now();
        let level = move |metrics: &Metrics| is_level(metrics, id, began.elapsed(), VOTER_LAG_MAX);
        let waited = self.raft.wait(Some(self.lease * 2)).metrics(level, "level").await;
        waited.map(drop).map_err(|_| ProposeError::Behind(id))
    }

    /// Whether a member has, while this one leads, ever had a part of the log.
    #[must_use]
    pub fn has_followed(&self, id: NodeId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.replication.as_ref().and_then(|all| all.get(&id.0)).is_some_and(Option::is_some)
    }

    async fn change(&self, change: ChangeMembers<u64, Address>, retain: bool) -> Result<(), MembershipError> {
        let change = async {
            self.raft.change_membership(change, retain).await.map_err(|error| self.membership(error))?;
            Ok(())
        };
        bounded(change).await
    }

    fn still_leader(&self) -> Result<(), MembershipError> {
        let status = self.status();
        if status.is_leader { Ok(()) } else { Err(MembershipError::Unknown) }
    }

    fn membership(&self, error: RaftError<Types, ClientWriteError<Types>>) -> MembershipError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                MembershipError::NotLeader { leader: self.other(forward.leader_id) }
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                error @ (ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::EmptyMembership(_)
                | ChangeMembershipError::LearnerNotFound(_)),
            )) => MembershipError::Refused(error.to_string()),
            RaftError::APIError(_) => MembershipError::Unknown,
            RaftError::Fatal(fatal) => MembershipError::Stopped(fatal.to_string()),
        }
    }

    /// openraft names this member itself when it cannot say who else leads.
    fn other(&self, leader: Option<u64>) -> Option<NodeId> {
        leader.map(NodeId).filter(|leader| *leader != self.me)
    }

    /// Waits until this member, which must lead, has been confirmed by a majority after this call and has applied
    /// everything that was committed before it. Answers with the index that [`ControlGroup::catalog`] has reached.
    ///
    /// # Errors
    /// `NotLeader` if it does not lead or no majority answers.
    pub async fn linearize(&self) -> Result<CatalogIndex, ProposeError> {
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match tokio::time::timeout(PROPOSE_TIMEOUT, confirmed).await {
            Ok(Ok(_)) => Ok(self.catalog().index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: self.other(forward.leader_id) })
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ProposeError::Stopped(fatal.to_string())),
        }
    }

    /// Answers a request that another member's [`RaftWire`] sent.
    ///
    /// # Errors
    /// See [`HandleError`]; the caller's wire reports it as [`crate::WireError::Failed`].
    pub async fn handle(&self, request: &[u8]) -> Result<Bytes, HandleError> {
        let handled = tokio::time::timeout(SNAPSHOT_TIMEOUT, self.server.handle(request)).await;
        handled.unwrap_or_else(|_| Err(HandleError::Stopped("it does not answer".into())))
    }

    /// Stops this member. When it returns, the folder can be opened again.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!("the control group did not stop cleanly: {error}");
        }
        self.feed.close();
        let Some(store) = self.store().take() else { return };
        let released = async {
            while Arc::strong_count(&store) > 1 {
                tokio::time::sleep(RELEASE_INTERVAL).await;
            }
        };
        if tokio::time::timeout(RELEASE_TIMEOUT, released).await.is_err() {
            tracing::warn!("the control group's store is still in use after shutdown");
        }
    }
}

impl std::fmt::Debug for ControlGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControlGroup({}, {:?})", self.me, self.status())
    }
}

/// Whether a member has answered this leader within a time, and has the log but for `lag` entries at most.
fn is_level(metrics: &Metrics, id: NodeId, within: Duration, lag: u64) -> bool {
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&id.0).cloned().flatten());
    let answered = metrics.heartbeat.as_ref().and_then(|all| all.get(&id.0).copied().flatten());
    let last = metrics.last_log_index.unwrap_or(0);
    matched.is_some_and(|matched| matched.index + lag >= last)
        && answered.is_some_and(|at| at.elapsed() < within)
}

async fn bounded(change: impl Future<Output = Result<(), MembershipError>>) -> Result<(), MembershipError> {
    tokio::time::timeout(MEMBERSHIP_TIMEOUT, change).await.unwrap_or(Err(MembershipError::Unknown))
}

fn start(error: impl std::fmt::Display) -> OpenError {
    OpenError::Start(error.to_string())
}

fn open_store(dir: &Path, me: NodeId) -> Result<(Arc<ControlStore>, LogStore, StateMachine), OpenError> {
    let store = Arc::new(ControlStore::open(dir)?);
    match store.meta(ControlMeta::Member)? {
        Some(bytes) => {
            let found = NodeId(decode(&bytes).map_err(start)?);
            if found != me {
                return Err(OpenError::OtherMember { found, wanted: me });
            }
        }
        None => {
            store.put_meta(ControlMeta::Member, &encode(&me.0).map_err(start)?)?;
            store.barrier().wait_blocking();
        }
    }
    let log = LogStore::open(Arc::clone(&store)).map_err(start)?;
    let machine = StateMachine::open(Arc::clone(&store))?;
    Ok((store, log, machine))
}

/// Keeps a status up to date until the member stops.
fn watch_status(raft: &Raft, lease: Duration, heard: Arc<LeaderHeard>) -> watch::Receiver<Status> {
    let mut metrics = raft.metrics();
    let (sender, receiver) = watch::channel(Status::of(&metrics.borrow_watched(), lease, &heard));
    tokio::spawn(async move {
        loop {
            let changed = tokio::time::timeout(STATUS_INTERVAL, metrics.changed()).await;
            let mut next = Status::of(&metrics.borrow_watched(), lease, &heard);
            let ended = matches!(changed, Ok(Err(_)));
            if ended && next.fault.is_none() {
                next.fault = Some("the member was shut down".into());
            }
            if ended {
                next.is_leader = false;
            }
            if next.is_leader {
                heard.note();
            }
            sender.send_if_modified(|status| {
                let differs = status.differs(&next);
                *status = next;
                differs
            });
            if ended || sender.is_closed() {
                return;
            }
        }
    });
    receiver
}
