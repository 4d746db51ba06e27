//! What the decision points have in common: an input, a verdict upon it, and who gives one.
//!
//! Whoever asks, replays or tests does so for every decision point alike.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    DecisionPoint, DegradeChoice, DegradeInput, DegradeVerdict, DetectionInput, ElectionChoice,
    ElectionInput, ElectionVerdict, Health, MaintenanceInput, MaintenanceVerdict, NodeVerdict,
    PlacementInput, PlacementVerdict, Policy, PromotionInput, PromotionVerdict, Rejection, RejoinChoice,
    RejoinInput, RejoinVerdict, RetryChoice, RetryInput, RetryVerdict, Settings, enforce_degrade_ceiling,
    enforce_detection_ceiling, enforce_rejoin_ceiling, validate_degrade, validate_detection,
    validate_election, validate_maintenance, validate_placement, validate_promotion, validate_rejoin,
    validate_retry,
};

/// The input of one decision point.
pub trait Question:
    Clone + PartialEq + fmt::Debug + Default + Serialize + DeserializeOwned + Send + Sync
{
    /// What is answered.
    type Verdict: Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned + Send + Sync;
    /// The decision point.
    const POINT: DecisionPoint;

    /// When it is asked: the asking node's monotonic clock, in milliseconds since its process started.
    fn now_ms(&self) -> u64;

    /// The settings of the binding.
    fn settings(&self) -> &Settings;

    /// The settings of the binding, to be written before a policy is asked.
    fn settings_mut(&mut self) -> &mut Settings;

    /// Which binding applies, where there are several.
    fn scope(&self) -> Scope<'_> {
        Scope::default()
    }

    /// How many things it is about, each of which takes fuel and has an answer: nodes, partitions and cells.
    fn size(&self) -> usize {
        1
    }

    /// Has a native policy answer.
    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict;

    /// Whether a verdict is an answer.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection>;

    /// Overrules a verdict that decides nothing for longer than any policy may (S8).
    fn enforce_ceiling(&self, verdict: &mut Self::Verdict) {
        let _ = verdict;
    }

    /// What a verdict decides, for people: of whom, what, and why.
    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided>;

    /// What a verdict decides in one line, for people; of one that is about many, how many.
    fn summary(&self, verdict: &Self::Verdict) -> Decided {
        let mut decided = self.decided(verdict);
        match (decided.len(), decided.pop()) {
            (1, Some(only)) => only,
            (count, _) => Decided::new(Subject::Cluster, format!("{count} decided"), ""),
        }
    }

    /// The part of a question that is about an availability group; None if it has no parts, or nothing of that group.
    fn of_group(&self, group: u32) -> Option<Self> {
        let _ = group;
        None
    }

    /// The part of a verdict that is about this question, which may be a part of the one that was decided.
    fn of_verdict(&self, verdict: &Self::Verdict) -> Self::Verdict {
        verdict.clone()
    }

    /// Writes into the question what a policy remembers of each node, and its last opinion of it, in the place of what
    /// another one does.
    fn recall(&mut self, of: &dyn Fn(u64) -> (Health, Vec<u8>)) {
        let _ = of;
    }

    /// What a verdict remembers of nodes.
    fn remembered(verdict: &Self::Verdict) -> Vec<(u64, Health, Vec<u8>)> {
        let _ = verdict;
        Vec::new()
    }

    /// What two verdicts decide differently of the same subject; reasons and what a policy remembers decide nothing.
    fn disagreements(&self, one: &Self::Verdict, other: &Self::Verdict) -> Vec<(Decided, Decided)> {
        let mut before: BTreeMap<Subject, Decided> =
            self.decided(one).into_iter().map(|decided| (decided.subject.clone(), decided)).collect();
        let nothing = |of: &Decided| Decided::new(of.subject.clone(), "nothing", "");
        let mut found = Vec::new();
        for is in self.decided(other) {
            let was = before.remove(&is.subject).unwrap_or_else(|| nothing(&is));
            if was.choice != is.choice {
                found.push((was, is));
            }
        }
        found.extend(before.into_values().map(|was| {
            let is = nothing(&was);
            (was, is)
        }));
        found
    }
}

/// What a question is about, as far as bindings tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scope<'a> {
    /// The database.
    pub database: Option<&'a str>,
    /// The availability group.
    pub group: Option<u32>,
}

/// Whom a decision is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A node.
    Node(u64),
    /// A partition: the name of its database, and its number.
    Partition(String, u32),
    /// A replica of a partition: the name of its database, its number, and its leaf.
    Replica(String, u32, u64),
    /// A database.
    Database(String),
    /// The cluster as a whole.
    Cluster,
}

impl Subject {
    /// The subject with nodes by their names.
    pub fn text(&self, name: impl Fn(u64) -> String) -> String {
        match self {
            Self::Node(node) => name(*node),
            Self::Partition(database, partition) => format!("{database}_{partition}"),
            Self::Replica(database, partition, node) => format!("{database}_{partition} on {}", name(*node)),
            Self::Database(database) => database.clone(),
            Self::Cluster => "cluster".to_owned(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(|node| format!("n{node}")))
    }
}

/// What is decided of one subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// Of whom.
    pub subject: Subject,
    /// What is to be done, or what it is thought to be.
    pub choice: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            return f.write_str(&self.choice);
        }
        write!(f, "{} ({})", self.choice, self.reason)
    }
}

impl Decided {
    fn new(subject: Subject, choice: impl Into<String>, reason: &str) -> Self {
        Self { subject, choice: choice.into(), reason: reason.to_owned() }
    }
}

fn names(nodes: &[u64]) -> Vec<String> {
    nodes.iter().map(|node| format!("n{node}")).collect()
}

/// What all inputs have alike.
macro_rules! common {
    ($point:ident, $verdict:ty) => {
        type Verdict = $verdict;
        const POINT: DecisionPoint = DecisionPoint::$point;

        fn now_ms(&self) -> u64 {
            self.now_ms
        }

        fn settings(&self) -> &Settings {
            &self.settings
        }

        fn settings_mut(&mut self) -> &mut Settings {
            &mut self.settings
        }
    };
}

impl Question for DetectionInput {
    common!(Detection, Vec<NodeVerdict>);

    fn scope(&self) -> Scope<'_> {
        let group = self.nodes.first().map(|node| node.group);
        Scope {
            database: None,
            group: group.filter(|group| self.nodes.iter().all(|node| node.group == *group)),
        }
    }

    fn size(&self) -> usize {
        self.nodes.len()
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.detect(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_detection(self, verdict)
    }

    fn enforce_ceiling(&self, verdict: &mut Self::Verdict) {
        enforce_detection_ceiling(self, verdict);
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let one = |v: &NodeVerdict| Decided::new(Subject::Node(v.node), v.health.to_string(), &v.reason);
        verdict.iter().map(one).collect()
    }

    fn of_group(&self, group: u32) -> Option<Self> {
        let nodes: Vec<_> = self.nodes.iter().filter(|node| node.group == group).cloned().collect();
        (!nodes.is_empty()).then(|| Self { nodes, ..self.without_nodes() })
    }

    fn of_verdict(&self, verdict: &Self::Verdict) -> Self::Verdict {
        let is_asked = |verdict: &&NodeVerdict| self.nodes.iter().any(|node| node.node == verdict.node);
        verdict.iter().filter(is_asked).cloned().collect()
    }

    fn recall(&mut self, of: &dyn Fn(u64) -> (Health, Vec<u8>)) {
        for node in &mut self.nodes {
            (node.previous, node.memory) = of(node.node);
        }
    }

    fn remembered(verdict: &Self::Verdict) -> Vec<(u64, Health, Vec<u8>)> {
        verdict.iter().map(|v| (v.node, v.health, v.memory.clone())).collect()
    }
}

impl Question for ElectionInput {
    common!(Election, ElectionVerdict);

    fn size(&self) -> usize {
        self.voters.len() + 1
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.elect(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_election(verdict)
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let choice = match verdict.choice {
            ElectionChoice::Wait => "wait",
            ElectionChoice::Campaign => "campaign",
        };
        vec![Decided::new(Subject::Node(self.self_node), choice, &verdict.reason)]
    }
}

impl Question for PromotionInput {
    common!(Promotion, PromotionVerdict);

    fn scope(&self) -> Scope<'_> {
        Scope { database: Some(&self.database), group: Some(self.failed_group) }
    }

    fn size(&self) -> usize {
        self.candidates.len()
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.promote(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_promotion(self, verdict)
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let not: String = verdict.rejected.iter().map(|(node, _)| format!(", not n{node}")).collect();
        let choice = format!("promote {}{not}", names(&verdict.ranking).join(", then "));
        let subject = Subject::Partition(self.database.clone(), self.partition);
        vec![Decided::new(subject, choice, &verdict.reason)]
    }
}

impl Question for DegradeInput {
    common!(Degrade, DegradeVerdict);

    fn scope(&self) -> Scope<'_> {
        Scope { database: Some(&self.database), group: Some(self.replica_group) }
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.degrade(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_degrade(verdict)
    }

    fn enforce_ceiling(&self, verdict: &mut Self::Verdict) {
        enforce_degrade_ceiling(self, verdict);
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let choice = match verdict.choice {
            DegradeChoice::Wait => "wait",
            DegradeChoice::Degrade => "degrade",
        };
        let subject = Subject::Replica(self.database.clone(), self.partition, self.replica.node);
        vec![Decided::new(subject, choice, &verdict.reason)]
    }
}

impl Question for RejoinInput {
    common!(Rejoin, RejoinVerdict);

    fn scope(&self) -> Scope<'_> {
        Scope { database: None, group: Some(self.leaf.group) }
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.rejoin(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_rejoin(verdict)
    }

    fn enforce_ceiling(&self, verdict: &mut Self::Verdict) {
        enforce_rejoin_ceiling(self, verdict);
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let choice = match verdict.choice {
            RejoinChoice::Attach => "attach",
            RejoinChoice::Later => "later",
            RejoinChoice::Refuse => "refuse",
        };
        vec![Decided::new(Subject::Node(self.leaf.node), choice, &verdict.reason)]
    }
}

impl Question for PlacementInput {
    common!(Placement, PlacementVerdict);

    fn scope(&self) -> Scope<'_> {
        Scope { database: Some(&self.database), group: None }
    }

    fn size(&self) -> usize {
        self.partitions.len() + self.cells.len()
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.place(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_placement(self, verdict)
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let place = |(partition, place): (u32, &crate::Place)| {
            let leaves = self.cells.get(place.cell as usize).map(|cell| names(&cell.leaves).join(" "));
            let choice = format!("n{} in {}", place.primary, leaves.unwrap_or_default());
            Decided::new(Subject::Partition(self.database.clone(), partition), choice, &verdict.reason)
        };
        (0..).zip(&verdict.places).map(place).collect()
    }

    fn summary(&self, verdict: &Self::Verdict) -> Decided {
        let choice = format!("{} partitions in {} cells", verdict.places.len(), self.cells.len());
        Decided::new(Subject::Database(self.database.clone()), choice, &verdict.reason)
    }
}

impl Question for MaintenanceInput {
    common!(Maintenance, MaintenanceVerdict);

    fn size(&self) -> usize {
        self.nodes.len()
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.maintain(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_maintenance(self, verdict)
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let mut decided = Vec::new();
        for (number, stage) in (1..).zip(&verdict.stages) {
            let one =
                |node: &u64| Decided::new(Subject::Node(*node), format!("stage {number}"), &stage.reason);
            decided.extend(stage.nodes.iter().map(one));
        }
        decided
    }

    fn summary(&self, verdict: &Self::Verdict) -> Decided {
        let stage = |stage: &crate::MaintenanceStage| names(&stage.nodes).join(" ");
        let stages = verdict.stages.iter().map(stage).collect::<Vec<_>>().join(", then ");
        Decided::new(Subject::Cluster, stages, &verdict.reason)
    }
}

impl Question for RetryInput {
    common!(Retry, RetryVerdict);

    fn scope(&self) -> Scope<'_> {
        Scope {
            database: Some(&self.database).filter(|name| !name.is_empty()).map(String::as_str),
            group: None,
        }
    }

    fn answer_of(&self, policy: &dyn Policy) -> Self::Verdict {
        policy.retry(self)
    }

    fn validate(&self, verdict: &Self::Verdict) -> Result<(), Rejection> {
        validate_retry(verdict)
    }

    fn decided(&self, verdict: &Self::Verdict) -> Vec<Decided> {
        let choice = match verdict.choice {
            RetryChoice::Wait => "wait",
            RetryChoice::Fail => "fail",
        };
        let subject = if self.database.is_empty() {
            Subject::Cluster
        } else {
            Subject::Partition(self.database.clone(), self.partition)
        };
        vec![Decided::new(subject, choice, &verdict.reason)]
    }
}
