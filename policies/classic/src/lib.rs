//! The reference behaviour as a component: the very code that the node falls back to natively, in the sandbox.
//!
//! Not here: the behaviour. It is in `baton-policy`, so that the two can never differ; a property test of the
//! sandbox proves that they do not.

pub use baton_policy_sdk::Classic;
use baton_policy_sdk::export_policy;

export_policy!(
    Classic: detection, election, promotion, degrade, rejoin, placement, maintenance, retry
);
