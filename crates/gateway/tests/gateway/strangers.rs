//! The gateway and clients that break the protocol, stall, or are cut off.

use std::time::{Duration, Instant};

use crate::stage::until_asleep;
use crate::support::{Gateway, bounded, error_number};
use mysql_async::prelude::Queryable;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn random_bytes_end_their_connection_and_nothing_else() {
    let gateway = Gateway::open().await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let mut raw = gateway.raw().await;
        if round % 2 == 0 {
            raw.log_in(round % 4 == 0).await;
        }
        let noise: Vec<u8> = (0..random() % 600).map(|_| random() as u8).collect();
        let _ = raw.socket.write_all(&noise).await;
        let _ = raw.socket.shutdown().await;
        raw.expect_end().await;
    }
    // Whole packets of every command with random content.
    for code in 0..=255u8 {
        let mut raw = gateway.raw().await;
        raw.log_in(true).await;
        let mut payload = vec![code];
        payload.extend((0..random() % 40).map(|_| random() as u8));
        raw.write(0, &payload).await;
        let _ = raw.socket.shutdown().await;
        raw.expect_end().await;
    }
    gateway.assert_alive().await;
    gateway.close().await;
}

#[tokio::test]
async fn broken_handshakes_are_refused() {
    let gateway = Gateway::open().await;
    let tls: u32 = 1 << 9 | 1 << 11 | 1 << 15;
    for response in [
        vec![],
        vec![1, 2, 3],
        vec![0; 32],
        [&tls.to_le_bytes()[..], &[0; 28]].concat(),
        [&(1u32 << 9 | 1 << 15).to_le_bytes()[..], &[0; 28], b"root without an end"].concat(),
    ] {
        let mut raw = gateway.raw().await;
        raw.read().await.unwrap();
        raw.write(1, &response).await;
        assert_eq!(raw.expect_end().await, Some(1043), "{response:?}");
    }
    let mut raw = gateway.raw().await;
    raw.read().await.unwrap();
    raw.write(7, b"out of order").await;
    assert_eq!(raw.expect_end().await, Some(1043));
    gateway.assert_alive().await;
    gateway.close().await;
}

#[tokio::test]
async fn oversized_packets_are_refused_by_their_header() {
    let gateway = Gateway::open().await;
    let mut raw = gateway.raw().await;
    raw.read().await.unwrap();
    raw.socket.write_all(&[0xff, 0xff, 0xff, 1]).await.unwrap();
    assert_eq!(raw.expect_end().await, Some(1153), "before the handshake little is allowed");

    let mut raw = gateway.raw().await;
    raw.log_in(true).await;
    let frame = vec![b' '; 0xff_ffff];
    for sequence in 0..5 {
        raw.write(sequence, &frame).await;
    }
    assert_eq!(raw.expect_end().await, Some(1153), "64 MiB in all");
    gateway.assert_alive().await;
    gateway.close().await;
}

#[tokio::test]
async fn a_client_that_stalls_its_handshake_is_let_go() {
    let gateway = Gateway::open().await;
    let mut silent = gateway.raw().await;
    let mut half = gateway.raw().await;
    half.read().await.unwrap();
    half.socket.write_all(&[200, 0, 0, 1, b'x']).await.unwrap();
    let began = Instant::now();
    silent.read().await.unwrap();
    silent.expect_end().await;
    half.expect_end().await;
    assert!(began.elapsed() < Duration::from_secs(13), "{:?}", began.elapsed());
    gateway.close().await;
}

#[tokio::test]
async fn commands_that_nobody_needs_have_answers_too() {
    let gateway = Gateway::open().await;
    let mut raw = gateway.raw().await;
    raw.log_in(false).await;
    assert_eq!(raw.command(&[0x0e]).await[0], 0, "ping");
    assert_eq!(raw.command(&[0x1f]).await[0], 0, "reset");
    assert!(raw.command(&[0x09]).await.starts_with(b"Uptime: "), "statistics");
    assert_eq!(raw.command(b"\x04table\0").await, [0xfe, 0, 0, 2, 0], "field list");
    assert_eq!(raw.command(&[0x1b, 1, 0]).await[0], 0xfe, "one statement a packet");
    assert_eq!(error_number(&raw.command(&[0x1b, 0, 0]).await), Some(1235), "several");
    assert_eq!(error_number(&raw.command(&[0x15]).await), Some(1235), "binlog");
    assert_eq!(
        error_number(&raw.command(&[0x17, 9, 0, 0, 0, 0, 1, 0, 0, 0]).await),
        Some(1243),
        "unknown statement"
    );
    assert_eq!(error_number(&raw.command(&[0x1a, 9, 0, 0, 0]).await), Some(1243), "unknown statement");
    assert_eq!(error_number(&raw.command(b"\x03SELECT \xff").await), Some(1064), "no UTF-8");
    raw.write(0, &[0x01]).await;
    assert_eq!(raw.expect_end().await, None, "quit");
    gateway.close().await;
}

#[tokio::test]
async fn prepared_statements_take_values_ahead_and_survive_wrong_ones() {
    let gateway = Gateway::open().await;
    let mut raw = gateway.raw().await;
    raw.log_in(true).await;
    let prepared = raw.command(b"\x16say ?").await;
    assert_eq!(prepared[..9], [0, 1, 0, 0, 0, 0, 0, 1, 0]);
    raw.read().await.expect("the parameter's definition");
    let head = [0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0];
    // No bitmap, no types, a type that is none, a value that is cut off.
    for values in [&[][..], &[0, 0][..], &[0, 1, 99, 0, 1][..], &[0, 1, 0xfd, 0, 9, b'x'][..]] {
        let error = raw.command(&[&head[..], values].concat()).await;
        assert_eq!(error_number(&error), Some(1210), "{values:?}");
    }
    // Three commands in one segment: two parts of a value and the execution.
    let part = |text: &[u8]| [&[0x18, 1, 0, 0, 0, 0, 0][..], text].concat();
    let execute = [&head[..], &[0, 1, 0xfd, 0]].concat();
    let mut segment = Vec::new();
    for payload in [part(b"hello "), part(b"world"), execute] {
        segment.extend([payload.len() as u8, 0, 0, 0]);
        segment.extend(payload);
    }
    raw.socket.write_all(&segment).await.unwrap();
    for _ in 0..3 {
        raw.read().await.expect("the count and the definitions of two columns");
    }
    let (_, row) = raw.read().await.expect("the row");
    assert!(row.ends_with(b"Text(\"hello world\")"), "{}", String::from_utf8_lossy(&row));
    assert_eq!(raw.read().await.expect("the end of rows").1[0], 0xfe);
    gateway.close().await;
}

#[tokio::test]
async fn clients_of_another_plugin_are_switched() {
    let gateway = Gateway::open().await;
    let mut raw = gateway.raw().await;
    raw.read().await.unwrap();
    let capabilities: u32 = 1 << 9 | 1 << 15 | 1 << 19;
    let response =
        [&capabilities.to_le_bytes()[..], &[0; 28], b"root\0", &[3, 1, 2, 3], b"caching_sha2_password\0"];
    raw.write(1, &response.concat()).await;
    let (sequence, switch) = raw.read().await.unwrap();
    assert_eq!(sequence, 2);
    assert!(switch.starts_with(b"\xfemysql_native_password\0"));
    raw.write(3, &[]).await;
    let (sequence, ok) = raw.read().await.unwrap();
    assert_eq!((sequence, ok[0]), (4, 0));
    gateway.close().await;
}

#[tokio::test]
async fn a_shutdown_lets_statements_finish_and_tells_the_idle() {
    let gateway = Gateway::open().await;
    let mut idle = gateway.raw().await;
    idle.log_in(true).await;
    let mut brief = gateway.connect().await;
    let mut endless = gateway.connect().await;
    let brief =
        tokio::spawn(async move { brief.query_drop("SLEEP 1000").await.map(|()| brief.affected_rows()) });
    let endless = tokio::spawn(async move { endless.query_drop("SLEEP 600000").await });
    bounded(until_asleep(2)).await;
    let began = Instant::now();
    gateway.shutdown.cancel();
    assert_eq!(idle.expect_end().await, Some(1053));
    assert_eq!(bounded(brief).await.unwrap().unwrap(), 3, "a statement that finishes in time is answered");
    let unknown = bounded(endless).await.unwrap();
    assert!(matches!(&unknown, Err(mysql_async::Error::Server(error)) if error.code == 1180), "{unknown:?}");
    bounded(gateway.task).await.unwrap();
    let took = began.elapsed();
    assert!((5..8).contains(&took.as_secs()), "{took:?}");
}
