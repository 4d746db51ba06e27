//! What a failover policy is written with.
//!
//! A policy is a type that implements [`Policy`], and one line that exports it:
//!
//! ```
//! use baton_policy_sdk::{
//!     Description, ElectionInput, ElectionVerdict, Policy, export_policy,
//! };
//!
//! #[derive(Default)]
//! struct Eager;
//!
//! impl Policy for Eager {
//!     fn describe(&self) -> Description {
//!         Description { name: "eager".into(), version: "1".into(), settings: Vec::new() }
//!     }
//!
//!     fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
//!         if input.master.misses > 3 && input.rank == 0 {
//!             ElectionVerdict::campaign("three pings were missed")
//!         } else {
//!             ElectionVerdict::wait("the master answers")
//!         }
//!     }
//! }
//!
//! export_policy!(Eager: election);
//! ```
//!
//! The crate is built as `cdylib` for `wasm32-unknown-unknown` and is then a policy that can be bound to the named
//! decision points; built as `rlib` for the host it is an ordinary library whose functions are tested natively.
//! A policy that cannot decide panics: the text reaches the operator, and the classic policy decides instead.
//!
//! The policy's type is made anew with `Default` for every call, in a fresh sandbox: what it keeps in itself or in a
//! static is gone. To remember something of a node, return it as the node's `memory`.
//!
//! Not here: clocks, randomness, files, sockets. There are none in the sandbox; the input carries the time and a seed.

pub mod log;
#[cfg(not(target_arch = "wasm32"))]
pub mod views;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

pub use baton_model::NodeRole;
pub use baton_policy::{
    Candidate, Cell, Classic, DecisionPoint, DegradeChoice, DegradeInput, DegradeVerdict, Description,
    DetectionInput, ElectionChoice, ElectionInput, ElectionVerdict, Health, LeafLoad, MEMORY_BYTES_MAX,
    MaintainedNode, MaintenanceInput, MaintenancePurpose, MaintenanceStage, MaintenanceVerdict, Manifest,
    NodeEvidence, NodeVerdict, NumberSetting, Place, PlacementInput, PlacementVerdict, Policy, Present,
    PromotionInput, PromotionVerdict, Question, REASON_BYTES_MAX, Rejection, RejoinChoice, RejoinInput,
    RejoinVerdict, RetryChoice, RetryInput, RetryVerdict, SettingDoc, Settings, Shared, UnknownDecisionPoint,
    Vitals, VoterView, Witness, validate_degrade, validate_detection, validate_election,
    validate_maintenance, validate_placement, validate_promotion, validate_rejoin, validate_retry,
};
pub use smol_str::{SmolStr, format_smolstr};

/// Exports a policy from this crate: `export_policy!(MyPolicy: detection, promotion);`
///
/// The policy is an identifier of a type that is [`Policy`] and [`Default`]. The names after the colon are the
/// decision points that it can be bound to. Does nothing where the crate is not built for WASM.
#[macro_export]
macro_rules! export_policy {
    ($policy:ident: $($point:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::wasm::manifest::export!($policy with_types_in $crate::wasm::manifest);
            $($crate::wasm::$point::export!($policy with_types_in $crate::wasm::$point);)+
        };
    };
}
