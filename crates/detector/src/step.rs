//! What happens to a detector, and what it wants done.
//!
//! The printed forms are the words of its scripts and of the logs.

use std::fmt;

use baton_model::{NodeId, NodeRole};
use serde::{Deserialize, Serialize};

use crate::{Health, Report, Sighting};

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A node is to be watched from now on, starting from the opinion that the cluster already has of it.
    /// If it is watched already, only its role is taken.
    Watch {
        /// The node.
        node: NodeId,
        /// What it is for.
        role: NodeRole,
        /// The opinion to start from.
        health: Health,
    },
    /// A node is not to be watched any more; what it and others said is forgotten.
    Unwatch {
        /// The node.
        node: NodeId,
    },
    /// Pings are to be sent this often.
    IntervalSet {
        /// Milliseconds, at least 1.
        interval_ms: u32,
    },
    /// An interval has passed.
    Tick,
    /// A connection attempt succeeded.
    Connected {
        /// The node.
        node: NodeId,
    },
    /// A connection attempt was answered with a no: by the host, or by the network on its behalf.
    ConnectRefused {
        /// The node.
        node: NodeId,
    },
    /// A connection attempt was not answered in time.
    ConnectTimedOut {
        /// The node.
        node: NodeId,
    },
    /// A connection broke.
    ConnectionLost {
        /// The node.
        node: NodeId,
    },
    /// A ping really left (S11).
    PingSent {
        /// The node.
        node: NodeId,
        /// Which ping.
        seq: u64,
    },
    /// A ping was answered.
    Pong {
        /// The node.
        node: NodeId,
        /// Which ping.
        seq: u64,
        /// What the node says of itself.
        report: Report,
        /// What the node sees of others.
        sightings: Vec<Sighting>,
    },
    /// A verdict on a node was reached.
    Judged {
        /// The node.
        node: NodeId,
        /// The verdict.
        health: Health,
        /// What the policy wants to keep of it (bounded where verdicts are validated).
        memory: Vec<u8>,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch { node, role, health } => write!(f, "watch {node} {role} {health}"),
            Self::Unwatch { node } => write!(f, "unwatch {node}"),
            Self::IntervalSet { interval_ms } => write!(f, "interval {interval_ms}ms"),
            Self::Tick => f.write_str("tick"),
            Self::Connected { node } => write!(f, "{node} connected"),
            Self::ConnectRefused { node } => write!(f, "{node} connect refused"),
            Self::ConnectTimedOut { node } => write!(f, "{node} connect timed out"),
            Self::ConnectionLost { node } => write!(f, "{node} connection lost"),
            Self::PingSent { node, seq } => write!(f, "{node} ping {seq} sent"),
            Self::Pong { node, seq, .. } => write!(f, "{node} pong {seq}"),
            Self::Judged { node, health, .. } => write!(f, "{node} judged {health}"),
        }
    }
}

/// What is to be done. The order within a step matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// Start a connection attempt; it ends in `Connected`, `ConnectRefused` or `ConnectTimedOut`.
    Connect {
        /// The node.
        node: NodeId,
    },
    /// Close the connection and give up a running attempt; nothing is to be told of it any more.
    Disconnect {
        /// The node.
        node: NodeId,
    },
    /// Send a ping; `PingSent` follows only if it really leaves.
    Ping {
        /// The node.
        node: NodeId,
        /// Which ping.
        seq: u64,
    },
    /// The opinion of a node changed; reported once for each change.
    HealthChanged {
        /// The node.
        node: NodeId,
        /// The opinion until now; never equal to `to`.
        from: Health,
        /// The opinion from now on.
        to: Health,
    },
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { node } => write!(f, "connect {node}"),
            Self::Disconnect { node } => write!(f, "disconnect {node}"),
            Self::Ping { node, seq } => write!(f, "ping {node} {seq}"),
            Self::HealthChanged { node, from, to } => write!(f, "{node} {from} ⇨ {to}"),
        }
    }
}
