//! Why a command failed, in words for whoever typed it.

use std::io;
use std::path::PathBuf;

use baton_policy_build::BuildError;
use baton_policy_host::signature::SignatureError;
use baton_policy_host::{CallError, HostError, LoadError, SettingsError};
use thiserror::Error;

/// Why a command failed. The text says what to do where that is known.
#[derive(Debug, Error)]
pub enum PolicyToolError {
    /// A file or folder could not be used.
    #[error("cannot {verb} {path}: {error}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A name is none.
    #[error("'{0}' is no name for a policy: 1 to 64 lower case letters, digits and `-`, a letter first")]
    BadName(String),
    /// A name means something else.
    #[error("'{0}' means something else to Rust or to cargo; choose another name, such as {0}-policy")]
    TakenName(String),
    /// There is something already.
    #[error("{0} is there already; choose another name, or remove it first")]
    Exists(PathBuf),
    /// The SDK is not where it was said to be.
    #[error("{0} is not the folder of baton-policy-sdk: it has no Cargo.toml of that name")]
    NoSdk(PathBuf),
    /// A folder has no policy.
    #[error("{folder} is not the folder of a policy's crate: {why}")]
    NoPolicy {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        why: String,
    },
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Nothing is wrong with the policy.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The component is no policy.
    #[error("{path}: {error}")]
    Load {
        /// The component.
        path: PathBuf,
        /// Why.
        error: LoadError,
    },
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] SignatureError),
    /// A file has no key or signature, or not for this component.
    #[error("{path}: {why}; `baton policy keygen` makes keys, `baton policy sign` signatures")]
    BadSignature {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The password is not where it was said to be.
    #[error("the environment has no variable {0} with a password: set it, or leave --password-env out")]
    NoPassword(String),
    /// No aggregator carried it out.
    #[error("{address} cannot be asked: {why}; is this the SQL port of an aggregator that runs?")]
    Unreachable {
        /// Its `host:port`.
        address: String,
        /// Why.
        why: String,
    },
    /// The cluster says no.
    #[error("{address} refused it ({code}): {why}")]
    Refused {
        /// Its `host:port`.
        address: String,
        /// The number of the error.
        code: u16,
        /// Why, and what to do.
        why: String,
    },
    /// A setting is not written as one.
    #[error("'{0}' is no setting: write NAME=VALUE")]
    BadSetting(String),
    /// A view cannot be read.
    #[error("{place} is no view: {why}")]
    BadView {
        /// The file, and the line if it has several.
        place: String,
        /// Why.
        why: String,
    },
    /// Neither a file nor a policy that comes with Baton.
    #[error("there is no file '{name}', and no such policy comes with Baton; there are: {known}")]
    NoSuchPolicy {
        /// What was named.
        name: String,
        /// The policies that come with Baton.
        known: String,
    },
    /// A scenario cannot be read, or there is none of that name.
    #[error("{place} is no scenario: {why}")]
    BadScenario {
        /// The file, or the name.
        place: String,
        /// Why.
        why: String,
    },
    /// Some lines of a file of records cannot be read; the others were replayed.
    #[error("{lines} lines cannot be read and were passed over, the first: {first}")]
    Unreadable {
        /// How many.
        lines: usize,
        /// The first, and why.
        first: String,
    },
    /// There are no views.
    #[error("there are no views in {0}: put questions there, one JSON object a file, NAME.json")]
    NoViews(PathBuf),
    /// The policy gave no valid answer.
    #[error("{policy} gave no valid answer, on a cluster native classic would decide instead: {error}")]
    Call {
        /// Its name.
        policy: String,
        /// Why.
        error: CallError,
    },
    /// The policy's own tests failed.
    #[error("the policy's own tests failed (`cargo test`): see above")]
    OwnTests,
    /// Some views are answered otherwise than they say.
    #[error("{failed} of {views} views are not answered as they say; if they should be, say --update")]
    Views {
        /// How many are not.
        failed: usize,
        /// Of how many.
        views: usize,
    },
    /// The same component answered otherwise than it did when it was recorded.
    #[error("{0} decisions of this very component came out otherwise than recorded: it is not deterministic")]
    NotRepeated(usize),
}

/// For `map_err`.
pub(crate) fn io(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> PolicyToolError {
    let path = path.into();
    move |error| PolicyToolError::Io { verb, path, error }
}
