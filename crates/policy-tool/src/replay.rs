//! `baton policy replay`: decides again what was recorded, as a node would, and shows what would have been decided
//! otherwise.
//!
//! * The component that decided is held to its own decisions, bit for bit.
//! * Another component, or the same with other settings, gets the settings that it is given here, else the recorded ones
//!   if it has the same name; and what it remembers of a node is its own: what it returned at the decision before, by the
//!   same node, in the file.
//! * What the cluster did upon each verdict stays as it was: the evidence of the next decision does not know better.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use baton_policy::{DecisionPoint, Settings};
use baton_policy_host::{CallLimits, Module};
use baton_policy_view::{Difference, View};
use serde::Serialize;

use crate::ask::{decide, load, settings};
use crate::error::PolicyToolError;
use crate::record::{Recorded, Unreadable, read_records};
use crate::report::Report;

/// Nodes that are remembered, and settings that were checked, at most.
const REMEMBERED_MAX: usize = 100_000;
/// A replay is bounded by fuel alone: time depends on the machine.
const TIME_MS: u64 = 60_000;

/// A decision that would have been another one.
#[derive(Serialize, Debug)]
struct Change {
    line: usize,
    id: u64,
    point: String,
    at_ms: u64,
    differences: Vec<String>,
}

#[derive(Serialize, Debug, Default)]
struct Replayed {
    policy: String,
    decisions: usize,
    /// Decisions at points that the policy does not answer, which classic would go on to make.
    not_answered: usize,
    /// Decisions by this very component, which must come out the same.
    own: usize,
    own_otherwise: usize,
    /// Decisions in which something would have been decided otherwise.
    changed: usize,
    /// What would have become of what and what that would have meant, and how often.
    changes: BTreeMap<String, usize>,
    /// Decisions that the policy could not make: native classic made them, here as on a node.
    fallbacks: usize,
    first_fallback: Option<String>,
    /// Lines that are no records.
    unreadable: usize,
    first_unreadable: Option<String>,
    decisions_per_s: f64,
    shown: Vec<Change>,
}

pub(crate) fn replay(
    report: &Report,
    records: &Path,
    policy: &Path,
    with: &[String],
    show: usize,
) -> Result<(), PolicyToolError> {
    let (module, _) = load(policy)?;
    let with = if with.is_empty() { None } else { Some(settings(with)?) };
    let replayed = decide_again(&module, read_records(records)?, with.as_ref(), show)?;
    report.result(&replayed, || for_people(&replayed));
    if replayed.own_otherwise > 0 {
        return Err(PolicyToolError::NotRepeated(replayed.own_otherwise));
    }
    match replayed.first_unreadable {
        Some(first) => Err(PolicyToolError::Unreadable { lines: replayed.unreadable, first }),
        None => Ok(()),
    }
}

fn decide_again(
    module: &Module,
    records: impl Iterator<Item = Result<Recorded, Unreadable>>,
    with: Option<&Settings>,
    show: usize,
) -> Result<Replayed, PolicyToolError> {
    let limits = CallLimits { time_ms: TIME_MS, ..CallLimits::default() };
    let mut replayed = Replayed { policy: module.name().to_owned(), ..Replayed::default() };
    let mut memories = Memories::default();
    let mut checked: BTreeSet<(DecisionPoint, Settings)> = BTreeSet::new();
    let started = Instant::now();
    for recorded in records {
        let mut recorded = match recorded {
            Ok(recorded) => recorded,
            Err(Unreadable { line, why }) => {
                replayed.unreadable += 1;
                replayed.first_unreadable.get_or_insert_with(|| format!("line {line}: {why}"));
                continue;
            }
        };
        replayed.decisions += 1;
        let point = recorded.view.point();
        if !module.manifest().decision_points.contains(&point) {
            replayed.not_answered += 1;
            continue;
        }
        let before = recorded.view.clone();
        let same = recorded.about.hash == module.hash() && with.is_none();
        if !same {
            prepare(module, &mut recorded, with);
            memories.put_into(recorded.about.node, &mut recorded.view);
            let settings = recorded.view.settings_mut().clone();
            if !checked.contains(&(point, settings.clone())) {
                module.check(point, &settings)?;
                if checked.len() >= REMEMBERED_MAX {
                    checked.clear();
                }
                checked.insert((point, settings));
            }
        }
        let (after, error) = decide(module, &recorded.view, &limits);
        if let Some(error) = &error {
            replayed.fallbacks += 1;
            replayed.first_fallback.get_or_insert_with(|| format!("line {}: {error}", recorded.line));
        }
        if same && before.is_answered() && recorded.about.fallback.is_empty() {
            replayed.own += 1;
            replayed.own_otherwise += usize::from(error.is_some() || before != after);
        } else if !same {
            memories.take_from(recorded.about.node, &after);
        }
        note(&mut replayed, &recorded, &before, &after, show);
    }
    replayed.decisions_per_s = replayed.decisions as f64 / started.elapsed().as_secs_f64().max(1e-9);
    Ok(replayed)
}

/// Another policy has other settings.
fn prepare(module: &Module, recorded: &mut Recorded, with: Option<&Settings>) {
    let same_policy = recorded.about.policy == module.name();
    let settings = recorded.view.settings_mut();
    match with {
        Some(with) => settings.clone_from(with),
        None if same_policy => {}
        None => settings.clear(),
    }
}

fn note(replayed: &mut Replayed, recorded: &Recorded, before: &View, after: &View, show: usize) {
    let differences = before.differences(after);
    if differences.is_empty() {
        return;
    }
    replayed.changed += 1;
    for Difference { was, is } in &differences {
        *replayed.changes.entry(meant(before.point(), &was.choice, &is.choice)).or_default() += 1;
    }
    if replayed.shown.len() < show {
        replayed.shown.push(Change {
            line: recorded.line,
            id: recorded.about.id,
            point: before.point().to_string(),
            at_ms: before.now_ms(),
            differences: differences.iter().map(ToString::to_string).collect(),
        });
    }
}

/// What another choice would have meant to the cluster.
fn meant(point: DecisionPoint, was: &str, is: &str) -> String {
    let change = format!("{was} → {is}");
    let what = match (point, was, is) {
        (DecisionPoint::Detection, _, "failed") => "would have been failed over",
        (DecisionPoint::Detection, "failed", _) => "would not have been failed over, or would have come back",
        (DecisionPoint::Detection, ..) => "nothing would have been done",
        (DecisionPoint::Election, _, "campaign") => "a campaign would have begun",
        (DecisionPoint::Election, ..) => "no campaign would have begun",
        (DecisionPoint::Degrade, _, "degrade") => "its primary would have gone on without it",
        (DecisionPoint::Degrade, ..) => "its primary would have gone on waiting",
        // Which nodes they are differs from one partition to the next.
        (DecisionPoint::Promotion, ..) => return "another order of candidates".to_owned(),
        (DecisionPoint::Placement, ..) => return "another place".to_owned(),
        (DecisionPoint::Rejoin, _, "attach") => "it would have been used again earlier",
        (DecisionPoint::Rejoin, ..) => "it would have been held back",
        (DecisionPoint::Maintenance, ..) => "it would have been worked on earlier or later",
        (DecisionPoint::Retry, _, "fail") => "the client would have got an error",
        (DecisionPoint::Retry, ..) => "the statement would have gone on waiting",
    };
    format!("{change}: {what}")
}

fn for_people(replayed: &Replayed) -> String {
    let mut text = String::new();
    for change in &replayed.shown {
        text.push_str(&format!("line {}, {} at {} ms\n", change.line, change.point, change.at_ms));
        change.differences.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    let hidden = replayed.changed - replayed.shown.len();
    if hidden > 0 {
        text.push_str(&format!("and {hidden} more; --show N shows them\n"));
    }
    text.push_str(&format!(
        "{}: {} decisions, {:.0} a second; {} would have been decided otherwise\n",
        replayed.policy, replayed.decisions, replayed.decisions_per_s, replayed.changed
    ));
    for (change, count) in &replayed.changes {
        text.push_str(&format!("  {count:>8}  {change}\n"));
    }
    if replayed.own > 0 {
        text.push_str(&format!(
            "{} were made by this very component: {} came out bit for bit as recorded\n",
            replayed.own,
            replayed.own - replayed.own_otherwise
        ));
    }
    if replayed.not_answered > 0 {
        text.push_str(&format!("{} are at decision points that it does not answer\n", replayed.not_answered));
    }
    if let Some(first) = &replayed.first_fallback {
        text.push_str(&format!(
            "{} it could not make, so native classic did: the first at {first}\n",
            replayed.fallbacks
        ));
    }
    text
}

/// What the policy remembers of nodes: by who decided and of whom.
#[derive(Default)]
struct Memories {
    of: BTreeMap<(u64, u64), Vec<u8>>,
    /// When each of those who decided did so last, by its own clock.
    at_ms: BTreeMap<u64, u64>,
}

impl Memories {
    fn put_into(&mut self, observer: u64, view: &mut View) {
        if let View::Detection(asked) = view {
            let before_ms = self.at_ms.insert(observer, asked.input.now_ms);
            // A clock that goes back is that of a new process, which remembers nothing.
            if before_ms.is_some_and(|ms| ms > asked.input.now_ms) || self.of.len() > REMEMBERED_MAX {
                self.of.retain(|(by, _), _| *by != observer);
            }
            for node in &mut asked.input.nodes {
                node.memory = self.of.get(&(observer, node.node)).cloned().unwrap_or_default();
            }
        }
    }

    fn take_from(&mut self, observer: u64, view: &View) {
        if let View::Detection(asked) = view {
            for verdict in asked.verdict.iter().flatten() {
                self.of.insert((observer, verdict.node), verdict.memory.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use baton_model::NodeRole;
    use baton_policy::{Classic, DetectionInput, NodeEvidence};
    use baton_policy_host::{BUILTINS, PolicyHost};
    use baton_policy_view::Asked;

    use super::*;
    use crate::record::About;

    /// Classic and swift.
    static MODULES: LazyLock<[Arc<Module>; 2]> = LazyLock::new(|| {
        let host = PolicyHost::new().unwrap();
        BUILTINS.map(|builtin| host.compile(builtin.bytes).unwrap())
    });

    /// A leaf of which so many pings were missed, judged by classic.
    fn recorded(line: usize, misses: u32) -> Recorded {
        let node = NodeEvidence { misses, ..NodeEvidence::answering(4, NodeRole::Leaf) };
        let input = DetectionInput {
            now_ms: 1_000 * line as u64,
            heartbeat_interval_ms: 150,
            nodes: vec![node],
            ..DetectionInput::default()
        };
        let view = View::Detection(Asked { input, verdict: None }).answered_by(&Classic).unwrap();
        let hash = MODULES[0].hash().to_owned();
        Recorded { line, about: About { node: 1, policy: "classic".into(), hash, ..About::default() }, view }
    }

    fn again(module: &Module, records: Vec<Recorded>, with: Option<&Settings>) -> Replayed {
        decide_again(module, records.into_iter().map(Ok), with, 10).unwrap()
    }

    #[test]
    fn the_same_component_decides_the_same() {
        let replayed = again(&MODULES[0], vec![recorded(1, 0), recorded(2, 120), recorded(3, 200)], None);
        assert_eq!(
            (replayed.decisions, replayed.own, replayed.own_otherwise, replayed.changed),
            (3, 3, 0, 0)
        );
    }

    /// What was recorded is not what it answers: the file was changed, or the component is not deterministic.
    #[test]
    fn another_answer_of_the_same_component_is_found() {
        let mut forged = recorded(1, 200);
        let View::Detection(asked) = &mut forged.view else { unreachable!() };
        asked.verdict.as_mut().unwrap()[0].reason = "forged".into();
        let replayed = again(&MODULES[0], vec![forged], None);
        assert_eq!((replayed.own, replayed.own_otherwise, replayed.changed), (1, 1, 0));
    }

    #[test]
    fn another_policy_shows_what_it_would_have_decided() {
        // Swift believes in 20 misses if there is nobody to ask.
        let replayed = again(&MODULES[1], vec![recorded(1, 1), recorded(2, 20), recorded(3, 200)], None);
        let meant = "healthy → failed: would have been failed over";
        assert_eq!(replayed.changes, BTreeMap::from([(meant.to_owned(), 1)]));
        assert_eq!((replayed.shown.len(), replayed.shown[0].line, replayed.own), (1, 2, 0));
        assert!(replayed.shown[0].differences[0].starts_with("n4: healthy (score 20"), "{replayed:?}");
    }

    /// What is recorded is what a node did, the fallback and the ceiling included.
    #[test]
    fn it_is_decided_as_a_node_decides() {
        let with = Settings::from([("miss_limit".to_owned(), "1000000".to_owned())]);
        let replayed = again(&MODULES[0], vec![recorded(1, 1_999), recorded(2, 2_000)], Some(&with));
        let meant = "failed → healthy: would not have been failed over, or would have come back";
        assert_eq!(replayed.changes, BTreeMap::from([(meant.to_owned(), 1)]), "the ceiling is at 2,000");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_counted_and_passed_over() {
        let bad = Unreadable { line: 1, why: "torn".to_owned() };
        let records = [Err(bad), Ok(recorded(2, 200))].into_iter();
        let replayed = decide_again(&MODULES[0], records, None, 10).unwrap();
        assert_eq!((replayed.unreadable, replayed.own, replayed.own_otherwise), (1, 1, 0));
        assert_eq!(replayed.first_unreadable.as_deref(), Some("line 1: torn"));
    }

    #[test]
    fn other_settings_are_another_policy() {
        let with = Settings::from([("miss_limit".to_owned(), "40".to_owned())]);
        let replayed = again(&MODULES[0], vec![recorded(1, 40)], Some(&with));
        assert_eq!((replayed.own, replayed.changed), (0, 1));
        let unknown = Settings::from([("patience".to_owned(), "40".to_owned())]);
        let refused = decide_again(&MODULES[0], [Ok(recorded(1, 40))].into_iter(), Some(&unknown), 10);
        assert!(matches!(refused, Err(PolicyToolError::Settings(_))), "{refused:?}");
    }
}
