//! Runs policies: WASM components in a sandbox, with native classic behind every one of them.
//!
//! * A call is a pure function: a fresh instance each time, nothing imported but a log line, so the same input gets
//!   the same answer on every node and in every replay.
//! * A call is bounded: by fuel (the budget, deterministic), by memory, by stack, by the size of its answer, and by
//!   wall time as the backstop for whatever fuel does not see.
//! * S8: an answer that does not come, or is none, is replaced by that of native classic, and the reason is told.
//!
//! Not here: the decision points themselves (`baton-policy`), who may bind what (the catalog), and recording: a
//! [`Decision`] says all there is to record.

mod binding;
mod bindings;
mod builtin;
mod columns;
mod decider;
mod error;
mod exports;
mod host;
mod module;
mod sandbox;
mod shadow;
pub mod signature;

pub use binding::{Binding, Bindings, BoundFor};
pub use builtin::{BUILTINS, Builtin};
pub use decider::{Decider, Decision, Failed, QUARANTINE_FAILURES, QUARANTINE_WINDOW};
pub use error::{CallError, HostError, LoadError, SettingsError};
pub use exports::Sandboxed;
pub use host::PolicyHost;
pub use module::{Module, sha256_hex};
pub use sandbox::{CallLimits, CallStats, LogLine};
pub use shadow::{DISAGREEMENTS_KEPT, Disagreement, ShadowCounts, ShadowReport};
