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
mod maintenance;
mod manifest;
mod placement;
mod point;
mod policy;
mod promotion;
mod question;
mod rejection;
mod rejoin;
mod retry;
mod settings;
mod shared;

pub use ceiling::{
    DEGRADE_CEILING, DETECTION_CEILING, REJOIN_CEILING_MS, enforce_degrade_ceiling,
    enforce_detection_ceiling, enforce_rejoin_ceiling, is_overdue,
};
pub use classic::Classic;
pub use degrade::{DegradeChoice, DegradeInput, DegradeVerdict, validate_degrade};
pub use detection::{DetectionInput, NodeVerdict, validate_detection, validate_judged};
pub use election::{ElectionChoice, ElectionInput, ElectionVerdict, VoterView, validate_election};
pub use evidence::{Health, NodeEvidence, Vitals, Witness};
pub use maintenance::{
    MaintainedNode, MaintenanceInput, MaintenancePurpose, MaintenanceStage, MaintenanceVerdict,
    validate_maintenance,
};
pub use manifest::{Description, Manifest};
pub use placement::{Cell, LeafLoad, Place, PlacementInput, PlacementVerdict, Present, validate_placement};
pub use point::{DecisionPoint, UnknownDecisionPoint};
pub use policy::Policy;
pub use promotion::{Candidate, PromotionInput, PromotionVerdict, validate_promotion};
pub use question::{Decided, Question, Scope, Subject};
pub use rejection::{MEMORY_BYTES_MAX, REASON_BYTES_MAX, Rejection};
pub use rejoin::{RejoinChoice, RejoinInput, RejoinVerdict, validate_rejoin};
pub use retry::{RetryChoice, RetryInput, RetryVerdict, validate_retry};
pub use settings::{NumberSetting, SettingDoc, Settings};
pub use shared::Shared;
