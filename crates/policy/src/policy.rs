//! What every policy is, in the sandbox and outside it.

use crate::{
    Classic, DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput, ElectionVerdict,
    MaintenanceInput, MaintenanceVerdict, NodeVerdict, PlacementInput, PlacementVerdict, PromotionInput,
    PromotionVerdict, RejoinInput, RejoinVerdict, RetryInput, RetryVerdict, Settings,
};

/// A policy: pure functions from what is known to a verdict.
///
/// Everything is in the input. The same input gets the same answer, on every node and in every replay.
/// A decision point that a policy does not answer itself is answered as [`Classic`] does.
pub trait Policy {
    /// What the policy says of itself.
    fn describe(&self) -> Description;

    /// Whether the settings make sense. Asked when they are bound; a bad setting never reaches a decision.
    ///
    /// # Errors
    /// A sentence for the operator who set them.
    fn check(&self, settings: &Settings) -> Result<(), String> {
        let _ = settings;
        Ok(())
    }

    /// Judges the nodes: exactly one verdict for each.
    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        Classic.detect(input)
    }

    /// Decides whether this voting member campaigns now.
    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        Classic.elect(input)
    }

    /// Ranks the candidates, best first. At least one must be ranked; all of them are safe.
    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        Classic.promote(input)
    }

    /// Decides whether a primary goes on without a replica that lags.
    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        Classic.degrade(input)
    }

    /// Decides whether a leaf that answers again is used again.
    fn rejoin(&self, input: &RejoinInput) -> RejoinVerdict {
        Classic.rejoin(input)
    }

    /// Shares partitions out among cells: one place for each.
    fn place(&self, input: &PlacementInput) -> PlacementVerdict {
        Classic.place(input)
    }

    /// Says in which stages nodes are worked on: each node in one of them.
    fn maintain(&self, input: &MaintenanceInput) -> MaintenanceVerdict {
        Classic.maintain(input)
    }

    /// Decides whether a statement waits for somebody who could carry it out.
    fn retry(&self, input: &RetryInput) -> RetryVerdict {
        Classic.retry(input)
    }
}
