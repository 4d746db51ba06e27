//! What the catalog says of aggregators, and whose transactions can go on no more.
//!
//! * A catalog that is older than a transaction does not end it.
//!
//! Not here: who says that an aggregator is offline, and what becomes of its transactions.

use std::collections::BTreeMap;

use baton_model::{CatalogIndex, Incarnation, NodeId};

use crate::transaction::message::Origin;

/// What the catalog says of an aggregator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The run of its process.
    pub incarnation: Incarnation,
    /// Where the catalog last called it offline; 0 is never.
    pub offline_at: CatalogIndex,
}

/// All aggregators as a catalog has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aggregators {
    /// The catalog's index.
    pub index: CatalogIndex,
    /// Each of them.
    pub standings: BTreeMap<NodeId, Standing>,
}

impl Aggregators {
    /// Whether a transaction of this origin can go on no more. A catalog that is older than it cannot say so.
    #[must_use]
    pub fn lack(&self, origin: &Origin) -> bool {
        self.index >= origin.began_at
            && self.standings.get(&origin.aggregator).is_none_or(|standing| {
                standing.incarnation != origin.incarnation || standing.offline_at > origin.began_at
            })
    }
}
