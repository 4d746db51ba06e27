//! What became of a transaction whose COMMIT was not answered (S12).
//!
//! Any aggregator can be asked. "Committed" is said as soon as one partition has it in its rows. "Not committed" takes
//! more: that no aggregator runs it any more, and that every partition, asked after that, in the epochs of a catalog that
//! is not older than the question, has nothing of it and has forgotten nothing as young, and that no data was given up
//! since it began.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::Catalog;
use baton_gateway::Answer;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{CatalogIndex, ColumnType, Datum, Epoch, PartitionId, TransactionId};
use futures::future::join_all;

use super::Aggregator;
use crate::local_sql::table;
use crate::wire::{Knowledge, Request, Response};

/// How long a node may take to say what it knows.
const ASK: Duration = Duration::from_secs(3);

/// The wall clocks of aggregators differ by no more.
const CLOCKS_APART_MS: u64 = 1_000;

/// What is known of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// `COMMITTED`, `NOT COMMITTED`, `UNDECIDED` or `UNKNOWN`.
    pub outcome: &'static str,
    /// What that means, or why it is not more.
    pub details: String,
}

fn verdict(outcome: &'static str, details: impl Into<String>) -> Verdict {
    Verdict { outcome, details: details.into() }
}

impl Aggregator {
    /// `SHOW TRANSACTION OUTCOME`.
    ///
    /// # Errors
    /// 1210 if that is no id.
    pub async fn show_transaction_outcome(&self, id: &str) -> Result<Answer, SqlError> {
        let transaction: TransactionId = id.trim().parse().map_err(|_| {
            let text =
                format!("'{id}' is no id of a transaction; @@baton_transaction_id says it while one is open");
            SqlError::new(ErrorCode::WrongArguments, text)
        })?;
        let Verdict { outcome, details } = self.outcome_of(transaction).await;
        const TEXT: ColumnType = ColumnType::Text;
        let row = [transaction.to_string(), outcome.to_owned(), details].map(Datum::Text).to_vec();
        Ok(table(&[("Transaction", TEXT), ("Outcome", TEXT), ("Details", TEXT)], vec![row]))
    }

    async fn outcome_of(&self, transaction: TransactionId) -> Verdict {
        // Whoever is primary now, is so in a catalog at least as new as this question.
        let newest = self.newest_catalog().await;
        let catalog = self.context.catalog();
        let runs = self.who_may_run(transaction, &catalog).await;
        let known = self.knowledge_of(transaction, &catalog).await;
        if known.values().any(|knowledge| *knowledge == Some(Knowledge::Committed)) {
            return verdict("COMMITTED", "It is committed");
        }
        if let Some(address) = runs {
            return verdict("UNDECIDED", format!("{address} runs it, or cannot be asked whether it does"));
        }
        for (partition, knowledge) in &known {
            let name = catalog.partition_name(*partition);
            match knowledge {
                None => return verdict("UNDECIDED", format!("Partition {name} cannot be asked now")),
                Some(Knowledge::Undecided) => {
                    return verdict("UNDECIDED", format!("Partition {name} is about to finish it"));
                }
                _ => {}
            }
        }
        if !newest {
            return verdict("UNDECIDED", "No master aggregator can say who the primaries are now");
        }
        if known.values().any(|knowledge| *knowledge == Some(Knowledge::Forgotten)) {
            return verdict("UNKNOWN", "It is so old that it may have been committed and forgotten");
        }
        let given_up_ms = catalog.given_up_ms();
        if given_up_ms > 0 && transaction.begun_us() / 1000 <= given_up_ms.saturating_add(CLOCKS_APART_MS) {
            let text = "Since it began a database was dropped, a primary forced, or a partition with ASYNC DURABILITY went \
                        on after a loss of power, and what was known of it there is gone";
            return verdict("UNKNOWN", text);
        }
        verdict("NOT COMMITTED", "It was never committed, and will not be")
    }

    /// Brings this node's catalog to what the master aggregator has now. Answers whether it is.
    async fn newest_catalog(&self) -> bool {
        let index = match self.current_catalog().await {
            Ok(catalog) => Some(catalog.index()),
            Err(_) => self.index_at_master().await,
        };
        let Some(index) = index else { return false };
        self.wait_for_index(index).await;
        self.context.catalog().index() >= index
    }

    async fn index_at_master(&self) -> Option<CatalogIndex> {
        let address = self.master_address()?;
        match self.context.ask(&address, &Request::CatalogIndex, ASK).await {
            Ok(Response::CatalogIndex(index)) => index,
            _ => None,
        }
    }

    /// An aggregator that runs the transaction, or that may. One that the catalog calls offline may not: the leaves
    /// take nothing more from it for what it began before.
    async fn who_may_run(&self, transaction: TransactionId, catalog: &Catalog) -> Option<String> {
        if self.runs(transaction) {
            return Some("This aggregator".into());
        }
        let me = self.context.node();
        let others = catalog.aggregators().filter(|node| node.id != me && node.is_online());
        let questions = others.map(|node| async {
            let transactions = vec![transaction];
            let question = Request::NotRunning { incarnation: node.incarnation, transactions };
            let answer = self.context.ask(&node.rpc_address(), &question, ASK).await;
            let is_over = matches!(&answer, Ok(Response::NotRunning(over)) if over.contains(&transaction));
            (!is_over).then(|| node.address())
        });
        join_all(questions).await.into_iter().flatten().next()
    }

    /// What every partition knows of it; None of those that cannot be asked.
    async fn knowledge_of(
        &self,
        transaction: TransactionId,
        catalog: &Catalog,
    ) -> BTreeMap<PartitionId, Option<Knowledge>> {
        let mut known: BTreeMap<PartitionId, Option<Knowledge>> =
            catalog.partitions().map(|partition| (partition.id, None)).collect();
        let mut by_leaf: BTreeMap<String, Vec<(PartitionId, Epoch)>> = BTreeMap::new();
        for partition in catalog.partitions() {
            if let Some(leaf) = catalog.serving(partition.id) {
                by_leaf.entry(leaf.rpc_address()).or_default().push((partition.id, partition.epoch));
            }
        }
        let questions = by_leaf.into_iter().map(|(leaf, partitions)| async move {
            let question = Request::Knowledge { transaction, partitions };
            self.context.ask(&leaf, &question, ASK).await
        });
        for answer in join_all(questions).await {
            if let Ok(Response::Knowledge(more)) = answer {
                known.extend(more.into_iter().map(|(partition, knowledge)| (partition, Some(knowledge))));
            }
        }
        known
    }
}
