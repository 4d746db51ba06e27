//! The kinds of faults, and how often each is drawn.

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A leaf's process is killed and starts again later.
    KillLeaf,
    /// A leaf's process is killed and is back at once.
    RestartLeaf,
    /// A leaf's machine loses power.
    PowerCutLeaf,
    /// Both leaves of a partition lose power.
    PowerCutPair,
    /// An aggregator's process is killed.
    KillAggregator,
    /// An aggregator's machine loses power.
    PowerCutAggregator,
    /// The master aggregator and a leaf are lost together.
    KillMasterAndLeaf,
    /// The whole cluster loses power.
    PowerCutAll,
    /// Somebody who has a part in a commit is lost in the middle of it, or a leaf in the middle of a write.
    AmbushCommit,
    /// A leaf's process is stopped, and goes on later: an old primary wakes up.
    PauseLeaf,
    /// An aggregator's process is stopped, often the master's.
    PauseAggregator,
    /// A machine sleeps, and its clock with it.
    Sleep,
    /// A clock jumps ahead.
    ClockJump,
    /// Two nodes cannot reach each other.
    CutPair,
    /// A node cannot reach another, which can reach it.
    CutOneWay,
    /// A node can reach nobody.
    Isolate,
    /// A node hears everybody and is heard by nobody, or the other way round.
    IsolateOneWay,
    /// The cluster falls into two halves.
    Netsplit,
    /// A leaf and an aggregator can reach each other and nobody else, and clients who do not know go on there.
    Strand,
    /// Leaves can reach each other, but not the aggregators.
    CutLeavesFromMaster,
    /// A way comes and goes.
    Flap,
    /// A replica and its primary lose each other again and again, each time for longer than a primary waits; all others
    /// hear both.
    FlapReplication,
    /// A way is slow.
    SlowWay,
    /// Connections break.
    BreakConnections,
    /// Connections break under calls: what was asked is done, and whoever asked does not hear it, and asks again.
    BreakCalls,
    /// An observer's host takes no pings for a node.
    Clog,
    /// Requests of leaves to the master aggregator come late, and some come twice.
    LateRequests,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails.
    FailSync,
    /// A leaf loses its disk.
    LoseDisk,
    /// An operator changes a variable.
    SetVariable,
    /// An operator binds another policy.
    BindPolicy,
    /// An operator hands the master's office over.
    TransferMaster,
    /// An operator makes a replica the primary, as planned.
    PromotePartition,
    /// An operator has the instances of a database balanced or completed, or stops that.
    Rebalance,
    /// An operator changes what a database promises.
    AlterDatabase,
    /// An operator creates a database, or drops one that was created so.
    CreateOrDropDatabase,
    /// An operator adds a replica of a partition.
    AddReplica,
    /// An operator switches failure detection, or attaching, off for a while.
    SwitchOff,
    /// An operator detaches a leaf, and attaches it again.
    DetachLeaf,
    /// An operator adds a leaf, or removes one.
    ReplaceLeaf,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 41] = [
        Self::KillLeaf,
        Self::RestartLeaf,
        Self::PowerCutLeaf,
        Self::KillAggregator,
        Self::PowerCutAggregator,
        Self::KillMasterAndLeaf,
        Self::PowerCutAll,
        Self::PauseLeaf,
        Self::PauseAggregator,
        Self::Sleep,
        Self::ClockJump,
        Self::CutPair,
        Self::CutOneWay,
        Self::Isolate,
        Self::IsolateOneWay,
        Self::Netsplit,
        Self::Strand,
        Self::CutLeavesFromMaster,
        Self::Flap,
        Self::FlapReplication,
        Self::SlowWay,
        Self::BreakConnections,
        Self::Clog,
        Self::LateRequests,
        Self::SlowDisk,
        Self::FailSync,
        Self::LoseDisk,
        Self::SetVariable,
        Self::BindPolicy,
        Self::TransferMaster,
        Self::PromotePartition,
        Self::Rebalance,
        Self::AlterDatabase,
        Self::CreateOrDropDatabase,
        Self::AddReplica,
        Self::SwitchOff,
        Self::AmbushCommit,
        Self::BreakCalls,
        Self::PowerCutPair,
        Self::DetachLeaf,
        Self::ReplaceLeaf,
    ];

    /// How often it is drawn, before a seed makes its own mixture.
    #[must_use]
    pub fn weight(self) -> u32 {
        match self {
            // Two of what it brings about must meet before anything is wrong.
            Self::FlapReplication => 12,
            // A statement must be on its way, and neither done nor given up.
            Self::RestartLeaf => 14,
            // The policy must notice, a client must write elsewhere, and another one must ask here.
            Self::Strand => 14,
            Self::AmbushCommit => 6,
            Self::PromotePartition => 4,
            // Most of the time there is nothing to do.
            Self::Rebalance => 6,
            // Both must lose what somebody was told of.
            Self::PowerCutPair => 4,
            Self::PowerCutAll | Self::CreateOrDropDatabase => 1,
            _ => 2,
        }
    }
}
