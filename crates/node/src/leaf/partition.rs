//! Runs one instance: brings it what happened, and carries out what it wants done.
//!
//! One task per instance owns the core. It takes everything that waits at once, so that many writes become one append
//! and one sync. Disk errors end the node: after one, nobody knows what is durable (S2). So does a panic.
//!
//! Not here: how what an instance keeps on disk is read (`saved.rs`), and what takes long for a replica
//! (`partition/catch_up.rs`).

mod catch_up;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use baton_catalog::{Command, Entry};
use baton_failover::LagReport;
use baton_model::{Epoch, Lsn, NodeId, PartitionId, StatementId};
use baton_replication::{
    Effect, Event, HandOverError, Instance, Known, Message, Payload, Record, StatementOutcome, View, Write,
    WriteError,
};
use baton_storage::DataStore;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::DropGuard;
use tracing::{error, info, warn};

use super::LeafError;
use super::copy::Copies;
use super::lag::LagReports;
use super::links::{LinkKeeper, Links, next_link};
use super::runs::Runs;
use super::saved::{EPOCHS, Epochs, OUTCOMES, load};
use super::tenure::{Outlook, Tenure};
use crate::context::Context;
use crate::server;
use crate::tripwire::Tripwire;
use crate::wire::{InstanceStatus, encode};

/// What waits for the task, at most; who has more waits itself.
const INBOX: usize = 4096;
/// What one instance may have asked of the master aggregator at the same time.
const PROPOSALS_MAX: usize = 4;
/// Time passes for the core in steps of this.
const TICK: Duration = Duration::from_millis(20);
/// An instance that is at rest, and of which nothing came for [`REST_AFTER`], is told that time passes this rarely: a
/// leaf may have thousands.
const TICK_AT_REST: Duration = Duration::from_millis(500);
/// Longer than anything that an instance does again and again.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What the task is told.
pub enum Input {
    /// For the core.
    Event(Event),
    /// A link is open; messages for it go into the channel.
    Link { peer: NodeId, link: u64, sender: mpsc::Sender<bytes::Bytes>, opened_here: bool },
    /// A write, its rows locked, and the epoch in which the instance served when it was begun.
    Write { epoch: Epoch, write: Write, reply: oneshot::Sender<Result<StatementOutcome, WriteError>> },
    /// A retry of a statement that the log holds.
    Await { statement: StatementId, reply: oneshot::Sender<Result<StatementOutcome, WriteError>> },
    /// Cut the log; the answer is how far the rows are.
    Snapshot { reply: oneshot::Sender<Lsn> },
    /// The instance is to hand over.
    HandOver {
        epoch: Epoch,
        to: NodeId,
        drain: Duration,
        hold: Duration,
        reply: oneshot::Sender<Result<Lsn, HandOverError>>,
    },
    /// What is known of a statement?
    Known { statement: StatementId, reply: oneshot::Sender<Known> },
    /// End.
    Stop { done: oneshot::Sender<()> },
}

/// The way to one running instance.
pub struct PartitionHandle {
    id: PartitionId,
    inbox: mpsc::Sender<Input>,
    serving: Arc<ServingEpoch>,
    status: Arc<ArcSwap<InstanceStatus>>,
    /// What it has as a primary that serves.
    tenure: Arc<ArcSwapOption<Tenure>>,
    /// The statements that write here now.
    pub runs: Arc<Runs>,
    /// What it was told last of what the catalog says.
    told: Mutex<Option<View>>,
}

/// The epoch in which an instance serves clients now; 0 while it does not.
#[derive(Default)]
pub struct ServingEpoch(AtomicU64);

impl ServingEpoch {
    /// The epoch; None while it does not serve.
    pub fn get(&self) -> Option<Epoch> {
        Some(Epoch(self.0.load(Ordering::Acquire))).filter(|epoch| *epoch > Epoch(0))
    }

    fn set(&self, epoch: Epoch) {
        self.0.store(epoch.0, Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }
}

impl PartitionHandle {
    /// Opens the instance's data and starts its task.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn start(
        context: Arc<Context>,
        store: Arc<DataStore>,
        copies: Arc<Copies>,
        id: PartitionId,
        lag: LagReports,
    ) -> Result<Arc<Self>, LeafError> {
        // It may be a hundred thousand records.
        let saved = tokio::task::block_in_place(|| load(&store, id))?;
        let instance = Instance::open(id, context.node(), saved);
        let (inbox, inputs) = mpsc::channel(INBOX);
        let serving = Arc::new(ServingEpoch::default());
        let tenure = Arc::new(ArcSwapOption::empty());
        let status = Arc::new(ArcSwap::from_pointee(status_of(&instance)));
        let task = Task {
            context,
            store: Arc::clone(&store),
            copies,
            sync: true,
            lag,
            serving: Arc::clone(&serving),
            tenure: Arc::clone(&tenure),
            outlook: Arc::default(),
            status: Arc::clone(&status),
            inbox: inbox.downgrade(),
            links: Links::default(),
            keeper: None,
            fetch: None,
            tickets: BTreeMap::new(),
            drains: BTreeMap::new(),
            next_ticket: 0,
            durable: Arc::default(),
            proposals: Arc::new(Semaphore::new(PROPOSALS_MAX)),
            pending: Vec::new(),
            instance,
        };
        tokio::spawn(task.run(inputs));
        let (runs, told) = (Arc::default(), Mutex::default());
        Ok(Arc::new(Self { id, inbox, serving, status, tenure, runs, told }))
    }

    /// Its partition.
    pub fn partition(&self) -> PartitionId {
        self.id
    }

    /// How it is.
    pub fn status(&self) -> InstanceStatus {
        InstanceStatus::clone(&self.status.load())
    }

    /// What it has as a primary, while it serves. An instance serves in an epoch once and without a break, so what was
    /// seen while it is this tenure was seen of its primary.
    pub fn tenure(&self) -> Option<Arc<Tenure>> {
        let serving = self.serving.get();
        self.tenure.load_full().filter(|tenure| Some(tenure.epoch()) == serving)
    }

    /// Tells it what the catalog says, if that is something else than it was told last.
    pub async fn see(&self, view: View) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.as_ref() == Some(&view) {
                return;
            }
            *told = Some(view.clone());
        }
        self.tell(Input::Event(Event::View(view))).await;
    }

    /// Tells its task something; nothing happens if the task has ended.
    pub async fn tell(&self, input: Input) {
        let _ = self.inbox.send(input).await;
    }

    /// Asks its task something.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Input) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(question(reply)).await;
        answer.await.ok()
    }

    /// Takes in a replica that wants to follow.
    pub async fn adopt(
        self: &Arc<Self>,
        peer: NodeId,
        sender: mpsc::Sender<bytes::Bytes>,
        inbound: baton_transport::Inbound,
    ) {
        let link = next_link();
        self.tell(Input::Link { peer, link, sender, opened_here: false }).await;
        tokio::spawn(super::links::read(self.inbox.downgrade(), peer, link, inbound));
    }

    /// Ends the task and waits until it has ended.
    pub async fn stop(&self) {
        self.ask(|done| Input::Stop { done }).await;
    }
}

fn status_of(instance: &Instance) -> InstanceStatus {
    let (last, commit, applied) = instance.positions();
    InstanceStatus {
        partition: instance.partition(),
        role: instance.role_name().to_owned(),
        serving: instance.serves(),
        epoch: instance.epoch(),
        last,
        commit,
        applied,
    }
}

/// The newest sync that has ended; a callback writes it, the task takes it.
#[derive(Default)]
struct DurableMark {
    newest: Mutex<Option<(Lsn, u64)>>,
    changed: Notify,
}

struct Task {
    context: Arc<Context>,
    store: Arc<DataStore>,
    copies: Arc<Copies>,
    instance: Instance,
    /// Whether the database wants its writes on disk before they are acknowledged, as the newest view says.
    sync: bool,
    lag: LagReports,
    serving: Arc<ServingEpoch>,
    tenure: Arc<ArcSwapOption<Tenure>>,
    /// Whether nobody can take its place before it has asked for something.
    outlook: Arc<Outlook>,
    status: Arc<ArcSwap<InstanceStatus>>,
    inbox: mpsc::WeakSender<Input>,
    links: Links,
    keeper: Option<LinkKeeper>,
    /// The copy that is being fetched.
    fetch: Option<DropGuard>,
    tickets: BTreeMap<u64, oneshot::Sender<Result<StatementOutcome, WriteError>>>,
    drains: BTreeMap<u64, oneshot::Sender<Result<Lsn, HandOverError>>>,
    next_ticket: u64,
    durable: Arc<DurableMark>,
    /// A permit for each proposal that may be under way at the master aggregator.
    proposals: Arc<Semaphore>,
    /// What effects brought about, for the next step.
    pending: Vec<Event>,
}

/// However the task ends, nobody is served by what it left behind.
impl Drop for Task {
    fn drop(&mut self) {
        self.serve_no_more();
    }
}

impl Task {
    async fn run(self, inputs: mpsc::Receiver<Input>) {
        let name = format!("the instance of {}", self.instance.partition());
        let wire = Tripwire::new(name, &self.context.shutdown);
        self.work(inputs).await;
        wire.disarm();
    }

    async fn work(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut ticked = self.context.clock.now();
        let mut busy = ticked;
        let durable = Arc::clone(&self.durable);
        let mut batch = Vec::new();
        loop {
            let mut events = std::mem::take(&mut self.pending);
            let rests = ticked.since(busy) >= REST_AFTER && self.instance.is_at_rest();
            if !events.is_empty() {
                // Others have their turn as well, on this thread and in this inbox.
                tokio::task::yield_now().await;
            } else {
                tokio::select! {
                    biased;
                    () = durable.changed.notified() => {}
                    count = inputs.recv_many(&mut batch, INBOX) => if count == 0 { return },
                    () = sleep(if rests { TICK_AT_REST } else { TICK }) => {}
                }
            }
            if rests {
                // Nobody owes anything: that the last tick was long ago is no stall of this process.
                ticked = self.context.clock.now();
                events.push(Event::Tick);
            }
            while batch.len() < INBOX
                && let Ok(input) = inputs.try_recv()
            {
                batch.push(input);
            }
            for input in batch.drain(..) {
                match input {
                    Input::Stop { done } => {
                        self.serve_no_more();
                        drop(self.keeper.take());
                        let _ = done.send(());
                        return;
                    }
                    Input::Known { statement, reply } => {
                        let _ = reply.send(self.instance.known(statement));
                    }
                    Input::Snapshot { reply } => {
                        events.push(Event::Snapshot);
                        let (_, _, applied) = self.instance.positions();
                        let _ = reply.send(applied);
                    }
                    input => events.extend(self.event(input)),
                }
            }
            let synced = durable.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
            events.extend(synced.map(|(lsn, cuts)| Event::Durable { lsn, cuts }));
            // Time passes under load as well, but after what came in: if this process slept, what others said
            // meanwhile must be heard before their silence is measured (S11).
            let now = self.context.clock.now();
            if now.since(ticked) >= TICK {
                ticked = now;
                events.push(Event::Tick);
            }
            if events.is_empty() {
                continue;
            }
            let waking = events.iter().any(|event| !matches!(event, Event::Tick));
            let effects = self.instance.step(now, events);
            // Before anybody hears of what it asks for.
            self.outlook.irreplaceable.store(self.instance.is_irreplaceable(), Ordering::Release);
            self.outlook.drained.store(self.instance.is_drained(), Ordering::Release);
            let quiet = effects.is_empty();
            if waking || !quiet {
                busy = now;
            }
            for effect in effects {
                if let Err(error) = self.carry_out(effect).await {
                    error!(partition = %self.instance.partition(), %error, "the disk failed; this leaf stops");
                    self.serve_no_more();
                    self.context.shutdown.cancel();
                    return;
                }
            }
            if !quiet {
                self.status.store(Arc::new(status_of(&self.instance)));
            }
        }
    }

    /// What is prepared is locked before anybody is served (S9).
    fn serve(&self) -> Result<(), LeafError> {
        let epoch = self.instance.epoch();
        let tenure = Tenure::begin(
            Arc::clone(&self.context),
            Arc::clone(&self.store),
            self.instance.partition(),
            epoch,
            Arc::clone(&self.serving),
            Arc::clone(&self.outlook),
            self.inbox.clone(),
        )?;
        self.tenure.store(Some(tenure));
        self.serving.set(epoch);
        Ok(())
    }

    fn serve_no_more(&self) {
        self.serving.clear();
        if let Some(tenure) = self.tenure.swap(None) {
            tenure.end();
        }
    }

    fn ticket(&mut self, reply: oneshot::Sender<Result<StatementOutcome, WriteError>>) -> u64 {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, reply);
        self.next_ticket
    }

    fn event(&mut self, input: Input) -> Option<Event> {
        match input {
            Input::Event(event) => {
                if let Event::View(view) = &event {
                    self.sync = view.sync_durability;
                }
                if let Event::LinkDown { link, .. } = &event {
                    self.links.close(*link);
                }
                Some(event)
            }
            Input::Write { epoch, write, reply } => {
                Some(Event::Write { ticket: self.ticket(reply), epoch, write })
            }
            Input::Await { statement, reply } => Some(Event::Await { ticket: self.ticket(reply), statement }),
            Input::HandOver { epoch, to, drain, hold, reply } => {
                self.next_ticket += 1;
                self.drains.insert(self.next_ticket, reply);
                Some(Event::HandOver { ticket: self.next_ticket, epoch, to, drain, hold })
            }
            Input::Link { peer, link, sender, opened_here: true } => {
                self.links.opened(peer, link, sender).then_some(Event::LinkUp { peer, link })
            }
            Input::Link { link, sender, opened_here: false, .. } => {
                self.links.adopt(link, sender);
                None
            }
            Input::Known { .. } | Input::Snapshot { .. } | Input::Stop { .. } => None,
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<(), LeafError> {
        let id = self.instance.partition();
        match effect {
            Effect::SaveEpochs { epoch, history } => {
                self.store.put_meta(id, EPOCHS, &encode(&Epochs { epoch, history }))?;
            }
            Effect::Append(records) => {
                let encoded: Vec<(Lsn, Vec<u8>)> =
                    records.iter().map(|record| (record.lsn, encode(record))).collect();
                self.store.append(id, &encoded)?;
            }
            Effect::Truncate(last) => self.store.truncate_after(id, last)?,
            Effect::Trim(before) => self.store.trim_before(id, before)?,
            Effect::SaveOutcomes(outcomes) => self.store.put_meta(id, OUTCOMES, &encode(&outcomes))?,
            Effect::Sync { lsn, cuts } => {
                if self.sync {
                    let mark = Arc::clone(&self.durable);
                    self.store.barrier().after_sync(move || {
                        *mark.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((lsn, cuts));
                        mark.changed.notify_one();
                    });
                } else {
                    self.pending.push(Event::Durable { lsn, cuts });
                }
            }
            Effect::Apply(records) => self.apply(id, records)?,
            Effect::Send { peer, link, message } => self.send(peer, link, &message),
            Effect::ReadLog { peer, link, from } => self.read_log(peer, link, from),
            Effect::Provision { peer, link, at_least, fresh } => {
                self.make_copy(peer, link, at_least, fresh);
            }
            Effect::FetchCopy { peer, link, copy } => self.fetch_copy(peer, link, copy),
            Effect::InstallCopy { copy, at, epoch, history, outcomes } => {
                // What the copy remembers of statements has no record in its log (S12).
                let meta = vec![(EPOCHS, encode(&Epochs { epoch, history })), (OUTCOMES, encode(&outcomes))];
                self.copies.install(id, copy, at, meta).await?;
                info!(partition = %id, %at, "a copy took the place of what was here");
            }
            Effect::Link(to) => {
                self.keeper = None;
                self.links.follow(to);
                if let (Some(to), Some(inbox)) = (to, self.inbox.upgrade()) {
                    self.keeper =
                        Some(LinkKeeper::start(Arc::clone(&self.context), id, to, inbox.downgrade()));
                }
            }
            Effect::CloseLink { link, .. } => self.links.close(link),
            Effect::Reply { ticket, result } => {
                if let Some(reply) = self.tickets.remove(&ticket) {
                    let _ = reply.send(result);
                }
            }
            Effect::ReportLag { epoch, version, replica, lag } => {
                let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let report = LagReport {
                    partition: id,
                    epoch,
                    version,
                    replica,
                    silent_ms: millis(lag.silent),
                    linked: lag.linked,
                    waiting_writes: lag.waiting_writes,
                    oldest_wait_ms: millis(lag.oldest_wait),
                };
                // If there is no room, it is said again in half a second.
                let _ = self.lag.try_send(report);
            }
            Effect::Drained { ticket, result } => {
                if let Some(reply) = self.drains.remove(&ticket) {
                    let _ = reply.send(result);
                }
            }
            Effect::RequestSyncState { epoch, version, replica, state, reason } => {
                let command = Command::SetSyncState { partition: id, epoch, version, replica, state, reason };
                self.propose(command);
            }
            Effect::RequestSynced { epoch, version } => {
                self.propose(Command::NoteSynced { partition: id, epoch, version });
            }
            Effect::Serve(serving) => {
                info!(partition = %id, epoch = %self.instance.epoch(), serving, "serves clients");
                if serving {
                    self.serve()?;
                } else {
                    self.serve_no_more();
                }
            }
            Effect::Report(what) => warn!(partition = %id, what, "something is not as it should be"),
            Effect::Halt(reason) => {
                error!(partition = %id, reason, "this instance stops: what it saw must never be");
                self.serve_no_more();
                self.keeper = None;
                self.fetch = None;
                self.links.close_all();
            }
        }
        Ok(())
    }

    fn apply(&self, id: PartitionId, records: Vec<Record>) -> Result<(), LeafError> {
        let Some(last) = records.last().map(|record| record.lsn) else { return Ok(()) };
        let mutations = records
            .into_iter()
            .filter_map(|record| match record.payload {
                Payload::Write(write) => Some(write.mutations),
                Payload::EpochStart => None,
            })
            .flatten()
            .map(|m| (m.table, m.key, m.row.map(|row| row.to_vec())));
        Ok(self.store.apply(id, last, mutations, &[])?)
    }

    /// A link that is full is as good as gone: the replica starts over from where it is.
    fn send(&mut self, peer: NodeId, link: u64, message: &Message) {
        let Some(sender) = self.links.sender(link) else { return };
        if sender.try_send(encode(message).into()).is_err() {
            self.links.close(link);
            self.pending.push(Event::LinkDown { peer, link });
        }
    }

    /// Asks the master aggregator for something, unless too much was asked already and not answered: what is still wanted
    /// then is asked for again.
    fn propose(&self, command: Command) {
        let Ok(permit) = Arc::clone(&self.proposals).try_acquire_owned() else { return };
        let entry = Entry { statement: None, at_ms: server::wall_clock_ms(), command };
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let _permit = permit;
            server::propose_at_master(context, entry).await;
        });
    }
}
