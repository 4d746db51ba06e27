//! Statements of transactions at the primary, and what leaf and aggregators ask each other about them.
//!
//! A statement locks its rows and puts what it does into its transaction's workspace; nothing is in any log before the
//! commit. It sees what is committed under what its transaction has written.
//!
//! * Deadlocks: the statement that closes a circle of waits among this leaf's partitions is told at once. Circles over
//!   several leaves are found by the aggregators, which gather who waits for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{RECORD_BYTES_MAX, TRANSACTION_OUTCOMES_KEPT, TRANSACTIONS_OPEN_MAX};
use baton_model::{
    CatalogIndex, Epoch, Incarnation, NodeId, PartitionId, StatementId, TableId, TransactionId,
};
use baton_replication::transaction::{
    Answer, DECIDED, Decided, HORIZON, Overlay, ParticipantEvent, Refused, Request, WriteOutcome, horizon,
    horizon_mutation, key_of, transaction_of,
};
use baton_replication::{Mutation, Write, deadlock};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::tenure::Tenure;
use super::write::{Made, Rows, Work, to_its_end, wait_for};
use super::{Leaf, heavy};
use crate::wire::{
    DataRefusal, Knowledge, Membership, Request as Call, Response, TakeBackRequest, Within, WriteRequest,
    WrittenWithin,
};

/// Time passes for transactions in steps of this.
const TICK: Duration = Duration::from_millis(50);
/// How often aggregators are asked whether they still run what is idle; and how long it was idle then.
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// How long a question about old transactions may take.
const QUESTION: Duration = Duration::from_secs(3);
/// So many outcomes beyond those that are kept are removed at once.
const PRUNE_STEP: usize = 1_000;

impl From<Refused> for DataRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Gone => Self::RolledBack,
            Refused::HandingOver => Self::HandingOver,
            Refused::TooMany => {
                let text = format!("At most {TRANSACTIONS_OPEN_MAX} transactions are open in a partition");
                Self::Failed(SqlError::new(ErrorCode::TooBig, text))
            }
            Refused::TooLarge => {
                let text =
                    format!("A transaction writes at most {RECORD_BYTES_MAX} bytes of rows in one partition");
                Self::Failed(SqlError::new(ErrorCode::TooBig, text))
            }
        }
    }
}

impl Tenure {
    /// What a reader's transaction has written to a table.
    ///
    /// # Errors
    /// [`DataRefusal::RolledBack`].
    pub fn overlay_of(&self, within: Option<&Within>, table: TableId) -> Result<Overlay, DataRefusal> {
        let Some(Within { transaction, place, .. }) = within else { return Ok(Overlay::new()) };
        let now = self.now();
        Ok(self.participant(|participant| participant.overlay(now, *transaction, *place, table))?)
    }
}

impl Leaf {
    /// Carries out a statement of a transaction. Goes on to its end even if the caller goes away.
    ///
    /// # Errors
    /// [`DataRefusal`].
    pub async fn write_within(
        self: &Arc<Self>,
        request: WriteRequest,
        member: Membership,
    ) -> Result<WrittenWithin, DataRefusal> {
        let leaf = Arc::clone(self);
        to_its_end(async move {
            let _room = leaf.room_to_write()?;
            leaf.write_as_member(request, member).await
        })
        .await
    }

    async fn write_as_member(
        &self,
        request: WriteRequest,
        member: Membership,
    ) -> Result<WrittenWithin, DataRefusal> {
        let instance = self.instance(request.partition)?;
        let tenure = instance.tenure().ok_or(DataRefusal::NotPrimary)?;
        if member.place.is_some_and(|place| place.epoch > tenure.epoch()) {
            return Err(DataRefusal::NotPrimary);
        }
        let WriteRequest { statement, lock_wait_ms, operation, .. } = request;
        let patience = Duration::from_millis(lock_wait_ms);
        let _run = instance.runs.begin(statement).await;
        let Membership { transaction, origin, place, number, keep } = member;
        let place = tenure.enter(transaction, origin, place)?;
        let answer = |affected_rows| -> Result<WrittenWithin, DataRefusal> {
            let has_written = tenure.participant(|participant| {
                participant.workspace(transaction, place).map(|workspace| !workspace.is_empty())
            })?;
            Ok(WrittenWithin { place, affected_rows, has_written })
        };
        let earlier = tenure.participant(|participant| {
            participant.workspace(transaction, place).map(|workspace| workspace.answer_to(number))
        })?;
        if let Some(affected_rows) = earlier {
            return answer(affected_rows);
        }
        let work = Work::of(operation)?;
        let table = work.table();
        let within = Within { transaction, place, locked_only: false };
        let overlay = tenure.overlay_of(Some(&within), table)?;
        let keys = tenure.shown(work.keys(&tenure, &overlay, patience).await)?;
        let wanted = keys.iter().map(|key| (table, key.clone()));
        if let Some(granted) = tenure.lock(transaction, place, wanted)? {
            if deadlock(&self.waits(), transaction).is_some() {
                tenure.give_up_waiting(transaction);
                return Err(DataRefusal::Deadlock);
            }
            if let Err(refusal) = wait_for(granted, &tenure, patience).await {
                tenure.give_up_waiting(transaction);
                return Err(refusal);
            }
        }
        let rows = Rows { tenure: &tenure, overlay: &overlay };
        let made = heavy::run(keys.len(), || work.make(&rows, &keys));
        tenure.still_serves()?;
        let Made { mutations, affected_rows } = tenure.shown(made)?;
        let now = self.context.clock.now();
        tenure.participant(|participant| {
            participant.put(now, transaction, place, (number, keep), mutations, affected_rows)
        })?;
        answer(affected_rows)
    }

    /// Takes back what statements of a transaction did.
    ///
    /// # Errors
    /// [`DataRefusal::RolledBack`], [`DataRefusal::NotPrimary`], [`DataRefusal::NoLease`].
    pub fn take_back(&self, request: &TakeBackRequest) -> Result<WrittenWithin, DataRefusal> {
        let TakeBackRequest { partition, transaction, place, after, begun } = *request;
        let tenure = self.instance(partition)?.tenure().ok_or(DataRefusal::NotPrimary)?;
        if place.epoch > tenure.epoch() {
            return Err(DataRefusal::NotPrimary);
        }
        let now = self.context.clock.now();
        let has_written = tenure.participant(|participant| {
            participant.take_back(now, transaction, place, (after, begun))?;
            participant.workspace(transaction, place).map(|workspace| !workspace.is_empty())
        })?;
        // Whoever asks relies on the locks that are still held, and a primary that was replaced knows nothing of those.
        tenure.may_show()?;
        Ok(WrittenWithin { place, affected_rows: 0, has_written })
    }

    /// Answers a coordinator, or a participant that asks home.
    pub async fn end_transaction(&self, partition: PartitionId, request: Request) -> Answer {
        match self.instance(partition).ok().and_then(|instance| instance.tenure()) {
            Some(tenure) => tenure.answer(request).await,
            None => Answer::NotPrimary,
        }
    }

    /// What is known of a transaction in these partitions, of which each primary must have at least that epoch. What a
    /// partition cannot say is left out.
    pub fn knowledge(
        &self,
        transaction: TransactionId,
        asker_knows: CatalogIndex,
        partitions: &[(PartitionId, Epoch)],
    ) -> Vec<(PartitionId, Knowledge)> {
        if self.context.catalog().index() < asker_knows {
            return Vec::new();
        }
        let known = partitions.iter().filter_map(|(partition, epoch)| {
            let tenure = self.instance(*partition).ok()?.tenure()?;
            let knowledge = (tenure.epoch() >= *epoch).then(|| tenure.knowledge(transaction).ok())??;
            Some((*partition, knowledge))
        });
        known.collect()
    }

    /// Which of these transactions a partition still has prepared; None if its primary is not here, or of an older
    /// epoch.
    pub fn still_prepared(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        transactions: &[TransactionId],
    ) -> Option<Vec<TransactionId>> {
        let tenure = self.instance(partition).ok()?.tenure().filter(|tenure| tenure.epoch() >= epoch)?;
        Some(tenure.participant(|participant| {
            transactions.iter().copied().filter(|id| participant.has_prepared(*id)).collect()
        }))
    }

    /// Which transactions wait for which, in all partitions whose primaries are here.
    pub fn waits(&self) -> BTreeSet<(TransactionId, TransactionId)> {
        let tenures = self.all().into_iter().filter_map(|handle| handle.tenure());
        tenures.flat_map(|tenure| tenure.participant(|participant| participant.locks().waits())).collect()
    }

    /// Lets time pass for all transactions, tells them what becomes of aggregators, and removes old outcomes.
    pub(super) async fn keep_transactions(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = CatalogIndex(0);
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.context.shutdown.cancelled() => return,
            }
            let catalog = self.context.catalog();
            let changed = catalog.index() > seen;
            seen = catalog.index();
            let tenures: Vec<Arc<Tenure>> =
                self.all().into_iter().filter_map(|handle| handle.tenure()).collect();
            for tenure in &tenures {
                tenure.tick(&catalog, changed);
            }
            if looked.elapsed() >= IDLE_LOOK {
                looked = Instant::now();
                tokio::spawn(Arc::clone(&self).look_at_old_ones(tenures, catalog));
            }
        }
    }

    async fn look_at_old_ones(self: Arc<Self>, tenures: Vec<Arc<Tenure>>, catalog: Arc<Catalog>) {
        self.ask_about_idle_ones(&tenures, &catalog).await;
        for tenure in tenures {
            let decided = tenure.decided.load(std::sync::atomic::Ordering::Relaxed);
            if decided >= PRUNE_STEP
                && let Err(error) = self.prune(&tenure, &catalog).await
            {
                warn!(partition = %tenure.partition(), %error, "old outcomes of transactions are kept");
            }
        }
    }

    /// A rollback whose message was lost leaves a workspace that its aggregator knows nothing of.
    async fn ask_about_idle_ones(&self, tenures: &[Arc<Tenure>], catalog: &Catalog) {
        let now = self.context.clock.now();
        let mut by_aggregator: BTreeMap<(NodeId, Incarnation), BTreeSet<TransactionId>> = BTreeMap::new();
        for tenure in tenures {
            for (transaction, origin) in tenure.participant(|participant| participant.idle(now, IDLE_LOOK)) {
                let key = (origin.aggregator, origin.incarnation);
                by_aggregator.entry(key).or_default().insert(transaction);
            }
        }
        for ((aggregator, incarnation), transactions) in by_aggregator {
            let Some(node) = catalog.node(aggregator) else { continue };
            let transactions = transactions.into_iter().collect();
            let question = Call::NotRunning { incarnation, transactions };
            let answer = self.context.ask(&node.rpc_address(), &question, QUESTION).await;
            let Ok(Response::NotRunning(over)) = answer else { continue };
            for tenure in tenures {
                for transaction in &over {
                    tenure.step(ParticipantEvent::NotRunning(*transaction));
                }
            }
        }
    }

    /// Removes the oldest outcomes beyond those that are kept, of transactions that no participant has prepared.
    pub(super) async fn prune(&self, tenure: &Arc<Tenure>, catalog: &Catalog) -> Result<(), String> {
        tenure.decided.store(0, std::sync::atomic::Ordering::Relaxed);
        let reading = Arc::clone(tenure);
        let oldest = tokio::task::spawn_blocking(move || oldest(&reading)).await;
        let oldest = oldest.map_err(|error| error.to_string())??;
        if oldest.is_empty() {
            return Ok(());
        }
        let mut questions: BTreeMap<PartitionId, (Epoch, Vec<TransactionId>)> = BTreeMap::new();
        for (transaction, decided) in &oldest {
            for (partition, epoch) in &decided.prepared {
                let question = questions.entry(*partition).or_insert((*epoch, Vec::new()));
                question.0 = question.0.max(*epoch);
                question.1.push(*transaction);
            }
        }
        let mut kept: BTreeSet<TransactionId> = BTreeSet::new();
        for (partition, (epoch, transactions)) in questions {
            let question = Call::StillPrepared { partition, epoch, transactions: transactions.clone() };
            let answer = match catalog.serving(partition) {
                Some(node) => self.context.ask(&node.rpc_address(), &question, QUESTION).await.ok(),
                None => None,
            };
            match answer {
                Some(Response::StillPrepared(Some(prepared))) => kept.extend(prepared),
                _ => kept.extend(transactions),
            }
        }
        let gone = oldest.into_iter().map(|(id, _)| id).filter(|id| !kept.contains(id));
        let gone: Vec<TransactionId> = gone.collect();
        let Some(youngest) = gone.last().copied() else { return Ok(()) };
        // One that began long ago may have been committed lately: the horizon never goes back.
        let row = tenure.store().get(tenure.partition(), HORIZON, &[]).map_err(|error| error.to_string())?;
        let youngest = horizon(row.as_deref()).map_or(youngest, |before| before.max(youngest));
        let mut mutations: Vec<Mutation> =
            gone.iter().map(|id| Mutation { table: DECIDED, key: key_of(*id), row: None }).collect();
        mutations.push(horizon_mutation(youngest));
        let statement = StatementId(rand::random());
        let outcome = tenure.commit(Write { statement, affected_rows: 0, mutations }).await;
        debug!(partition = %tenure.partition(), outcomes = gone.len(), ?outcome, "old outcomes are removed");
        if outcome == WriteOutcome::Done && gone.len() == PRUNE_STEP {
            // There may be more.
            tenure.decided.store(PRUNE_STEP, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The oldest outcomes, if there are many more than are kept.
fn oldest(tenure: &Tenure) -> Result<Vec<(TransactionId, Decided)>, String> {
    let read = tenure.store().view(tenure.partition(), |view| {
        let all = || view.scan(DECIDED, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let beyond = all().count().saturating_sub(TRANSACTION_OUTCOMES_KEPT);
        if beyond < PRUNE_STEP {
            return Ok(Vec::new());
        }
        all()
            .take(PRUNE_STEP)
            .map(|row| {
                let (key, row) = row.map_err(|error| error.to_string())?;
                let known = transaction_of(&key).zip(Decided::from_row(&row));
                known.ok_or_else(|| "an outcome that this version cannot read".to_owned())
            })
            .collect()
    });
    read.map_err(|error| error.to_string())?
}
