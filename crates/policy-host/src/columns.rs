//! The columns in which `detection` is asked and answered, and the records of `baton-policy`.
//!
//! A list of numbers is handed to a policy in one piece; a thousand records with lists in them cost ten times as much.

use baton_model::NodeRole;
use baton_policy as native;
use smol_str::SmolStr;

use crate::bindings::{detection, settings};

impl From<&native::DetectionInput> for detection::Input {
    fn from(input: &native::DetectionInput) -> Self {
        Self {
            now_ms: input.now_ms,
            wall_ms: input.wall_ms,
            heartbeat_interval_ms: input.heartbeat_interval_ms,
            observer_late_ms: input.observer_late_ms,
            settings: settings(&input.settings),
            seed: input.seed,
            nodes: nodes(&input.nodes),
        }
    }
}

fn nodes(nodes: &[native::NodeEvidence]) -> detection::Nodes {
    let witnesses = nodes.iter().map(|node| node.witnesses.len()).sum();
    let mut to = detection::Nodes {
        node: Vec::with_capacity(nodes.len()),
        group: Vec::with_capacity(nodes.len()),
        misses: Vec::with_capacity(nodes.len()),
        refusals: Vec::with_capacity(nodes.len()),
        timeouts: Vec::with_capacity(nodes.len()),
        marks: Vec::with_capacity(nodes.len()),
        rtt_mean_us: Vec::with_capacity(nodes.len()),
        rtt_deviation_us: Vec::with_capacity(nodes.len()),
        pong_interval_count: Vec::with_capacity(nodes.len()),
        pong_intervals_ms: Vec::with_capacity(nodes.iter().map(|node| node.pong_intervals_ms.len()).sum()),
        loop_delay_ms: Vec::with_capacity(nodes.len()),
        fsync_ms: Vec::with_capacity(nodes.len()),
        syncing_ms: Vec::with_capacity(nodes.len()),
        apply_backlog: Vec::with_capacity(nodes.len()),
        free_disk_bytes: Vec::with_capacity(nodes.len()),
        witness_count: Vec::with_capacity(nodes.len()),
        witness_observer: Vec::with_capacity(witnesses),
        witness_misses: Vec::with_capacity(witnesses),
        witness_refusals: Vec::with_capacity(witnesses),
        witness_timeouts: Vec::with_capacity(witnesses),
        witness_age_ms: Vec::with_capacity(witnesses),
        flaps_last_hour: Vec::with_capacity(nodes.len()),
        memory_length: Vec::with_capacity(nodes.len()),
        memory: Vec::with_capacity(nodes.iter().map(|node| node.memory.len()).sum()),
    };
    for node in nodes {
        let vitals = node.vitals.unwrap_or_default();
        to.node.push(node.node);
        to.group.push(node.group);
        to.misses.push(node.misses);
        to.refusals.push(node.refusals);
        to.timeouts.push(node.timeouts);
        to.marks.push(marks(node));
        to.rtt_mean_us.push(node.rtt_mean_us);
        to.rtt_deviation_us.push(node.rtt_deviation_us);
        to.pong_interval_count.push(count(&node.pong_intervals_ms));
        to.pong_intervals_ms.extend_from_slice(&node.pong_intervals_ms);
        to.loop_delay_ms.push(vitals.loop_delay_ms);
        to.fsync_ms.push(vitals.fsync_ms);
        to.syncing_ms.push(vitals.syncing_ms);
        to.apply_backlog.push(vitals.apply_backlog);
        to.free_disk_bytes.push(vitals.free_disk_bytes);
        to.witness_count.push(count(&node.witnesses));
        for witness in node.witnesses.iter() {
            to.witness_observer.push(witness.observer);
            to.witness_misses.push(witness.misses);
            to.witness_refusals.push(witness.refusals);
            to.witness_timeouts.push(witness.timeouts);
            to.witness_age_ms.push(witness.age_ms);
        }
        to.flaps_last_hour.push(node.flaps_last_hour);
        to.memory_length.push(count(&node.memory));
        to.memory.extend_from_slice(&node.memory);
    }
    to
}

fn marks(node: &native::NodeEvidence) -> detection::Marks {
    use detection::Marks;
    let marks = [
        (node.role == NodeRole::Aggregator, Marks::AGGREGATOR),
        (node.connecting, Marks::CONNECTING),
        (node.connection_lost, Marks::CONNECTION_LOST),
        (node.in_maintenance, Marks::IN_MAINTENANCE),
        (node.vitals.is_some(), Marks::HAS_VITALS),
        (node.previous == native::Health::Suspect, Marks::SUSPECT),
        (node.previous == native::Health::Failed, Marks::FAILED),
    ];
    marks.into_iter().filter(|(holds, _)| *holds).fold(Marks::empty(), |all, (_, mark)| all | mark)
}

fn count<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

/// One verdict for each entry of the first column, of which there are no more than nodes that were asked about: nothing is
/// made of an answer that is longer.
///
/// # Errors
/// [`native::Rejection::AnsweredTwice`] or [`native::Rejection::UnknownNode`] of one that is longer,
/// [`native::Rejection::UnevenColumns`], [`native::Rejection::NoReason`], [`native::Rejection::ReasonTooLong`].
pub(crate) fn verdicts(
    asked: &native::DetectionInput,
    answer: detection::Verdicts,
) -> Result<Vec<native::NodeVerdict>, native::Rejection> {
    let detection::Verdicts { node, health, reason, reasons, memory_length, memory } = answer;
    if node.len() > asked.nodes.len() {
        native::validate_judged(asked, node.iter().copied())?;
    }
    if let Some(long) = reasons.iter().find(|reason| reason.len() > native::REASON_BYTES_MAX) {
        return Err(native::Rejection::ReasonTooLong(long.len()));
    }
    let reasons: Vec<SmolStr> = reasons.into_iter().map(SmolStr::from).collect();
    if health.len() != node.len()
        || reason.len() != node.len()
        || !(memory_length.is_empty() || memory_length.len() == node.len())
        || memory_length.iter().map(|bytes| u64::from(*bytes)).sum::<u64>() != memory.len() as u64
    {
        return Err(native::Rejection::UnevenColumns);
    }
    let mut memory = memory.as_slice();
    let mut lengths = memory_length.into_iter();
    let mut verdicts = Vec::with_capacity(node.len());
    for ((node, health), reason) in node.into_iter().zip(health).zip(reason) {
        let told = reasons.get(reason as usize).ok_or(native::Rejection::NoReason(reason))?;
        let (own, rest) = memory.split_at(lengths.next().unwrap_or(0) as usize);
        memory = rest;
        let health = native::Health::from(health);
        verdicts.push(native::NodeVerdict { node, health, reason: told.clone(), memory: own.to_vec() });
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use baton_policy::{DetectionInput, Health, NodeEvidence, Rejection};

    use crate::bindings::detection::Verdicts;
    use crate::bindings::types;

    /// What comes of an answer to a question about two nodes.
    fn verdicts(answer: Verdicts) -> Result<Vec<baton_policy::NodeVerdict>, Rejection> {
        let nodes = [1, 2].map(|node| NodeEvidence { node, ..NodeEvidence::default() }).to_vec();
        super::verdicts(&DetectionInput { nodes, ..DetectionInput::default() }, answer)
    }

    /// Two nodes, of which the second remembers something.
    fn answer() -> Verdicts {
        Verdicts {
            node: vec![1, 2],
            health: vec![types::Health::Healthy, types::Health::Failed],
            reason: vec![1, 0],
            reasons: vec!["gone".to_owned(), "answers".to_owned()],
            memory_length: vec![0, 2],
            memory: vec![7, 8],
        }
    }

    #[test]
    fn columns_are_read_as_one_verdict_a_node() {
        let read = verdicts(answer()).unwrap();
        let told: Vec<_> =
            read.iter().map(|v| (v.node, v.health, v.reason.as_str(), v.memory.as_slice())).collect();
        let expected: [(u64, Health, &str, &[u8]); 2] =
            [(1, Health::Healthy, "answers", &[]), (2, Health::Failed, "gone", &[7, 8])];
        assert_eq!(told, expected);
        let forgetful = Verdicts { memory_length: vec![], memory: vec![], ..answer() };
        assert!(verdicts(forgetful).unwrap().iter().all(|verdict| verdict.memory.is_empty()));
    }

    #[test]
    fn columns_that_do_not_fit_each_other_are_no_answer() {
        let uneven = [
            Verdicts { node: vec![1], ..answer() },
            Verdicts { health: vec![types::Health::Healthy], ..answer() },
            Verdicts { reason: vec![0, 0, 0], ..answer() },
            Verdicts { memory_length: vec![2], ..answer() },
            Verdicts { memory_length: vec![0, 3], ..answer() },
            Verdicts { memory_length: vec![u32::MAX, u32::MAX], ..answer() },
            Verdicts { memory_length: vec![], ..answer() },
            Verdicts { memory: vec![], ..answer() },
        ];
        for answer in uneven {
            let told = format!("{answer:?}");
            assert_eq!(verdicts(answer), Err(Rejection::UnevenColumns), "{told}");
        }
        assert_eq!(verdicts(Verdicts { reason: vec![0, 2], ..answer() }), Err(Rejection::NoReason(2)));
        let longer = |node| Verdicts { node: vec![1, 2, node], ..answer() };
        assert_eq!(verdicts(longer(2)), Err(Rejection::AnsweredTwice(2)));
        assert_eq!(verdicts(longer(3)), Err(Rejection::UnknownNode(3)));
        // One that nobody is given is too long as well.
        let reasons = vec!["gone".to_owned(), "answers".to_owned(), "x".repeat(1025)];
        assert_eq!(verdicts(Verdicts { reasons, ..answer() }), Err(Rejection::ReasonTooLong(1025)));
    }
}
