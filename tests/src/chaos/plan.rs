//! Which faults are made, when and for how long: drawn from a seed before the first of them is made.

use std::fmt;
use std::time::Duration;

use super::fault::Fault;
use crate::oracle::Dice;

/// Faults of one round.
const FAULTS: std::ops::Range<usize> = 3..6;
/// Before the first fault, and between two that do not overlap, in milliseconds.
const PEACE_MS: std::ops::Range<usize> = 800..3000;
/// How long a fault lasts, in milliseconds: shorter than any detection up to longer than all of them.
const LASTS_MS: std::ops::Range<usize> = 100..7000;

/// One fault of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// When it begins, after the round has begun.
    pub begins: Duration,
    /// When it is undone.
    pub ends: Duration,
    /// What it is.
    pub fault: Fault,
    /// Decides which of several nodes it is made to.
    pub dice: u64,
}

/// The faults of one round, in the order in which they begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The faults.
    pub steps: Vec<Step>,
    /// What stands after `CREATE DATABASE stage`.
    pub options: &'static str,
}

impl Plan {
    /// The plan of a seed, of these faults only. Of three, one begins while the last one lasts.
    #[must_use]
    pub fn of(seed: u64, faults: &[Fault]) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let mut within = |range: &std::ops::Range<usize>| range.start + dice.below(range.end - range.start);
        let options = ["PARTITIONS 8", "PARTITIONS 8", "WITH ASYNC DURABILITY PARTITIONS 8", "PARTITIONS 3"];
        let options = options[within(&(0..options.len()))];
        let ms = |ms: usize| Duration::from_millis(ms as u64);
        let mut steps: Vec<Step> = Vec::new();
        let mut free = Duration::ZERO;
        for _ in 0..within(&FAULTS) {
            let Some(fault) = faults.get(within(&(0..faults.len().max(1)))) else { break };
            let overlaps = within(&(0..3)) == 0;
            let begins = match steps.last() {
                Some(last) if overlaps => last.begins + (last.ends.saturating_sub(last.begins)) / 2,
                _ => free + ms(within(&PEACE_MS)),
            };
            let ends = begins + ms(within(&LASTS_MS));
            free = free.max(ends);
            steps.push(Step { begins, ends, fault: *fault, dice: within(&(0..1 << 30)) as u64 });
        }
        steps.sort_by_key(|step| step.begins);
        Self { steps, options }
    }

    /// One fault after another, in this order, with peace in between; each lasts so long.
    #[must_use]
    pub fn one_by_one(faults: &[Fault], lasts: Duration, peace: Duration) -> Self {
        let mut begins = peace;
        let mut steps = Vec::new();
        for (i, fault) in faults.iter().enumerate() {
            steps.push(Step { begins, ends: begins + lasts, fault: *fault, dice: i as u64 });
            begins += lasts + peace;
        }
        Self { steps, options: "PARTITIONS 8" }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.options)?;
        for step in &self.steps {
            let (begins, lasts) = (step.begins.as_secs_f64(), (step.ends - step.begins).as_secs_f64());
            write!(f, "; at {begins:.1} s {} for {lasts:.1} s", step.fault)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_plan() {
        let all: Vec<Fault> = Fault::all().collect();
        assert_eq!(Plan::of(3, &all), Plan::of(3, &all));
        assert_ne!(Plan::of(3, &all), Plan::of(4, &all));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let plan = Plan::of(seed, &all);
            assert!(FAULTS.contains(&plan.steps.len()), "{plan}");
            assert!(plan.steps.is_sorted_by_key(|step| step.begins), "{plan}");
            seen.extend(plan.steps.iter().map(|step| step.fault));
        }
        assert_eq!(seen.len(), all.len(), "in 100 rounds every fault is made");
        let one = Plan::of(3, &[Fault::KillLeaf]);
        assert!(one.steps.iter().all(|step| step.fault == Fault::KillLeaf));
        assert!(Plan::of(3, &[]).steps.is_empty());
    }
}
