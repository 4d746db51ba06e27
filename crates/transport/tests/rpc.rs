//! Calls and streams between real ports: what arrives, what is refused, and what a failure says (S10, S12).

mod common;

use std::sync::Arc;
use std::time::Duration;

use baton_model::CatalogIndex;
use baton_transport::{CallError, MESSAGE_BYTES_MAX, Peers, Refusal};
use bytes::Bytes;
use common::{
    ANOTHER_CLUSTER, BOUND, CLUSTER, Desk, bounded, free_port, listen_again, pulse, serve, serve_at, until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_call_arrives_with_its_header_and_is_answered() {
    let server = serve(&pulse(CLUSTER, 1));
    let caller = pulse(CLUSTER, 2);
    caller.set_term(7);
    caller.set_catalog_index(CatalogIndex(42));
    let peers = Peers::default();
    let address = server.address().to_string();
    let answer = peers.call(&address, caller.header(), "who".into(), BOUND).await.expect("an answer");
    assert_eq!(answer, "n2 term 7 #42");
    let large = Bytes::from(vec![7; 16 << 20]);
    let answer = peers.call(&address, caller.header(), large.clone(), BOUND).await.expect("an answer");
    assert_eq!(answer, large);
    server.stop().await;
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let server = serve(&pulse(CLUSTER, 1));
    let header = pulse(CLUSTER, 2).header();
    let peers = Peers::default();
    let address = server.address().to_string();
    let calls = (0..500).map(|number: u32| {
        let (peers, address) = (peers.clone(), address.clone());
        async move {
            let body = Bytes::copy_from_slice(&number.to_be_bytes());
            assert_eq!(peers.call(&address, header, body.clone(), BOUND).await, Ok(body));
        }
    });
    bounded("500 calls", futures::future::join_all(calls)).await;
    assert_eq!(format!("{peers:?}"), "Peers(1 connections)");
    peers.forget(&address);
    assert_eq!(format!("{peers:?}"), "Peers(0 connections)");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_carries_messages_both_ways_in_order() {
    let server = serve(&pulse(CLUSTER, 1));
    let header = pulse(CLUSTER, 2).header();
    let peers = Peers::default();
    let address = server.address().to_string();
    let (sender, mut inbound) = peers.open(&address, header, "echo".into(), 4).await.expect("a stream");
    let writer = tokio::spawn(async move {
        for number in 0..1000_u32 {
            let body = Bytes::from(number.to_be_bytes().repeat(100));
            sender.send(body).await.expect("the stream lives");
        }
    });
    for number in 0..1000_u32 {
        let body = bounded("an echo", inbound.recv()).await.expect("the stream lives").expect("whole");
        assert_eq!(body, number.to_be_bytes().repeat(100));
    }
    writer.await.expect("all is written");
    // The sender is dropped: the server sees the end, and ends its side.
    assert_eq!(bounded("the end", inbound.recv()).await, None);
    assert_eq!(inbound.try_recv(), None);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_server_stops() {
    let server = serve(&pulse(CLUSTER, 1));
    let header = pulse(CLUSTER, 2).header();
    let address = server.address().to_string();
    let (_sender, mut inbound) =
        Peers::default().open(&address, header, "echo".into(), 4).await.expect("a stream");
    bounded("the stop", server.stop()).await;
    assert!(matches!(bounded("the end", inbound.recv()).await, None | Some(Err(_))));
}

/// Checklist 20: another wire version is refused, and with it every downgrade and every mixture that was not planned.
#[tokio::test]
async fn refusals_come_with_their_reason() {
    let server = serve(&pulse(CLUSTER, 1));
    let address = server.address().to_string();
    let peers = Peers::default();
    let refusal = async |header, body: &'static str| {
        let error = peers.call(&address, header, body.into(), BOUND).await.expect_err("a refusal");
        assert!(error.is_surely_undone());
        error.refused().map(|refused| refused.refusal)
    };
    let header = pulse(CLUSTER, 2).header();
    assert_eq!(refusal(header, "refuse").await, Some(Refusal::Deposed));
    assert_eq!(refusal(pulse(ANOTHER_CLUSTER, 2).header(), "x").await, Some(Refusal::WrongCluster));
    let newer = baton_transport::Header { wire_version: header.wire_version + 1, ..header };
    assert_eq!(refusal(newer, "x").await, Some(Refusal::WireVersion));
    for (header, body, expected) in [
        (header, "something", Refusal::Malformed),
        (pulse(ANOTHER_CLUSTER, 2).header(), "echo", Refusal::WrongCluster),
    ] {
        let error = peers.open(&address, header, body.into(), 4).await.expect_err("a refusal");
        assert_eq!(error.refused().map(|refused| refused.refusal), Some(expected));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_node_in_no_cluster_lets_its_handler_decide() {
    let newcomer = pulse(CLUSTER, 1);
    newcomer.identity().set(None);
    let server = serve(&newcomer);
    let header = pulse(ANOTHER_CLUSTER, 2).header();
    let answer = Peers::default().call(&server.address().to_string(), header, "join".into(), BOUND).await;
    assert_eq!(answer, Ok("join".into()));
    server.stop().await;
}

/// Checklist 21.
#[tokio::test]
async fn what_was_not_sent_is_told_from_what_is_unknown() {
    let peers = Peers::default();
    let header = pulse(CLUSTER, 2).header();

    let nobody = free_port().local_addr().expect("an address").to_string();
    let error = peers.call(&nobody, header, "x".into(), BOUND).await.expect_err("nobody is there");
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    let error = peers.open(&nobody, header, "x".into(), 1).await.expect_err("nobody is there");
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");

    let server = serve(&pulse(CLUSTER, 1));
    let address = server.address().to_string();
    let too_large = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    let error = peers.call(&address, header, too_large, BOUND).await.expect_err("too large");
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    let soon = Duration::from_millis(100);
    let error = peers.call(&address, header, "wait".into(), soon).await.expect_err("no answer in time");
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    let error = peers.call(&address, header, "panic".into(), BOUND).await.expect_err("no answer ever");
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    assert_eq!(peers.call(&address, header, "x".into(), BOUND).await, Ok("x".into()));
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_dies_with_the_request_leaves_it_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let dying = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut taken = vec![];
        let mut buffer = [0; 4096];
        // The request's body is the last that comes.
        while !taken.windows(6).any(|window| window == b"insert") {
            let read = stream.read(&mut buffer).await.expect("a request");
            assert_ne!(read, 0);
            taken.extend_from_slice(&buffer[..read]);
        }
    });
    let header = pulse(CLUSTER, 2).header();
    let error = Peers::default().call(&address, header, "insert".into(), BOUND).await.expect_err("a death");
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    assert!(!error.is_surely_undone());
    dying.await.expect("the peer took the request");
}

#[tokio::test]
async fn a_restarted_peer_is_reached_at_once() {
    let node = pulse(CLUSTER, 1);
    let header = pulse(CLUSTER, 2).header();
    let peers = Peers::default();
    let mut server = serve(&node);
    let address = server.address();
    for _ in 0..3 {
        let body = Bytes::from_static(b"x");
        assert_eq!(peers.call(&address.to_string(), header, body.clone(), BOUND).await, Ok(body));
        server.stop().await;
        let error =
            peers.call(&address.to_string(), header, "x".into(), BOUND).await.expect_err("it is down");
        assert!(error.is_surely_undone(), "{error}");
        server = serve_at(listen_again(address), &node, &Arc::default());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_call_runs_to_its_end_though_its_sender_is_gone() {
    let desk = Arc::new(Desk::default());
    let server = serve_at(free_port(), &pulse(CLUSTER, 1), &desk);
    let header = pulse(CLUSTER, 2).header();
    let soon = Duration::from_millis(100);
    let error = Peers::default().call(&server.address().to_string(), header, "wait".into(), soon).await;
    assert!(error.is_err());
    desk.go_on.notify_one();
    until("the call's end", &mut desk.ended.subscribe(), |ended| *ended == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn malformed_bytes_do_no_harm() {
    let server = serve(&pulse(CLUSTER, 1));
    let malformed = [
        &b""[..],
        b"B",
        b"PRI",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"BHB1\xff\xff\xff\xff",
        b"BHB1\0\0\0\x02\xff\xff",
        b"BHB1\0\0\0\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nwhatever this is, it is no frame",
    ];
    let connections = malformed.map(async |bytes| {
        let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
        stream.write_all(bytes).await.expect("room");
        stream.shutdown().await.expect("the end");
        // The server closes it; what it says before that is its own affair.
        let _ = stream.read_to_end(&mut vec![]).await;
    });
    bounded("the end of them all", futures::future::join_all(connections)).await;
    let header = pulse(CLUSTER, 2).header();
    let answer = Peers::default().call(&server.address().to_string(), header, "x".into(), BOUND).await;
    assert_eq!(answer, Ok("x".into()));
    server.stop().await;
}
