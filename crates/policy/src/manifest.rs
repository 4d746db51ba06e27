//! What a policy says of itself.

use serde::{Deserialize, Serialize};

use crate::{DecisionPoint, SettingDoc};

/// What a policy says of itself when it is loaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The name it is bound by: lower case letters, digits, `_` and `-`.
    pub name: String,
    /// The author's version of it.
    pub version: String,
    /// The settings it understands.
    pub settings: Vec<SettingDoc>,
}

/// A loaded policy's description, and the decision points that its component really exports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The name it is bound by.
    pub name: String,
    /// The author's version of it.
    pub version: String,
    /// The decision points it can be bound to, at least one.
    pub decision_points: Vec<DecisionPoint>,
    /// The settings it understands.
    pub settings: Vec<SettingDoc>,
}

impl Manifest {
    /// Joins what a policy says of itself with what was found in it.
    #[must_use]
    pub fn new(description: Description, decision_points: Vec<DecisionPoint>) -> Self {
        let Description { name, version, settings } = description;
        Self { name, version, decision_points, settings }
    }
}
