//! From what is wrong to what is done about it.
//!
//! [`problems`] compares the catalog with what the master aggregator sees of its nodes and names what is wrong; it
//! looks at the present state only, so a half-done failover is simply finished by whoever is the master aggregator
//! next.
//! [`Plan::make`] lists the safe options for each problem, lets the `promotion` policy choose among them, and answers
//! with catalog commands that carry their own preconditions: what has changed meanwhile is refused there.
//! [`against_lag`] does the same with what primaries report of replicas that keep them waiting.
//! [`placement`] says where the instances of a new database go, and [`Campaigner`] when a voting member campaigns to be
//! the master aggregator.
//! [`rebalance`] and [`restore_redundancy`] make the plans that an operator asks for, [`check`] plays them through, and
//! [`next`] says what is to be done about a step of one, whoever began it.
//!
//! * S4: only `Sync` replicas are ever offered to a policy.
//! * S7: no plan against a problem removes an instance; an operator's does, once enough others are in sync.
//! * S8: what a policy answers is taken only if it was offered.
//!
//! Not here: the evidence and its judgement (`detector`, the `detection` policy), and the proposing of commands.
//! [`detection_input`] and [`Sight::of`] only carry them from one to the other.

mod ask;
mod cells;
mod degrade;
mod election;
mod evidence;
mod layout;
mod orphans;
mod placement;
mod plan;
mod problem;
mod rebalance;
mod redundancy;
mod rejoin;
mod sight;
mod stages;
mod steps;

pub use ask::{Answer, Ask};
pub use degrade::{LagReport, against_lag};
pub use election::{Call, Campaigner, Standing};
pub use evidence::{FailedSince, Known, Learned, detection_input, evidence, felt, vitals};
pub use layout::Placer;
pub use orphans::{may_clear, orphans};
pub use placement::{NoPlace, pair_of, placement};
pub use plan::Plan;
pub use problem::{Problem, problems};
pub use rebalance::{NoPlan, Wishes, rebalance};
pub use redundancy::restore_redundancy;
pub use rejoin::Returns;
pub use sight::{HeldBack, NodeSight, Sight};
pub use stages::maintenance_input;
pub use steps::{Next, check, copies_left, next};
