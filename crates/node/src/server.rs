//! Answers other nodes: each request goes to the part that it is for.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_catalog::Entry;
use baton_model::errors::{ErrorCode, SqlError};
use baton_transport::{CallRefused, Handler, Header, Inbound, Outbound, Refusal};
use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::aggregator::{Aggregator, serve_catalog};
use crate::context::{Context, STREAM_CAPACITY};
use crate::leaf::Leaf;
use crate::wire::{
    DataRefusal, ForwardRefusal, JoinRequest, Opening, Request, Response, WriteRequest, decode, encode,
};

/// How long an aggregator may take to answer a leaf's request.
const PROPOSAL: Duration = Duration::from_secs(3);

/// Milliseconds since 1970 UTC, for stamps on events. Decides nothing.
pub fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970 UTC, for NOW().
pub fn wall_clock_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What this process is for.
pub enum Role {
    /// Routes SQL.
    Aggregator(Arc<Aggregator>),
    /// Holds partitions.
    Leaf(Arc<Leaf>),
}

/// Answers other nodes.
pub struct Server {
    /// The process.
    pub context: Arc<Context>,
    /// Its role.
    pub role: Role,
}

fn unavailable(what: &str) -> CallRefused {
    CallRefused::new(Refusal::Unavailable, format!("this node {what}"))
}

impl Server {
    fn aggregator(&self) -> Result<&Arc<Aggregator>, CallRefused> {
        match &self.role {
            Role::Aggregator(aggregator) => Ok(aggregator),
            Role::Leaf(_) => Err(unavailable("is a leaf")),
        }
    }

    fn leaf(&self) -> Result<&Arc<Leaf>, CallRefused> {
        match &self.role {
            Role::Leaf(leaf) => Ok(leaf),
            Role::Aggregator(_) => Err(unavailable("is an aggregator")),
        }
    }

    async fn join(&self, request: JoinRequest) -> Result<(), String> {
        let JoinRequest { cluster, node, aggregators } = request;
        self.context.join(cluster, node, aggregators).map_err(|error| error.to_string())?;
        info!(%cluster, %node, "joined a cluster");
        if let Role::Aggregator(aggregator) = &self.role {
            aggregator.open_group().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// An aggregator that is cut off from the others may name a table that was dropped: a row of it would be nobody's.
    fn knows_table(&self, header: &Header, request: &WriteRequest) -> Result<(), DataRefusal> {
        let catalog = self.context.catalog();
        if catalog.table_by_id(request.operation.table()).is_some() {
            return Ok(());
        }
        Err(if catalog.index() < header.catalog_index {
            DataRefusal::NotPrimary // The table is so new that this leaf has yet to hear of it.
        } else {
            DataRefusal::Failed(SqlError::new(ErrorCode::NoSuchTable, "The table was dropped meanwhile"))
        })
    }

    async fn answer(&self, header: &Header, request: Request) -> Result<Response, CallRefused> {
        Ok(match request {
            Request::Join(request) => Response::Joined(self.join(request).await),
            Request::Raft(bytes) => {
                let group =
                    self.aggregator()?.group().ok_or_else(|| unavailable("is in no control group"))?;
                let answer = group.handle(&bytes).await;
                Response::Raft(answer.map_err(|error| unavailable(&error.to_string()))?.to_vec())
            }
            Request::Propose(entry) => {
                let proposed = self.aggregator()?.propose_at_master(entry).await;
                Response::Proposed(proposed.map_err(ForwardRefusal::from))
            }
            Request::Forward(request) => {
                Response::Forwarded(self.aggregator()?.execute_at_master(request).await)
            }
            Request::Write(request) => {
                let leaf = self.leaf()?;
                Response::Written(match self.knows_table(header, &request) {
                    Ok(()) => leaf.write(request).await,
                    Err(refusal) => Err(refusal),
                })
            }
            Request::WriteWithin(request, member) => {
                let leaf = self.leaf()?;
                Response::WrittenWithin(match self.knows_table(header, &request) {
                    Ok(()) => leaf.write_within(request, member).await,
                    Err(refusal) => Err(refusal),
                })
            }
            Request::TakeBack(request) => Response::TakenBack(self.leaf()?.take_back(&request)),
            Request::Transaction { partition, request } => {
                Response::Transaction(self.leaf()?.end_transaction(partition, request).await)
            }
            Request::Knowledge { transaction, partitions } => {
                Response::Knowledge(self.leaf()?.knowledge(transaction, header.catalog_index, &partitions))
            }
            Request::StillPrepared { partition, epoch, transactions } => {
                Response::StillPrepared(self.leaf()?.still_prepared(partition, epoch, &transactions))
            }
            Request::Waits => Response::Waits(self.leaf()?.waits().into_iter().collect()),
            Request::NotRunning { incarnation, transactions } => {
                let aggregator = self.aggregator()?;
                let another = incarnation != self.context.pulse.incarnation();
                let over = transactions.into_iter().filter(|id| another || !aggregator.runs(*id));
                Response::NotRunning(over.collect())
            }
            Request::Get(request) => Response::Rows(self.leaf()?.get(&request).await),
            Request::Instances => Response::Instances(self.leaf()?.status()),
            Request::Instance(partition) => {
                let instance = self.leaf()?.instance(partition).ok();
                Response::Instances(instance.iter().map(|handle| handle.status()).collect())
            }
            Request::ReportLag(reports) => {
                Response::LagHeard(self.aggregator()?.hear_lag(header.from_node, reports).await)
            }
            Request::Snapshot { partition } => Response::Snapshotted(self.leaf()?.snapshot(partition).await),
            Request::Drain(request) => Response::Drained(self.leaf()?.drain(&request).await),
            Request::DropOrphan { partition, index } => {
                Response::OrphanDropped(self.leaf()?.drop_orphan(partition, index).await)
            }
            Request::BoundIndex => Response::BoundIndex(self.aggregator()?.bound_index()),
            Request::CatalogIndex => {
                let catalog = self.aggregator()?.current_catalog().await;
                Response::CatalogIndex(catalog.ok().map(|catalog| catalog.index()))
            }
        })
    }
}

impl Handler for Server {
    async fn call(&self, header: Header, body: Bytes) -> Result<Bytes, CallRefused> {
        let request: Request =
            decode(&body).map_err(|garbled| CallRefused::new(Refusal::Malformed, garbled.to_string()))?;
        // S10: a node of no cluster does nothing but be taken into one.
        let joined = self.context.pulse.identity().member().is_some();
        if !joined && !matches!(request, Request::Join(_)) {
            return Err(CallRefused::new(Refusal::NotJoined, "this node belongs to no cluster"));
        }
        Ok(encode(&self.answer(&header, request).await?).into())
    }

    async fn open(&self, header: Header, body: Bytes, inbound: Inbound) -> Result<Outbound, CallRefused> {
        let opening: Opening =
            decode(&body).map_err(|garbled| CallRefused::new(Refusal::Malformed, garbled.to_string()))?;
        if self.context.pulse.identity().member().is_none() {
            return Err(CallRefused::new(Refusal::NotJoined, "this node belongs to no cluster"));
        }
        match opening {
            Opening::WatchCatalog { from } => {
                let group =
                    self.aggregator()?.group().ok_or_else(|| unavailable("is in no control group"))?;
                Ok(serve_catalog(group.subscribe(from)))
            }
            Opening::Replicate { partition } => {
                let instance = self
                    .leaf()?
                    .instance(partition)
                    .map_err(|_| unavailable("does not hold that partition (yet)"))?;
                let (sender, outbound) = mpsc::channel(STREAM_CAPACITY);
                instance.adopt(header.from_node, sender, inbound).await;
                Ok(outbound)
            }
            Opening::Backup(request) => Ok(self.leaf()?.backup(*request)),
            Opening::Restore(request) => Ok(self.leaf()?.restore(*request)),
            Opening::Copy { partition, copy } => Ok(self.leaf()?.send_copy(partition, copy, inbound)),
            Opening::Scan(request, within) => {
                let (refused, rows) = match self.leaf()?.scan(*request, within).await {
                    Ok(rows) => return Ok(rows),
                    Err(refusal) => (refusal, mpsc::channel(1)),
                };
                let news = encode(&crate::wire::ScanNews::Refused(refused)).into();
                let _ = rows.0.send(news).await;
                Ok(rows.1)
            }
        }
    }
}

/// A leaf's request to the master aggregator. What is not answered is asked again by whoever wanted it.
pub async fn propose_at_master(context: Arc<Context>, entry: Entry) {
    let request = Request::Propose(entry);
    let is_answer = |answer: &Response| matches!(answer, Response::Proposed(Ok(_)));
    if let Some(outcome) = ask_master(&context, &request, is_answer).await {
        debug!(?outcome, "the master aggregator answered");
    }
}

/// Asks whoever pings as the master aggregator, then all aggregators, until one gives an answer of the right kind.
pub async fn ask_master(
    context: &Context,
    request: &Request,
    is_answer: impl Fn(&Response) -> bool,
) -> Option<Response> {
    let catalog = context.catalog();
    let heard = *context.pulse.heard().borrow();
    let first = catalog.node(heard.from).filter(|node| !node.is_leaf());
    let others = catalog.aggregators().filter(|node| node.id != heard.from);
    let places: Vec<String> = first.into_iter().chain(others).map(|node| node.rpc_address()).collect();
    for place in places {
        match context.ask(&place, request, PROPOSAL).await {
            Ok(answer) if is_answer(&answer) => return Some(answer),
            answer => debug!(%place, ?answer, "the request was not carried out here"),
        }
    }
    None
}
