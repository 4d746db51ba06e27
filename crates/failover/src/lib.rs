//! From what is wrong to what is done about it.
//!
//! [`problems`] compares the catalog with what the master aggregator sees of its nodes and names what is wrong; it
//! looks at the present state only, so a half-done failover is simply finished by whoever is the master aggregator
//! next.
//! [`Plan::make`] lists the safe options for each problem, lets the `promotion` policy choose among them, and answers
//! with catalog commands that carry their own preconditions: what has changed meanwhile is refused there.
//! [`against_lag`] does the same with what primaries report of replicas that keep them waiting.
//! [`placement`] says where the instances of a new database go.
//!
//! * S4: only `Sync` replicas are ever offered to a policy.
//! * S7: nothing here removes an instance.
//! * S8: what a policy answers is taken only if it was offered.
//!
//! Not here: the evidence and its judgement (`detector`, the `detection` policy), and the proposing of commands.

mod degrade;
mod placement;
mod plan;
mod problem;
mod sight;

pub use degrade::{Degraded, Degrader, LagReport, against_lag};
pub use placement::{NoPlace, pair_of, placement};
pub use plan::{Chosen, Plan, Promoter};
pub use problem::{Problem, problems};
pub use sight::{NodeSight, Sight};
