//! The moments at which the cluster asks a policy.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A moment at which the cluster asks a policy. Each is bound to a module separately.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum DecisionPoint {
    /// Which of the pinged nodes are healthy, suspect or failed. Asked at every tick and at every piece of hard
    /// evidence.
    Detection,
    /// Whether this voting member campaigns to become the master aggregator. Asked at every tick.
    Election,
    /// Which safe candidate becomes primary of a partition that lost its own. Asked once per partition and failover.
    Promotion,
    /// Whether a primary goes on without a replica that lags. Asked with every report of a primary that waits.
    Degrade,
    /// Whether a leaf that failed and answers again is used again. Asked at every look.
    Rejoin,
    /// Which leaves hold the partitions of a database. Asked when one is created, rebalanced or moved off a leaf.
    Placement,
    /// In which order nodes are worked on. Asked when an operator plans it.
    Maintenance,
    /// Whether a statement waits for a primary, or a master aggregator, that is not there. Asked by its aggregator.
    Retry,
}

impl DecisionPoint {
    /// All of them, in the order in which `SHOW POLICIES` prints them.
    pub const ALL: [Self; 8] = [
        Self::Detection,
        Self::Election,
        Self::Promotion,
        Self::Degrade,
        Self::Rejoin,
        Self::Placement,
        Self::Maintenance,
        Self::Retry,
    ];

    /// The name as SQL and WIT spell it: one word in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Election => "election",
            Self::Promotion => "promotion",
            Self::Degrade => "degrade",
            Self::Rejoin => "rejoin",
            Self::Placement => "placement",
            Self::Maintenance => "maintenance",
            Self::Retry => "retry",
        }
    }
}

impl fmt::Display for DecisionPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No decision point has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownDecisionPoint(pub String);

impl fmt::Display for UnknownDecisionPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = DecisionPoint::ALL.map(DecisionPoint::name).join(", ");
        write!(f, "unknown decision point '{}'; there are {known}", self.0)
    }
}

impl std::error::Error for UnknownDecisionPoint {}

/// Reads a name without regard to case, as SQL does.
impl FromStr for DecisionPoint {
    type Err = UnknownDecisionPoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|point| point.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownDecisionPoint(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for point in DecisionPoint::ALL {
            assert_eq!(point.to_string().to_uppercase().parse(), Ok(point));
        }
        assert_eq!("lunch".parse::<DecisionPoint>(), Err(UnknownDecisionPoint("lunch".into())));
    }
}
