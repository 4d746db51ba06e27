//! The statements whose outcome an instance remembers, so that a retry is answered and not executed again (S12).
//!
//! It follows the log: an outcome comes with its record and goes when the record is cut.
//! Bounded: the oldest is forgotten first. An aggregator stops retrying long before.

use std::collections::{BTreeMap, VecDeque};

use baton_model::limits::PARTITION_OUTCOMES_KEPT;
use baton_model::{Lsn, StatementId};
use serde::{Deserialize, Serialize};

use crate::record::{Payload, Record};

/// What a statement came to in this partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatementOutcome {
    /// Where its record stands.
    pub lsn: Lsn,
    /// What the client is told.
    pub affected_rows: u64,
}

/// What is known of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// It is not in the log.
    No,
    /// It is in the log, but not committed yet.
    InFlight(StatementOutcome),
    /// It is committed and applied.
    Committed(StatementOutcome),
}

/// The outcomes, by statement and by age.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    by_statement: BTreeMap<StatementId, StatementOutcome>,
    by_age: VecDeque<(Lsn, StatementId)>,
}

impl Outcomes {
    pub(crate) fn note(&mut self, record: &Record) {
        if let Payload::Write(write) = &record.payload {
            let outcome = StatementOutcome { lsn: record.lsn, affected_rows: write.affected_rows };
            self.insert(write.statement, outcome);
        }
    }

    pub(crate) fn insert(&mut self, statement: StatementId, outcome: StatementOutcome) {
        self.by_statement.insert(statement, outcome);
        self.by_age.push_back((outcome.lsn, statement));
        if self.by_age.len() > PARTITION_OUTCOMES_KEPT
            && let Some((_, oldest)) = self.by_age.pop_front()
        {
            self.by_statement.remove(&oldest);
        }
    }

    pub(crate) fn cut(&mut self, last: Lsn) {
        while let Some((lsn, statement)) = self.by_age.back()
            && *lsn > last
        {
            self.by_statement.remove(statement);
            self.by_age.pop_back();
        }
    }

    pub(crate) fn get(&self, statement: StatementId) -> Option<StatementOutcome> {
        self.by_statement.get(&statement).copied()
    }

    /// All of them up to an LSN, oldest first.
    pub(crate) fn up_to(&self, last: Lsn) -> Vec<(StatementId, StatementOutcome)> {
        self.by_age
            .iter()
            .take_while(|(lsn, _)| *lsn <= last)
            .filter_map(|(_, statement)| Some((*statement, self.get(*statement)?)))
            .collect()
    }
}
