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

/// The ends of the instances' logs.
#[derive(Debug, Default)]
pub struct Positions(Mutex<BTreeMap<NodeId, Vec<(PartitionId, Lsn)>>>);

impl Positions {
    /// What was told last.
    pub fn told(&self) -> BTreeMap<(NodeId, PartitionId), Lsn> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().flat_map(|(leaf, all)| all.iter().map(|(id, last)| ((*leaf, *id), *last))).collect()
    }
}

/// Runs until the node stops; asks only while this node is the master aggregator.
pub async fn gather(aggregator: Arc<Aggregator>) {
    loop {
        if aggregator.group_status().is_leader {
            ask_all(&aggregator).await;
        } else {
            aggregator.positions.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
                Some((leaf.id, told.into_iter().map(|one| (one.partition, one.last)).collect()))
            }
            _ => None,
        }
    });
    let answers = join_all(asked).await;
    let mut told = aggregator.positions.0.lock().unwrap_or_else(PoisonError::into_inner);
    told.retain(|leaf, _| catalog.node(*leaf).is_some());
    told.extend(answers.into_iter().flatten());
}
