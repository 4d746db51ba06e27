//! A view: a question of any decision point, and the verdict upon it.

use baton_policy::{
    DecisionPoint, DegradeInput, DegradeVerdict, DetectionInput, ElectionInput, ElectionVerdict, NodeVerdict,
    Policy, PromotionInput, PromotionVerdict, Rejection, Settings,
};
use serde::{Deserialize, Serialize};

use crate::Question;

/// A question of one decision point.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked<I, V> {
    /// What was asked.
    pub input: I,
    /// What was answered; none if nobody was asked yet.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub verdict: Option<V>,
}

fn none<V>() -> Option<V> {
    None
}

/// A question of any decision point.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "point", rename_all = "lowercase")]
pub enum View {
    /// Which nodes have failed.
    Detection(Asked<DetectionInput, Vec<NodeVerdict>>),
    /// Whether to campaign.
    Election(Asked<ElectionInput, ElectionVerdict>),
    /// Whom to promote.
    Promotion(Asked<PromotionInput, PromotionVerdict>),
    /// Whether to go on without a replica.
    Degrade(Asked<DegradeInput, DegradeVerdict>),
}

impl View {
    /// The decision point.
    #[must_use]
    pub const fn point(&self) -> DecisionPoint {
        match self {
            Self::Detection(_) => DecisionPoint::Detection,
            Self::Election(_) => DecisionPoint::Election,
            Self::Promotion(_) => DecisionPoint::Promotion,
            Self::Degrade(_) => DecisionPoint::Degrade,
        }
    }

    /// When it was asked: the asking node's monotonic clock, in milliseconds since its process started.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        match self {
            Self::Detection(asked) => asked.input.now_ms,
            Self::Election(asked) => asked.input.now_ms,
            Self::Promotion(asked) => asked.input.now_ms,
            Self::Degrade(asked) => asked.input.now_ms,
        }
    }

    /// The settings with which a policy is asked.
    pub fn settings_mut(&mut self) -> &mut Settings {
        match self {
            Self::Detection(asked) => asked.input.settings_mut(),
            Self::Election(asked) => asked.input.settings_mut(),
            Self::Promotion(asked) => asked.input.settings_mut(),
            Self::Degrade(asked) => asked.input.settings_mut(),
        }
    }

    /// Whether there is a verdict.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        match self {
            Self::Detection(asked) => asked.verdict.is_some(),
            Self::Election(asked) => asked.verdict.is_some(),
            Self::Promotion(asked) => asked.verdict.is_some(),
            Self::Degrade(asked) => asked.verdict.is_some(),
        }
    }

    /// The same question with the answer of a native policy.
    ///
    /// # Errors
    /// Why that is no answer.
    pub fn answered_by(&self, policy: &dyn Policy) -> Result<Self, Rejection> {
        fn answer<Q: Question + Clone>(
            asked: &Asked<Q, Q::Verdict>,
            policy: &dyn Policy,
        ) -> Result<Asked<Q, Q::Verdict>, Rejection> {
            let verdict = asked.input.answer_of(policy);
            asked.input.validate(&verdict)?;
            Ok(Asked { input: asked.input.clone(), verdict: Some(verdict) })
        }
        Ok(match self {
            Self::Detection(asked) => Self::Detection(answer(asked, policy)?),
            Self::Election(asked) => Self::Election(answer(asked, policy)?),
            Self::Promotion(asked) => Self::Promotion(answer(asked, policy)?),
            Self::Degrade(asked) => Self::Degrade(answer(asked, policy)?),
        })
    }

    /// What is decided otherwise in another view of the same question, a line each; reasons and what a policy remembers
    /// decide nothing. Empty if nothing is, or either has no verdict.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (before, after) = (self.decided(), other.decided());
        let mut lines = Vec::new();
        for (subject, choice, reason) in &after {
            let was = before.iter().find(|(known, ..)| known == subject);
            if let Some((_, known, why)) = was.filter(|(_, known, _)| known != choice) {
                lines.push(format!("{subject}: {known} ({why}) → {choice} ({reason})"));
            }
        }
        lines
    }

    /// What is decided: of what, how, and why.
    #[must_use]
    pub fn decided(&self) -> Vec<(String, String, String)> {
        match self {
            Self::Detection(Asked { verdict: Some(verdicts), .. }) => {
                let one = |v: &NodeVerdict| (format!("n{}", v.node), v.health.to_string(), v.reason.clone());
                let mut all: Vec<_> = verdicts.iter().collect();
                all.sort_by_key(|verdict| verdict.node);
                all.into_iter().map(one).collect()
            }
            Self::Election(Asked { input, verdict: Some(verdict) }) => {
                let choice = format!("{:?}", verdict.choice).to_lowercase();
                vec![(format!("n{}", input.self_node), choice, verdict.reason.clone())]
            }
            Self::Promotion(Asked { input, verdict: Some(verdict) }) => {
                let ranking: Vec<String> = verdict.ranking.iter().map(|node| format!("n{node}")).collect();
                let subject = format!("{}_{}", input.database, input.partition);
                vec![(subject, format!("promote {}", ranking.join(", then ")), verdict.reason.clone())]
            }
            Self::Degrade(Asked { input, verdict: Some(verdict) }) => {
                let choice = format!("{:?}", verdict.choice).to_lowercase();
                let subject = format!("n{} in {}_{}", input.replica.node, input.database, input.partition);
                vec![(subject, choice, verdict.reason.clone())]
            }
            _ => Vec::new(),
        }
    }
}
