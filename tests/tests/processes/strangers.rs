//! Whoever sends nonsense to a port hurts himself only.

use std::time::Duration;

use anyhow::{Result, ensure};
use baton_tests::{Moment, Writers};
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sql::CLUSTER;
use crate::stage::{HEAL_BOUND, ensure_below, events_since, every_load, read_back};

/// The longest that a stranger listens to what the node has to say.
const LISTEN: Duration = Duration::from_millis(50);

/// What strangers send: beginnings of each protocol that is spoken, and then nonsense.
fn nonsense(seed: u64) -> Vec<Vec<u8>> {
    let mut dice = rand::rngs::StdRng::seed_from_u64(seed);
    let mut noise = |bytes: usize| (0..bytes).map(|_| dice.random()).collect::<Vec<u8>>();
    let mut sent: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        // A MySQL packet: of 16 MB that does not come, with a wrong number, empty, and one that is cut short.
        b"\xff\xff\xff\x00".to_vec(),
        b"\x01\x00\x00\x63\x0e".to_vec(),
        b"\x00\x00\x00\x01".to_vec(),
        b"\x20\x00\x00\x01\x85\xa6\xff\x01".to_vec(),
        // A login that declares more than there is.
        [b"\x24\x00\x00\x01\x85\xa6\xff\x01\x00\x00\x00\x01\x21".as_slice(), &[0; 23]].concat(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [b"GET /".as_slice(), &[b'x'; 100_000]].concat(),
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0xff; 64]].concat(),
        b"BHB1".to_vec(),
        b"BHB1\xff\xff\xff\xff".to_vec(),
        b"BHB1\x00\x00\x00\x04\x01\x02\x03\x04".to_vec(),
        b"BHB1\x04\x00\x00\x00\x01\x02\x03\x04".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    for length in [3, 4, 5, 33, 1000, 70_000] {
        sent.push(noise(length));
        sent.push([b"BHB1".as_slice(), &noise(length)].concat());
        sent.push([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &noise(length)].concat());
        let body = noise(length.min(1000));
        let header = [&(body.len() as u32).to_le_bytes()[..3], &[1]].concat();
        sent.push([header, body].concat());
    }
    sent
}

/// Sends it, listens for a moment, and goes without a word.
async fn visit(port: u16, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // The node may hang up on us in the middle: that is its right.
    let _ = stream.write_all(bytes).await;
    let mut heard = [0; 4096];
    let _ = tokio::time::timeout(LISTEN, stream.read(&mut heard)).await;
    Ok(())
}

#[test]
fn nonsense_at_any_port_of_any_node_disturbs_no_writer() {
    CLUSTER.run(async |cluster| {
        cluster.any_aggregator().await?.run("CREATE DATABASE IF NOT EXISTS stage PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let writers = Writers::start(cluster, &every_load(&["a2", "a3"])).await?;
        writers.all_write(HEAL_BOUND).await?;
        let began = Moment::now();
        let nodes = cluster.refresh().await?;
        let mut silent = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            for port in [node.port, node.rpc_port, node.http_port] {
                for bytes in nonsense(i as u64 * 100_000 + u64::from(port)) {
                    visit(port, &bytes).await?;
                }
                // And some who connect and say nothing for as long as this test goes on.
                for _ in 0..20 {
                    silent.push(TcpStream::connect(("127.0.0.1", port)).await?);
                }
            }
        }
        writers.all_write(Duration::from_secs(10)).await?;
        let ended = Moment::now();
        let gap = writers.journal().gap(began, ended).map(|gap| gap.length()).unwrap_or_default();
        ensure_below("the longest that a writer waited", gap, Duration::from_secs(1))?;
        let journal = read_back(cluster, writers, "a1").await?;
        ensure!(journal.errors().is_empty(), "clients saw errors: {:?}", journal.errors());
        let offline =
            events_since(cluster, began).await?.into_iter().find(|event| event.kind == "NODE_OFFLINE");
        ensure!(offline.is_none(), "a node was judged failed: {offline:?}");
        let after = cluster.refresh().await?;
        for (before, after) in nodes.iter().zip(&after) {
            ensure!(before.pid == after.pid, "{} is another process", before.name);
        }
        Ok(())
    });
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_statement_leaves_nothing_behind() {
    CLUSTER.run(async |cluster| {
        let mut client = cluster.conn("a2").await?;
        client.run("CREATE DATABASE IF NOT EXISTS stage PARTITIONS 4").await?;
        client.run("CREATE TABLE stage.gone (id BIGINT PRIMARY KEY, n BIGINT)").await?;
        client.run("INSERT INTO stage.gone VALUES (1, 0)").await?;
        let goers = (0..20).map(async |_| {
            let mut goer = cluster.conn("a2").await?;
            // Whether it is done is not known; that it locks nobody out is what counts.
            let cut =
                goer.run_within(Duration::from_micros(200), "UPDATE stage.gone SET n = n + 1 WHERE id = 1");
            drop(cut.await);
            Ok::<_, anyhow::Error>(())
        });
        futures::future::try_join_all(goers).await?;
        let began = Moment::now();
        client.run("UPDATE stage.gone SET n = 1000 WHERE id = 1").await?;
        ensure_below("the next update", Moment::now().since(began), Duration::from_secs(1))?;
        client.run("DROP TABLE stage.gone").await?;
        Ok(())
    });
}
