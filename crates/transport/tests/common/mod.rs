//! What both test files need: nodes with an RPC port on a free port, and waiting with a bound.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use baton_model::{ClusterId, Incarnation, NodeId, StoreId};
use baton_transport::heartbeat::Pulse;
use baton_transport::{
    CallRefused, Clock, Handler, Header, Identity, Inbound, Member, Outbound, Refusal, RpcServer,
};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

pub const CLUSTER: ClusterId = ClusterId(0xba7);
pub const ANOTHER_CLUSTER: ClusterId = ClusterId(0xbad);
/// Nothing in these tests takes nearly as long.
pub const BOUND: Duration = Duration::from_secs(20);

pub fn pulse(cluster_id: ClusterId, node: u64) -> Arc<Pulse> {
    let member = Member { cluster_id, node: NodeId(node) };
    Arc::new(Pulse::new(Identity::new(Some(member)), Incarnation(node * 10), StoreId(node * 100)))
}

pub fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

pub fn serve(pulse: &Arc<Pulse>) -> RpcServer {
    serve_at(free_port(), pulse, &Arc::default())
}

pub fn serve_at(listener: TcpListener, pulse: &Arc<Pulse>, desk: &Arc<Desk>) -> RpcServer {
    RpcServer::start(listener, Arc::clone(pulse), Clock::start(), Arc::clone(desk))
        .expect("the server starts")
}

/// The port of a server that has stopped, again.
pub fn listen_again(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).expect("the port is free again")
}

pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what} took longer than {BOUND:?}"))
}

/// Waits until the watched value fits.
pub async fn until<T: Clone>(
    what: &str,
    receiver: &mut watch::Receiver<T>,
    fits: impl FnMut(&T) -> bool,
) -> T {
    bounded(what, receiver.wait_for(fits)).await.expect("the sender lives").clone()
}

/// Does what a body says, in words.
#[derive(Default)]
pub struct Desk {
    /// Lets `wait` go on.
    pub go_on: Notify,
    /// How many `wait` calls have ended.
    pub ended: watch::Sender<u32>,
}

impl Handler for Desk {
    async fn call(&self, header: Header, body: Bytes) -> Result<Bytes, CallRefused> {
        match body.as_ref() {
            b"who" => {
                Ok(format!("{} term {} {}", header.from_node, header.term, header.catalog_index).into())
            }
            b"refuse" => Err(CallRefused::new(Refusal::Deposed, "term 1 is over")),
            b"panic" => panic!("as asked"),
            b"wait" => {
                self.go_on.notified().await;
                self.ended.send_modify(|ended| *ended += 1);
                Ok(body)
            }
            _ => Ok(body),
        }
    }

    async fn open(&self, header: Header, body: Bytes, mut inbound: Inbound) -> Result<Outbound, CallRefused> {
        if body.as_ref() != b"echo" {
            return Err(CallRefused::new(Refusal::Malformed, format!("{} wants what?", header.from_node)));
        }
        let (sender, outbound) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(Ok(body)) = inbound.recv().await {
                if sender.send(body).await.is_err() {
                    break;
                }
            }
        });
        Ok(outbound)
    }
}
