//! Free ports that stay free.
//!
//! Ports come from below the range from which the system serves outgoing connections: from that range, the port of a
//! killed node could be taken by anybody's connection before the node is started again.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use rand::Rng;

const LOWEST: u16 = 10_000;
const TRIES_MAX: usize = 10_000;

/// Ports given out by this process, so that no two of its clusters share one.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// So many ports of 127.0.0.1 that nobody listens at.
///
/// # Errors
/// When that many cannot be found.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let below = first_outgoing();
    let mut found = Vec::with_capacity(count);
    for _ in 0..TRIES_MAX {
        if found.len() == count {
            return Ok(found);
        }
        let port = rand::rng().random_range(LOWEST..below);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            found.push(port);
        }
    }
    bail!("found no {count} free ports from {LOWEST} to {below}")
}

/// The lowest port of outgoing connections.
fn first_outgoing() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|first| *first > LOWEST + 1000)
        .unwrap_or(32_768)
}
