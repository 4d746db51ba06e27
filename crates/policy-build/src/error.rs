//! What can go wrong, and what to do.

use std::io;

use thiserror::Error;

/// A policy could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A program could not be started.
    #[error("cannot start `{program}`: {error}")]
    NotStarted {
        /// As one would type it.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// A program ended badly; it said why itself.
    #[error("`{program}` ended with {status}")]
    Failed {
        /// As one would type it.
        program: String,
        /// How it ended.
        status: String,
    },
    /// A program said what cannot be understood.
    #[error("`{program}` printed what cannot be understood: {what}")]
    Garbled {
        /// As one would type it.
        program: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is no standard library for the sandbox, and none can be had.
    #[error(
        "this Rust has no standard library for wasm32-unknown-unknown; with rustup: `rustup target add \
         wasm32-unknown-unknown`, or `rustup component add rust-src`; on Debian: `apt-get install rustc-web cargo-web \
         rust-web-src lld`"
    )]
    NoLibrary,
    /// A place that has to be known is not.
    #[error("neither CARGO_HOME nor HOME is set")]
    NoHome,
    /// There are no bindings for what is wanted.
    #[error("no bindings can be made: {0}")]
    NoBindings(String),
    /// What was built is no policy.
    #[error("no component can be made of it: {0}")]
    NoComponent(String),
    /// It wants something from the outside that no policy gets.
    #[error("it imports {0}; a policy may import a line of log and nothing else")]
    ForeignImport(String),
}
