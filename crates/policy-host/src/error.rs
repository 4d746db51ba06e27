//! What can go wrong, by operation.

use baton_model::limits::POLICY_BYTES_MAX;
use baton_policy::{DecisionPoint, Rejection};
use thiserror::Error;

/// The sandbox could not be made; nothing is wrong with any policy.
#[derive(Debug, Error)]
pub enum HostError {
    /// The engine refused its configuration.
    #[error("cannot make the engine that runs policies: {0}")]
    Engine(String),
    /// The thread that measures wall time could not be started.
    #[error("cannot start the thread that bounds the time of policies: {0}")]
    Ticker(#[from] std::io::Error),
}

/// A policy could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LoadError {
    /// It has so many bytes.
    #[error("the policy has {0} bytes, more than {POLICY_BYTES_MAX}")]
    TooLarge(usize),
    /// It is no valid WASM component.
    #[error("this is no WASM component: {0}")]
    NoComponent(String),
    /// It wants something from the outside that no policy gets.
    #[error("the policy imports {0}; a policy may import a line of log and nothing else")]
    ForeignImport(String),
    /// It does not say what it is.
    #[error("the policy does not export baton:policy/manifest")]
    NoManifest,
    /// It can be asked nothing.
    #[error("the policy exports no decision point that this version knows")]
    NoDecisionPoint,
    /// An interface it exports is not what it is called.
    #[error("the policy's interface is not the one it names: {0}")]
    WrongInterface(String),
    /// It failed when it was asked what it is.
    #[error("the policy failed to describe itself: {0}")]
    Undescribed(CallError),
    /// What it says of itself is out of bounds.
    #[error("the policy describes itself badly: {0}")]
    BadDescription(String),
}

/// Settings could not be bound to a policy.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SettingsError {
    /// The policy does not answer this decision point.
    #[error("the policy {0} does not answer the decision point {1}")]
    NotAnswered(String, DecisionPoint),
    /// The policy has no such setting.
    #[error("the policy {0} has no setting '{1}'")]
    Unknown(String, String),
    /// The policy objects.
    #[error("the policy {0} refuses its settings: {1}")]
    Refused(String, String),
    /// The policy failed when it was asked.
    #[error("the policy {0} failed to check its settings: {1}")]
    Failed(String, CallError),
}

/// A policy gave no valid answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CallError {
    /// It does not export this decision point.
    #[error("it does not answer {0}")]
    NotExported(DecisionPoint),
    /// It used up its budget.
    #[error("it used up its fuel of {0}")]
    OutOfFuel(u64),
    /// It was stopped by wall time, which depends on the machine: not to be compared in a replay.
    #[error("it was stopped after {0} ms")]
    TimedOut(u64),
    /// It asked for more memory than it may have.
    #[error("it asked for more than {0} bytes of memory")]
    OutOfMemory(usize),
    /// Its calls went too deep.
    #[error("its stack overflowed")]
    StackOverflow,
    /// It gave up, and said why.
    #[error("{0}")]
    GaveUp(String),
    /// It did what no program may do.
    #[error("it trapped: {0}")]
    Trapped(String),
    /// Its answer could not be read, or is larger than any answer can be.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
    /// Its answer breaks the rules of the decision point.
    #[error("its answer is refused: {0}")]
    Rejected(#[from] Rejection),
}
