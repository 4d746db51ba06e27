//! What the decision points have in common: an input, a verdict upon it, and who gives one.
//!
//! Whoever replays or tests does so for every decision point alike.

use baton_policy::{
    DecisionPoint, DegradeInput, DegradeVerdict, DetectionInput, ElectionInput, ElectionVerdict, NodeVerdict,
    Policy, PromotionInput, PromotionVerdict, Rejection, Settings, validate_degrade, validate_detection,
    validate_election, validate_promotion,
};

/// The input of one decision point.
pub trait Question {
    /// What is answered.
    type Verdict;
    /// The decision point.
    const POINT: DecisionPoint;

    /// The settings of the binding, to be written before a policy is asked.
    fn settings_mut(&mut self) -> &mut Settings;

    /// Has a native policy answer.
    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict;

    /// Whether a verdict is an answer.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection>;
}

impl Question for DetectionInput {
    type Verdict = Vec<NodeVerdict>;
    const POINT: DecisionPoint = DecisionPoint::Detection;

    fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.detect(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_detection(self, verdict)
    }
}

impl Question for ElectionInput {
    type Verdict = ElectionVerdict;
    const POINT: DecisionPoint = DecisionPoint::Election;

    fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.elect(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_election(verdict)
    }
}

impl Question for PromotionInput {
    type Verdict = PromotionVerdict;
    const POINT: DecisionPoint = DecisionPoint::Promotion;

    fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.promote(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_promotion(self, verdict)
    }
}

impl Question for DegradeInput {
    type Verdict = DegradeVerdict;
    const POINT: DecisionPoint = DecisionPoint::Degrade;

    fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.degrade(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_degrade(verdict)
    }
}
