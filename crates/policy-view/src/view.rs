//! A view: a question of any decision point, and the verdict upon it.

use std::collections::BTreeMap;
use std::fmt;

use baton_policy::{
    DecisionPoint, DegradeInput, DegradeVerdict, DetectionInput, ElectionInput, ElectionVerdict, NodeVerdict,
    Policy, PromotionInput, PromotionVerdict, Rejection, Settings, enforce_degrade_ceiling,
    enforce_detection_ceiling,
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

/// A view, and what else was recorded with it, to be written as one object.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Kept<'a, R> {
    /// The view.
    #[serde(flatten)]
    pub view: &'a View,
    /// All other fields, by name.
    #[serde(flatten)]
    pub rest: R,
}

/// The fields of a view.
pub const VIEW_FIELDS: [&str; 3] = ["point", "input", "verdict"];

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

    /// The same question, with the verdict overruled where it decides nothing for longer than any policy may (S8).
    #[must_use]
    pub fn within_ceiling(mut self) -> Self {
        match &mut self {
            Self::Detection(Asked { input, verdict: Some(verdicts) }) => {
                enforce_detection_ceiling(input, verdicts);
            }
            Self::Degrade(Asked { input, verdict: Some(verdict) }) => enforce_degrade_ceiling(input, verdict),
            _ => {}
        }
        self
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

    /// What is decided otherwise in another view of the same question; reasons and what a policy remembers decide
    /// nothing. Empty if nothing is, or either has no verdict.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        if !self.is_answered() || !other.is_answered() {
            return Vec::new();
        }
        let (mut before, after) = (self.decided(), other.decided());
        let mut found = Vec::new();
        for (subject, is) in after {
            let was = before.remove(&subject).unwrap_or_default();
            if was.choice != is.choice {
                found.push(Difference { subject, was, is });
            }
        }
        let gone = before.into_iter();
        found.extend(gone.map(|(subject, was)| Difference { subject, was, is: Decided::default() }));
        found
    }

    /// What is decided, by whom it is about. Empty if there is no verdict.
    #[must_use]
    pub fn decided(&self) -> BTreeMap<String, Decided> {
        let one = |subject: String, choice: String, reason: &String| {
            (subject, Decided { choice, reason: reason.clone() })
        };
        match self {
            Self::Detection(Asked { verdict: Some(verdicts), .. }) => verdicts
                .iter()
                .map(|v| one(format!("n{}", v.node), v.health.to_string(), &v.reason))
                .collect(),
            Self::Election(Asked { input, verdict: Some(verdict) }) => {
                let choice = format!("{:?}", verdict.choice).to_lowercase();
                [one(format!("n{}", input.self_node), choice, &verdict.reason)].into()
            }
            Self::Promotion(Asked { input, verdict: Some(verdict) }) => {
                let ranking: Vec<String> = verdict.ranking.iter().map(|node| format!("n{node}")).collect();
                let not: String = verdict.rejected.iter().map(|(node, _)| format!(", not n{node}")).collect();
                let choice = format!("promote {}{not}", ranking.join(", then "));
                [one(format!("{}_{}", input.database, input.partition), choice, &verdict.reason)].into()
            }
            Self::Degrade(Asked { input, verdict: Some(verdict) }) => {
                let choice = format!("{:?}", verdict.choice).to_lowercase();
                let subject = format!("n{} in {}_{}", input.replica.node, input.database, input.partition);
                [one(subject, choice, &verdict.reason)].into()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// What is decided of one subject. Nothing, if there is no such subject.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decided {
    /// What is to be done, or what it is thought to be.
    pub choice: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.choice.is_empty() {
            return f.write_str("nothing");
        }
        write!(f, "{} ({})", self.choice, self.reason)
    }
}

/// What would have been decided otherwise of one subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Of whom: a node, or a partition.
    pub subject: String,
    /// What is decided in the one view.
    pub was: Decided,
    /// What is decided in the other one.
    pub is: Decided,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.subject, self.was, self.is)
    }
}
