//! How far the logs of all instances are, as their leaves tell it: asked for once a second by the master aggregator.
//!
//! A failover must not wait for anybody's answer, so what a policy is told of candidates was gathered before.
//! It is about a second old, and nothing rests on it: who may be promoted is decided by the catalog alone (S4).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_model::{Lsn, NodeId, PartitionId};
use futures::future::join_all;
use tokio::time::sleep;

use super::Aggregator;
use crate::wire::{Request, Response};

/// Between two rounds.
const AGAIN: Duration = Duration::from_secs(1);
/// A leaf that does not tell within this keeps what it told last.
const PATIENCE: Duration = Duration::from_secs(1);

type Told = Arc<BTreeMap<(NodeId, PartitionId), Lsn>>;

/// The ends of the instances' logs. A round replaces them as a whole, so that to look at them costs nothing.
#[derive(Debug, Default)]
pub struct Positions(Mutex<Told>);

impl Positions {
    /// What was told last.
    pub fn told(&self) -> Told {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, told: BTreeMap<(NodeId, PartitionId), Lsn>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(told);
    }
}

/// Runs until the node stops; asks only while this node is the master aggregator.
pub async fn gather(aggregator: Arc<Aggregator>) {
    loop {
        if aggregator.group_status().is_leader {
            ask_all(&aggregator).await;
        } else {
            aggregator.positions.set(BTreeMap::new());
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = aggregator.context.shutdown.cancelled() => return,
        }
    }
}

async fn ask_all(aggregator: &Aggregator) {
    let catalog = aggregator.context.catalog();
    let asked = catalog.leaves().filter(|leaf| leaf.is_online()).map(|leaf| async move {
        let answer = aggregator.context.ask(&leaf.rpc_address(), &Request::Instances, PATIENCE).await;
        match answer {
            Ok(Response::Instances(told)) => {
                told.into_iter().map(|one| ((leaf.id, one.partition), one.last)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        }
    });
    let answers = join_all(asked).await;
    let mut told = BTreeMap::clone(&aggregator.positions.told());
    told.retain(|(_, partition), _| catalog.partition(*partition).is_some());
    told.extend(answers.into_iter().flatten());
    aggregator.positions.set(told);
}
