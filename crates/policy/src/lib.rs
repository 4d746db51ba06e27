//! The decision points: what a policy is asked, what it may answer, and what is no answer at all.
//!
//! A policy decides *when* (detection, election, degrade) and *whom* (promotion). It is a pure function: time, seed,
//! settings and evidence are fields of the input, and what it wants to remember of a node travels through the
//! caller as bytes.
//! [`Classic`] answers every decision point natively; it is the default, and the fallback for every policy that
//! gives no valid answer; and no policy waits for longer than a ceiling allows (S8). The same code, compiled to WASM, is `policies/classic`.
//!
//! Not here: running a policy in a sandbox (`baton-policy-host`), gathering evidence (`baton-detector`), and any
//! say in what is safe. Options reach a policy only after the kernel has proved them safe.
//!
//! The WASM interface in `policies/wit` says the same as these types, in the same words.

mod ceiling;
mod classic;
mod degrade;
mod detection;
mod election;
mod evidence;
mod manifest;
mod point;
mod policy;
mod promotion;
mod rejection;
mod settings;

pub use ceiling::{
    DEGRADE_CEILING, DETECTION_CEILING, enforce_degrade_ceiling, enforce_detection_ceiling, is_overdue,
};
pub use classic::Classic;
pub use degrade::{DegradeChoice, DegradeInput, DegradeVerdict, validate_degrade};
pub use detection::{DetectionInput, NodeVerdict, validate_detection};
pub use election::{ElectionChoice, ElectionInput, ElectionVerdict, VoterView, validate_election};
pub use evidence::{Health, NodeEvidence, Vitals, Witness};
pub use manifest::{Description, Manifest};
pub use point::{DecisionPoint, UnknownDecisionPoint};
pub use policy::Policy;
pub use promotion::{Candidate, PromotionInput, PromotionVerdict, validate_promotion};
pub use rejection::{MEMORY_BYTES_MAX, REASON_BYTES_MAX, Rejection};
pub use settings::{NumberSetting, SettingDoc, Settings};
