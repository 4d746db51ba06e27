//! The cluster's metadata as a replicated state machine.
//!
//! [`Catalog::apply`] takes one committed [`Entry`] and answers with an [`Outcome`]; same state, same entry, same
//! answer, on every node.
//! Every change of a partition's primary, epoch or sync states happens here and nowhere else, under preconditions
//! that the command carries; what does not hold any more is a [`Rejection`], never a half-done change.
//!
//! * S1: only [`Command::PromoteInstance`], [`Command::HandOver`], [`Command::ForcePrimary`] and a node's return move an
//!   epoch, by one.
//! * S3: a replica leaves the in-sync set only by [`Command::SetSyncState`], or with its failed node, or when it is taken
//!   away by an operator's plan.
//! * S4: only a `Sync` replica can be promoted, whoever asks; [`Command::ForcePrimary`] is an operator's word alone.
//! * S7: [`Command::DropReplica`] leaves a primary that serves, and as many copies as its plan says.
//!
//! A clone costs nothing (persistent maps), so readers keep a version as long as they like.
//! Not here: who proposes, when, and why (`failover`), and how entries are agreed on (`consensus`).

mod apply;
mod catalog;
mod command;
pub mod grants;
mod objects;
mod outcome;
mod plans;
mod row;
pub mod variables;

pub use catalog::Catalog;
pub use command::{Command, Entry, InstancePlacement, NewBinding, NewNode, NewStep, ReferenceWrite};
pub use grants::{GrantScope, Grants, Privilege};
pub use objects::{
    Binding, BindingKey, BindingScope, BoundModule, Database, Decision, Event, Node, Partition, PolicyModule,
    PolicySignature, PolicyVersions, Quarantine, REFERENCE_POLICY, Restore, SetAside, Severity, Table, User,
    event_type,
};
pub use outcome::{Applied, Outcome, Rejection, Reply};
pub use plans::{OperatorPlan, PlanAction, PlanKind, PlanStep, StepStatus};
pub use row::{CatalogRow, RowKey};
