//! What happens in a world: what nodes say to each other, what they do after a while, and what befalls them.

use std::fmt;

use baton_catalog::Entry;
use baton_failover::LagReport;
use baton_model::{Epoch, Lsn, NodeId, PartitionId, TransactionId};
use baton_replication as replication;

use super::World;
use super::control::Message as ControlMessage;
use super::observer::{Ping, Pong};
use super::switchover::Standing;
use super::transaction::Alarm;
use super::wire::{Answer, Ask, Question, Reply};
use crate::kernel::{ConnId, Time};

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Pings.
    Heartbeat,
    /// A leaf watches an aggregator's catalog.
    Watch,
    /// A replica follows its primary.
    Replicate(PartitionId),
}

/// What nodes say to each other.
#[expect(missing_docs, reason = "the fields are what the lines say")]
#[derive(Debug)]
pub enum Body {
    /// On a heartbeat connection.
    Ping(Ping),
    /// The answer.
    Pong(Box<Pong>),
    /// On a watch: everything up to this index is there.
    News(u64),
    /// On a link between instances.
    Replication(replication::Message),
    /// Between members of the control group.
    Control(ControlMessage),
    /// To a partition's primary.
    Call { call: u64, partition: PartitionId, ask: Ask },
    /// Its answer.
    Answer { call: u64, answer: Answer },
    /// Nobody took the call: it was not carried out.
    Unheard { call: u64 },
    /// Whoever had the call is gone: it may have been carried out.
    Lost { call: u64 },
    /// What is not about one partition.
    Question { call: u64, question: Box<Question> },
    /// Its answer.
    Reply { call: u64, reply: Box<Reply> },
    /// A leaf asks the master aggregator for something.
    Propose(Box<Entry>),
    /// A primary tells the master aggregator that a replica keeps it waiting.
    Lag(Box<LagReport>),
    /// "How is your instance?" Before a hand-over to it.
    AskInstance { number: u64, partition: PartitionId },
    /// The answer.
    InstanceTold { number: u64, told: Option<Standing> },
    /// "Stop taking writes, and say when nothing is under way any more."
    Drain { number: u64, partition: PartitionId, epoch: Epoch, to: NodeId, drain: Time, hold: Time },
    /// The answer.
    Drained { number: u64, result: Result<Lsn, String> },
    /// "Remove what you have of this partition", for a step of a plan, by this catalog.
    DropOrphan { step: (u64, u32), partition: PartitionId, index: u64 },
    /// It is removed.
    OrphanDropped { step: (u64, u32) },
    /// "How far are your instances?"
    AskPositions,
    /// The answer.
    Positions(Vec<(PartitionId, baton_model::Lsn)>),
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(ping) => write!(f, "Ping {}", ping.seq),
            Self::Pong(pong) => write!(f, "Pong {}", pong.seq),
            Self::News(index) => write!(f, "News #{index}"),
            Self::Replication(message) => write!(f, "{message}"),
            Self::Control(message) => write!(f, "{message}"),
            Self::Call { call, partition, ask } => write!(f, "Call {call} {partition} {ask:?}"),
            Self::Question { call, question } => write!(f, "Question {call} {question:?}"),
            Self::Reply { call, reply } => write!(f, "Reply {call} {reply:?}"),
            Self::Answer { call, answer } => write!(f, "Answer {call} {answer:?}"),
            Self::Unheard { call } => write!(f, "Unheard {call}"),
            Self::Lost { call } => write!(f, "Lost {call}"),
            Self::Propose(entry) => write!(f, "Propose {:?}", entry.command),
            Self::Lag(report) => {
                write!(f, "Lag {} {} {} ms", report.partition, report.replica, report.silent_ms)
            }
            Self::AskInstance { partition, .. } => write!(f, "AskInstance {partition}"),
            Self::InstanceTold { told, .. } => write!(f, "InstanceTold {told:?}"),
            Self::Drain { partition, epoch, to, .. } => write!(f, "Drain {partition} {epoch} for {to}"),
            Self::Drained { result, .. } => write!(f, "Drained {result:?}"),
            Self::DropOrphan { partition, index, .. } => write!(f, "DropOrphan {partition} by #{index}"),
            Self::OrphanDropped { step } => write!(f, "OrphanDropped {step:?}"),
            Self::AskPositions => f.write_str("AskPositions"),
            Self::Positions(told) => write!(f, "Positions {told:?}"),
        }
    }
}

/// Something a node's process does after a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// An aggregator pings.
    Tick,
    /// An aggregator renews leases between heartbeats that are far apart.
    RenewLeases,
    /// A leader lets the members know that it lives.
    ControlHeartbeat,
    /// The next round of pre-votes.
    Campaign,
    /// A member looks whether it is led.
    LookForLeader,
    /// The master aggregator looks again.
    LookAgain,
    /// The master aggregator asks for positions; every aggregator lets its watchers know that it lives.
    EverySecond,
    /// A plan waits for its outcome no longer.
    PlanTimeout(u64),
    /// The master aggregator looks at operators' plans.
    LookAtPlans,
    /// A hand-over waits no longer, if it is still at this turn.
    Switch(u64, u64),
    /// Time passes for the instances of a leaf.
    LeafTick,
    /// A replica tries again to reach its primary.
    LinkRetry(PartitionId, u64),
    /// The next piece of a copy.
    FetchStep(u64),
    /// A leaf shows what it has read, if it still may.
    Show(u64),
    /// A primary that is to hand over waits no longer for open transactions.
    CloseTimeout(PartitionId, u64),
    /// A leaf looks whether its watch is still good.
    WatchLook,
    /// A statement is tried again.
    Retry(u64),
    /// A statement is given up.
    GiveUp(u64),
    /// A step of a commit is asked for again.
    CallTimeout(u64),
    /// A transaction does something.
    Transaction(TransactionId, Alarm),
    /// A question about an outcome waits no longer, at this stage.
    Inquiry(u64, u8),
    /// A connection attempt has taken too long.
    ConnectTimeout(u64),
}

/// An event of the world.
#[expect(missing_docs, reason = "the fields are what the lines say")]
#[derive(Debug)]
pub enum Event {
    /// Something arrives at an end of a connection.
    Arrive { conn: ConnId, end: usize },
    /// A message that is on no connection arrives.
    Datagram { from: usize, to: usize, body: Box<Body>, sent: Time },
    /// Somebody asks for a connection.
    Syn { from: usize, to: usize, purpose: Purpose, attempt: u64 },
    /// The answer: a connection, or whether it was the host that refused or the process.
    SynAnswer { to: usize, run: u32, purpose: Purpose, attempt: u64, answer: Result<ConnId, Refused> },
    /// A process notices that a connection is gone.
    Down { node: usize, run: u32, conn: ConnId, purpose: Purpose, peer: usize },
    /// A connection has been silent for as long as one may be.
    Keepalive { conn: ConnId, since: Time },
    /// A process has waited.
    Timer { node: usize, run: u32, timer: Timer },
    /// A sync is done.
    Synced { node: usize, run: u32 },
    /// A client does the next thing.
    Client(usize),
    /// The world gets worse, or better.
    Nemesis(u64),
}

impl Event {
    /// Whose process takes it.
    pub(super) fn node(&self, world: &World) -> Option<usize> {
        match self {
            Self::Arrive { conn, end } => world.net.about(*conn).map(|(_, ends)| ends[*end]),
            Self::Datagram { to, .. } | Self::SynAnswer { to, .. } => Some(*to),
            Self::Syn { to, purpose, .. } if *purpose != Purpose::Heartbeat => Some(*to),
            Self::Down { node, .. } | Self::Timer { node, .. } | Self::Synced { node, .. } => Some(*node),
            Self::Syn { .. } | Self::Keepalive { .. } | Self::Client(_) | Self::Nemesis(_) => None,
        }
    }

    /// Its kind, for the digest.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::Arrive { conn, end } => conn.0 << 1 | *end as u64,
            Self::Datagram { from, to, .. } => 1 << 60 | (*from as u64) << 8 | *to as u64,
            Self::Syn { attempt, .. } => 2 << 60 | *attempt,
            Self::SynAnswer { attempt, .. } => 3 << 60 | *attempt,
            Self::Down { conn, .. } => 4 << 60 | conn.0,
            Self::Keepalive { conn, .. } => 5 << 60 | conn.0,
            Self::Timer { node, .. } => 6 << 60 | *node as u64,
            Self::Synced { node, .. } => 7 << 60 | *node as u64,
            Self::Client(client) => 8 << 60 | *client as u64,
            Self::Nemesis(number) => 9 << 60 | *number,
        }
    }
}

/// Why a connection was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The host is there, the process is not.
    ByHost,
    /// The process does not want it now.
    ByProcess,
}
