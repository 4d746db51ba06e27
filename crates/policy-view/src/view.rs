//! A view: a question of any decision point, and the verdict upon it.

use std::fmt;

use baton_policy::{
    Decided, DecisionPoint, DegradeInput, DegradeVerdict, DetectionInput, ElectionInput, ElectionVerdict,
    MaintenanceInput, MaintenanceVerdict, NodeVerdict, PlacementInput, PlacementVerdict, Policy,
    PromotionInput, PromotionVerdict, Question, Rejection, RejoinInput, RejoinVerdict, RetryInput,
    RetryVerdict, Settings,
};
use serde::{Deserialize, Serialize};

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
    /// Whether to use a leaf again.
    Rejoin(Asked<RejoinInput, RejoinVerdict>),
    /// Where partitions go.
    Placement(Asked<PlacementInput, PlacementVerdict>),
    /// In which order nodes are worked on.
    Maintenance(Asked<MaintenanceInput, MaintenanceVerdict>),
    /// Whether a statement waits.
    Retry(Asked<RetryInput, RetryVerdict>),
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

/// The same for a view of any decision point.
#[macro_export]
macro_rules! each_view {
    ($view:expr, $asked:ident => $what:expr) => {
        match $view {
            $crate::View::Detection($asked) => $what,
            $crate::View::Election($asked) => $what,
            $crate::View::Promotion($asked) => $what,
            $crate::View::Degrade($asked) => $what,
            $crate::View::Rejoin($asked) => $what,
            $crate::View::Placement($asked) => $what,
            $crate::View::Maintenance($asked) => $what,
            $crate::View::Retry($asked) => $what,
        }
    };
}

/// The same for a view of any decision point, which is then a view of the same.
#[macro_export]
macro_rules! map_view {
    ($view:expr, $asked:ident => $what:expr) => {
        match $view {
            $crate::View::Detection($asked) => $crate::View::Detection($what),
            $crate::View::Election($asked) => $crate::View::Election($what),
            $crate::View::Promotion($asked) => $crate::View::Promotion($what),
            $crate::View::Degrade($asked) => $crate::View::Degrade($what),
            $crate::View::Rejoin($asked) => $crate::View::Rejoin($what),
            $crate::View::Placement($asked) => $crate::View::Placement($what),
            $crate::View::Maintenance($asked) => $crate::View::Maintenance($what),
            $crate::View::Retry($asked) => $crate::View::Retry($what),
        }
    };
}

/// A question of which there are views.
pub trait Viewed: Question {
    /// The question with its verdict.
    fn view(self, verdict: Self::Verdict) -> View;
}

macro_rules! viewed {
    ($($point:ident: $question:ty),+ $(,)?) => {
        $(impl Viewed for $question {
            fn view(self, verdict: Self::Verdict) -> View {
                View::$point(Asked { input: self, verdict: Some(verdict) })
            }
        })+
    };
}

viewed! {
    Detection: DetectionInput,
    Election: ElectionInput,
    Promotion: PromotionInput,
    Degrade: DegradeInput,
    Rejoin: RejoinInput,
    Placement: PlacementInput,
    Maintenance: MaintenanceInput,
    Retry: RetryInput,
}

impl<Q: Question> Asked<Q, Q::Verdict> {
    const fn point(&self) -> DecisionPoint {
        Q::POINT
    }

    fn answered_by(&self, policy: &dyn Policy) -> Result<Self, Rejection> {
        let verdict = self.input.answer_of(policy);
        self.input.validate(&verdict)?;
        Ok(Self { input: self.input.clone(), verdict: Some(verdict) })
    }

    fn within_ceiling(mut self) -> Self {
        if let Some(verdict) = &mut self.verdict {
            self.input.enforce_ceiling(verdict);
        }
        self
    }

    fn differences(&self, other: &Self) -> Vec<Difference> {
        let (Some(was), Some(is)) = (&self.verdict, &other.verdict) else {
            return Vec::new();
        };
        let found = self.input.disagreements(was, is).into_iter();
        found.map(|(was, is)| Difference { was, is }).collect()
    }

    fn decided(&self) -> Vec<Decided> {
        self.verdict.as_ref().map_or_else(Vec::new, |verdict| self.input.decided(verdict))
    }
}

impl View {
    /// The decision point.
    #[must_use]
    pub const fn point(&self) -> DecisionPoint {
        each_view!(self, asked => asked.point())
    }

    /// When it was asked: the asking node's monotonic clock, in milliseconds since its process started.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        each_view!(self, asked => asked.input.now_ms())
    }

    /// The settings with which a policy is asked.
    pub fn settings_mut(&mut self) -> &mut Settings {
        each_view!(self, asked => asked.input.settings_mut())
    }

    /// Whether there is a verdict.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        each_view!(self, asked => asked.verdict.is_some())
    }

    /// The same question, with the verdict overruled where it decides nothing for longer than any policy may (S8).
    #[must_use]
    pub fn within_ceiling(self) -> Self {
        map_view!(self, asked => asked.within_ceiling())
    }

    /// The same question with the answer of a native policy.
    ///
    /// # Errors
    /// Why that is no answer.
    pub fn answered_by(&self, policy: &dyn Policy) -> Result<Self, Rejection> {
        Ok(map_view!(self, asked => asked.answered_by(policy)?))
    }

    /// What is decided otherwise in another view of the same question; reasons and what a policy remembers decide
    /// nothing. Empty if nothing is, or either has no verdict.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        macro_rules! alike {
            ($($point:ident),+) => {
                match (self, other) {
                    $((Self::$point(was), Self::$point(is)) => was.differences(is),)+
                    $((Self::$point(_), _) => Vec::new(),)+
                }
            };
        }
        alike!(Detection, Election, Promotion, Degrade, Rejoin, Placement, Maintenance, Retry)
    }

    /// What is decided, and of whom. Empty if there is no verdict.
    #[must_use]
    pub fn decided(&self) -> Vec<Decided> {
        each_view!(self, asked => asked.decided())
    }
}

/// What would have been decided otherwise of one subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What is decided in the one view.
    pub was: Decided,
    /// What is decided in the other one.
    pub is: Decided,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.is.subject, self.was, self.is)
    }
}
