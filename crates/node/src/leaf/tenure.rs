//! What a primary has while it serves in one epoch: row locks, and the transactions that are open or prepared.
//!
//! It is made, with the locks of what is prepared, before anybody is served, and thrown away with the epoch; who waits
//! for a lock in it is told at once. The rules are [`Participant`]'s; here its effects are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::{Epoch, Key, PartitionId, TableId, TransactionId};
use baton_replication::transaction::{
    Aggregators, Answer, DECIDED, HORIZON, Home, Origin, PREPARED, Participant, ParticipantEffect as Effect,
    ParticipantEvent as Event, Place, Prepared, Refused, Request, Standing, TransactionSettings,
    WriteOutcome, horizon, key_of, transaction_of,
};
use baton_replication::{Grant, Owner, RowKey, Write, WriteError};
use baton_storage::DataStore;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::LeafError;
use super::partition::{Input, ServingEpoch};
use crate::context::Context;
use crate::wire::{DataRefusal, Knowledge, Request as Call, Response};

/// How long home may take to say how a transaction ended, before it is asked again.
const HOME_TIMEOUT: Duration = Duration::from_secs(2);

/// What an instance says of itself after each step, for those who show what they read of it.
#[derive(Default)]
pub struct Outlook {
    /// [`baton_replication::Instance::is_irreplaceable`].
    pub irreplaceable: AtomicBool,
    /// [`baton_replication::Instance::is_drained`].
    pub drained: AtomicBool,
}

/// One tenure.
pub struct Tenure {
    context: Arc<Context>,
    store: Arc<DataStore>,
    partition: PartitionId,
    epoch: Epoch,
    serving: Arc<ServingEpoch>,
    outlook: Arc<Outlook>,
    inbox: mpsc::WeakSender<Input>,
    core: Mutex<Core>,
    /// How many transactions are prepared. While there are none, readers need not look.
    in_doubt: AtomicUsize,
    /// A transaction is over.
    over: Notify,
    /// Transactions that were decided here since somebody last looked.
    pub decided: AtomicUsize,
    /// Nobody is served here any more.
    pub ended: CancellationToken,
}

struct Core {
    participant: Participant,
    waiters: BTreeMap<Owner, oneshot::Sender<()>>,
    tickets: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_ticket: u64,
    next_statement: u64,
    /// Transactions whose home is being asked.
    asking: BTreeSet<TransactionId>,
}

/// Who waits for a lock; it ends early if its transaction does.
pub type Waiting = oneshot::Receiver<()>;

/// What the catalog says of the aggregators.
pub fn aggregators(catalog: &Catalog) -> Aggregators {
    let standing =
        |node: &baton_catalog::Node| Standing { incarnation: node.incarnation, offline_at: node.offline_at };
    Aggregators {
        index: catalog.index(),
        standings: catalog.aggregators().map(|node| (node.id, standing(node))).collect(),
    }
}

/// Times that the catalog sets.
fn settings(catalog: &Catalog) -> TransactionSettings {
    TransactionSettings { idle_timeout: Duration::from_millis(catalog.number("transaction_idle_timeout_ms")) }
}

impl Tenure {
    /// Begins a tenure with what is prepared in the applied rows.
    ///
    /// # Errors
    /// If the disk cannot be read, or has a row that this version did not write.
    pub fn begin(
        context: Arc<Context>,
        store: Arc<DataStore>,
        partition: PartitionId,
        epoch: Epoch,
        serving: Arc<ServingEpoch>,
        outlook: Arc<Outlook>,
        inbox: mpsc::WeakSender<Input>,
    ) -> Result<Arc<Self>, LeafError> {
        let prepared = store.view(partition, |view| {
            let rows = view.scan(PREPARED, Bound::Unbounded, Bound::Unbounded);
            rows.map(|row| {
                let (key, row) = row?;
                let known = transaction_of(&key).zip(Prepared::from_row(&row));
                known.ok_or(LeafError::GarbledLog(partition))
            })
            .collect::<Result<Vec<_>, LeafError>>()
        })??;
        let catalog = context.catalog();
        let mut participant =
            Participant::take_over(context.clock.now(), partition, epoch, settings(&catalog), prepared);
        participant.step(context.clock.now(), Event::Aggregators(aggregators(&catalog)));
        let in_doubt = AtomicUsize::new(participant.prepared());
        let core = Core {
            participant,
            waiters: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            next_statement: 0,
            asking: BTreeSet::new(),
        };
        Ok(Arc::new(Self {
            context,
            store,
            partition,
            epoch,
            serving,
            outlook,
            inbox,
            core: Mutex::new(core),
            in_doubt,
            over: Notify::new(),
            // Whether there are too many already, is looked at soon.
            decided: AtomicUsize::new(usize::MAX / 2),
            ended: CancellationToken::new(),
        }))
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its partition.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The partition's rows.
    pub fn store(&self) -> &DataStore {
        &self.store
    }

    /// Whether what was read so far was read of the primary of this epoch.
    ///
    /// # Errors
    /// [`DataRefusal::NotPrimary`].
    pub fn still_serves(&self) -> Result<(), DataRefusal> {
        if self.serving.get() == Some(self.epoch) { Ok(()) } else { Err(DataRefusal::NotPrimary) }
    }

    /// Whether nobody can take this primary's place before it has asked for something; see
    /// [`baton_replication::Instance::is_irreplaceable`].
    pub fn is_irreplaceable(&self) -> bool {
        self.outlook.irreplaceable.load(Ordering::Acquire)
    }

    /// [`baton_replication::Instance::is_drained`].
    pub fn is_drained(&self) -> bool {
        self.outlook.drained.load(Ordering::Acquire)
    }

    /// What it shares with the rest of the process.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The time.
    pub fn now(&self) -> baton_model::Instant {
        self.context.clock.now()
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the participant something, or has it do something that has no effects.
    pub fn participant<T>(&self, ask: impl FnOnce(&mut Participant) -> T) -> T {
        ask(&mut self.core().participant)
    }

    /// Tells the participant something.
    pub fn step(self: &Arc<Self>, event: Event) {
        let now = self.context.clock.now();
        let mut core = self.core();
        let effects = core.participant.step(now, event);
        self.carry_out(core, effects);
    }

    /// Carries effects out; what reads the disk, after the lock is given back.
    fn carry_out(self: &Arc<Self>, mut core: MutexGuard<'_, Core>, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        self.in_doubt.store(core.participant.prepared(), Ordering::Release);
        let mut to_look_up = Vec::new();
        for effect in effects {
            match effect {
                Effect::Answer { ticket, answer } => {
                    if let Some(reply) = core.tickets.remove(&ticket) {
                        let _ = reply.send(answer);
                    }
                }
                Effect::AnswerFromRows { ticket, transaction, may_be_forgotten } => {
                    if let Some(reply) = core.tickets.remove(&ticket) {
                        to_look_up.push((reply, transaction, may_be_forgotten));
                    }
                }
                Effect::Write { transaction, write } => {
                    tokio::spawn(Arc::clone(self).write(transaction, write));
                }
                Effect::Ask { transaction, home } => {
                    // One question at a time; what the core still wants to know it asks again.
                    if core.asking.insert(transaction) {
                        tokio::spawn(Arc::clone(self).ask_home(transaction, home));
                    }
                }
                Effect::Granted(owners) => core.grant(owners),
                Effect::Over(transaction) => {
                    core.waiters.remove(&Owner::Transaction(transaction));
                    self.over.notify_waiters();
                }
                Effect::Report(what) => {
                    error!(partition = %self.partition, what, "something is not as it should be");
                }
            }
        }
        drop(core);
        for (reply, transaction, may_be_forgotten) in to_look_up {
            let answer = match self.look_up(transaction) {
                Ok(Knowledge::Committed) => Answer::Committed,
                Ok(Knowledge::Forgotten) if may_be_forgotten => Answer::Forgotten,
                Ok(_) => Answer::Aborted,
                Err(_) => Answer::NotPrimary,
            };
            let _ = reply.send(answer);
        }
    }

    /// What the rows say of a transaction, as the primary of this epoch has them.
    fn look_up(&self, transaction: TransactionId) -> Result<Knowledge, DataRefusal> {
        let get = |table, key: &[u8]| self.store.get(self.partition, table, key).map_err(super::write::disk);
        let decided = get(DECIDED, &key_of(transaction))?;
        let horizon = horizon(get(HORIZON, &[])?.as_deref());
        self.still_serves()?;
        Ok(match decided {
            Some(_) => Knowledge::Committed,
            None if horizon.is_some_and(|youngest| transaction <= youngest) => Knowledge::Forgotten,
            None => Knowledge::Nothing,
        })
    }

    /// What is known here of a transaction that no aggregator runs any more.
    pub fn knowledge(self: &Arc<Self>, transaction: TransactionId) -> Result<Knowledge, DataRefusal> {
        // What its aggregator left behind is dropped first.
        self.step(Event::Aggregators(aggregators(&self.context.catalog())));
        if self.participant(|participant| participant.knows(transaction)) {
            return Ok(Knowledge::Undecided);
        }
        self.look_up(transaction)
    }

    async fn write(self: Arc<Self>, transaction: TransactionId, write: Write) {
        if write.mutations.iter().any(|mutation| mutation.table == DECIDED) {
            self.decided.fetch_add(1, Ordering::Relaxed);
        }
        let outcome = self.commit(write).await;
        self.step(Event::Written { transaction, outcome });
    }

    /// Has a write committed in this epoch.
    pub async fn commit(&self, write: Write) -> WriteOutcome {
        let Some(inbox) = self.inbox.upgrade() else { return WriteOutcome::Deposed };
        let (reply, answer) = oneshot::channel();
        if inbox.send(Input::Write { epoch: self.epoch, write, reply }).await.is_err() {
            return WriteOutcome::Deposed;
        }
        match answer.await {
            Ok(Ok(_)) => WriteOutcome::Done,
            Ok(Err(WriteError::TooManyInFlight | WriteError::HandingOver)) => WriteOutcome::Busy,
            Ok(Err(WriteError::NotPrimary | WriteError::Deposed)) | Err(_) => WriteOutcome::Deposed,
        }
    }

    async fn ask_home(self: Arc<Self>, transaction: TransactionId, home: Home) {
        let catalog = self.context.catalog();
        let mut answer = None;
        if let Some(node) = catalog.serving(home.partition) {
            let request = Request::Inquire { transaction, place: home.place };
            let call = Call::Transaction { partition: home.partition, request };
            answer = self.context.ask(&node.rpc_address(), &call, HOME_TIMEOUT).await.ok();
            debug!(partition = %self.partition, %transaction, ?answer, "home was asked how it ended");
        }
        self.core().asking.remove(&transaction);
        if let Some(Response::Transaction(answer)) = answer {
            self.step(Event::Told { transaction, answer });
        }
    }

    /// Answers a request of a coordinator, or of another participant.
    pub async fn answer(self: &Arc<Self>, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        {
            let now = self.context.clock.now();
            let mut core = self.core();
            core.next_ticket += 1;
            let ticket = core.next_ticket;
            core.tickets.insert(ticket, reply);
            let effects = core.participant.step(now, Event::Request { ticket, request });
            self.carry_out(core, effects);
        }
        tokio::select! {
            answer = answer => answer.unwrap_or(Answer::NotPrimary),
            () = self.ended.cancelled() => Answer::NotPrimary,
        }
    }

    /// Time has passed; and the catalog says this now.
    pub fn tick(self: &Arc<Self>, catalog: &Catalog, changed: bool) {
        if changed {
            self.participant(|participant| participant.set(settings(catalog)));
            self.step(Event::Aggregators(aggregators(catalog)));
        }
        self.step(Event::Tick);
    }

    /// A statement of a transaction begins.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn enter(
        &self,
        transaction: TransactionId,
        origin: Origin,
        place: Option<Place>,
    ) -> Result<Place, Refused> {
        let now = self.context.clock.now();
        self.participant(|participant| participant.enter(now, transaction, origin, place))
    }

    /// Locks rows for a transaction; None if it has them now.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn lock(
        &self,
        transaction: TransactionId,
        place: Place,
        keys: impl IntoIterator<Item = RowKey>,
    ) -> Result<Option<Waiting>, Refused> {
        let mut core = self.core();
        Ok(match core.participant.lock(transaction, place, keys)? {
            Grant::Now => None,
            Grant::Later => Some(core.wait(Owner::Transaction(transaction))),
        })
    }

    /// A transaction's statement waits no more.
    pub fn give_up_waiting(&self, transaction: TransactionId) {
        let mut core = self.core();
        core.waiters.remove(&Owner::Transaction(transaction));
        let granted = core.participant.give_up_waiting(transaction);
        core.grant(granted);
    }

    /// Locks rows for a statement that is its own transaction; None if it has them now. They are given back when the
    /// lock goes.
    pub fn lock_for_statement(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = RowKey>,
    ) -> (StatementLock, Option<Waiting>) {
        let mut core = self.core();
        core.next_statement += 1;
        let number = core.next_statement;
        let waiting = match core.participant.lock_for_statement(number, keys) {
            Grant::Now => None,
            Grant::Later => Some(core.wait(Owner::Statement(number))),
        };
        (StatementLock { tenure: Arc::clone(self), number }, waiting)
    }

    /// Waits for the end of every transaction that may be committed already, is not finished here, and writes to rows of
    /// this table that are meant: what was acknowledged before is seen. What is prepared later is not waited for.
    ///
    /// # Errors
    /// [`DataRefusal::InDoubt`] if that takes too long, [`DataRefusal::NotPrimary`].
    pub async fn settled(
        &self,
        table: TableId,
        is_meant: impl Fn(&Key) -> bool,
        patience: Duration,
    ) -> Result<(), DataRefusal> {
        if self.in_doubt.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut awaited = self.participant(|participant| participant.in_doubt(table, is_meant));
        let deadline = Instant::now() + patience;
        loop {
            let over = self.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            self.participant(|participant| awaited.retain(|id| participant.has_prepared(*id)));
            if awaited.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = over => {}
                () = self.ended.cancelled() => return Err(DataRefusal::NotPrimary),
                () = sleep_until(deadline) => return Err(DataRefusal::InDoubt),
            }
        }
    }

    /// Opens no workspace for a while, and waits until those that are open have ended: a hand-over would lose them.
    ///
    /// # Errors
    /// How many are still open when the patience is over.
    pub async fn close(&self, patience: Duration, until: baton_model::Instant) -> Result<(), usize> {
        let deadline = Instant::now() + patience;
        self.participant(|participant| participant.close(until));
        loop {
            let over = self.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            let open = self.participant(|participant| participant.workspaces());
            if open == 0 {
                return Ok(());
            }
            tokio::select! {
                () = over => {}
                () = self.ended.cancelled() => return Err(open),
                () = sleep_until(deadline) => return Err(open),
            }
        }
    }

    /// Opens workspaces again.
    pub fn reopen(&self) {
        self.participant(|participant| participant.close(baton_model::Instant(0)));
    }

    /// Nobody is served any more.
    pub fn end(&self) {
        self.ended.cancel();
    }
}

impl Core {
    fn wait(&mut self, owner: Owner) -> Waiting {
        let (grant, waiting) = oneshot::channel();
        self.waiters.insert(owner, grant);
        waiting
    }

    fn grant(&mut self, owners: Vec<Owner>) {
        for owner in owners {
            if let Some(waiter) = self.waiters.remove(&owner) {
                let _ = waiter.send(());
            }
        }
    }
}

/// The row locks of a statement that is its own transaction.
pub struct StatementLock {
    tenure: Arc<Tenure>,
    number: u64,
}

impl Drop for StatementLock {
    fn drop(&mut self) {
        let mut core = self.tenure.core();
        core.waiters.remove(&Owner::Statement(self.number));
        let granted = core.participant.release_statement(self.number);
        core.grant(granted);
    }
}
