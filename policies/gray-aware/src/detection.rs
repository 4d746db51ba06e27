//! When a node has failed.
//!
//! First each node by itself: what was counted against it, and for how long it has said that it stalls. Then all of
//! them together, because whether a leaf that stalls is to be failed depends on how the others are. The longest ill
//! comes first, then the lowest id, so that the order of the input decides nothing.
//!
//! * Who is suspect is not promoted and not attached. So nobody is suspected for its vitals while another leaf is away,
//!   that is failed, silent, under maintenance or only just back: then a slow copy may be the only one there is. For
//!   the same reason each of those counts when it is asked how many may be failed for stalling.
//! * A leaf that failed for stalling is taken back at once if no other leaf is left.

use std::cmp::Reverse;

use baton_policy_sdk::{
    Classic, DetectionInput, Health, NodeEvidence, NodeRole, NodeVerdict, Settings, Vitals,
};

use crate::memory::Memory;
use crate::symptoms::Limits;
use crate::{GRAY_MS, GRAY_NODES_MAX, RECOVER_MS, SLOW_SYNCS_MIN};

/// A leaf that came back so short a time ago is away still: it has to be attached, which only the healthy are, and
/// to catch up. When it has done so is in no input.
const RETURN_MS: u64 = 60_000;
/// More intervals than these between two ticks, of which the observer does not say that it was late, are a break in what
/// is remembered.
const BREAK_INTERVALS: u64 = 4;
/// A slow sync is news for so many times as long as it took. A disk that stalls under load has ended the next one by
/// then; if none was told, nothing is written, and an old number says nothing of the disk.
const SYNC_NEWS_TIMES: u64 = 2;

/// The first reason why a leaf is away.
const FAILED: &str = "has failed";

/// What is the same for all nodes of a tick.
struct Tick<'a> {
    input: &'a DetectionInput,
    limits: Limits,
    gray_ms: u64,
    slow_syncs_min: u8,
    gray_nodes_max: usize,
    recover_ms: u64,
}

/// One node of a tick, and what is thought of it so far.
struct Case<'a> {
    node: &'a NodeEvidence,
    health: Health,
    reason: String,
    memory: Memory,
}

/// How the leaves of a tick are, as far as it matters to one of them that stalls.
struct Others {
    /// Those whose copies are not to be counted on, each with the reason.
    away: Vec<(u64, &'static str)>,
    /// How many say how they are.
    told: usize,
    /// How many of these stall.
    ill: usize,
    /// How many of these nothing speaks against.
    well: usize,
}

/// Judges every node of a tick.
pub fn detect(input: &DetectionInput) -> Vec<NodeVerdict> {
    let tick = Tick {
        input,
        limits: Limits::read(&input.settings),
        gray_ms: GRAY_MS.read(&input.settings).into(),
        slow_syncs_min: u8::try_from(SLOW_SYNCS_MIN.read(&input.settings)).unwrap_or(u8::MAX),
        gray_nodes_max: usize::try_from(GRAY_NODES_MAX.read(&input.settings)).unwrap_or(usize::MAX),
        recover_ms: RECOVER_MS.read(&input.settings).into(),
    };
    let mut cases: Vec<Case> = input.nodes.iter().map(|node| tick.open(node)).collect();
    tick.take_back(&mut cases);
    tick.fail(&mut cases);
    cases
        .into_iter()
        .map(|Case { node, health, reason, memory }| NodeVerdict {
            node: node.node,
            health,
            reason: reason.into(),
            memory: memory.write(),
        })
        .collect()
}

impl Others {
    /// How many others than this one are away, and the first of them in words.
    fn away_but(&self, case: &Case) -> (usize, Option<String>) {
        let others = self.away.len().saturating_sub(case.why_away().is_some().into());
        let first = self.away.iter().find(|(other, _)| *other != case.node.node);
        (others, first.map(|(other, why)| format!("n{other} {why}")))
    }
}

impl Case<'_> {
    fn is_leaf(&self) -> bool {
        self.node.role == NodeRole::Leaf
    }

    /// Whether it is failed for stalling alone: it answers.
    fn is_held(&self) -> bool {
        self.memory.failed_as_gray && self.node.is_heard()
    }

    /// For how long it has been stalling; none if it is not, as far as is known now.
    fn gray_for(&self) -> Option<u64> {
        self.memory.late_ms.max(self.memory.stalled_ms).filter(|_| self.node.is_heard())
    }

    /// What it says of itself, if that is so now and is to be judged by.
    fn told(&self) -> Option<&Vitals> {
        let is_judged = self.is_leaf() && self.node.is_heard() && !self.node.in_maintenance;
        self.node.vitals.as_ref().filter(|_| is_judged)
    }

    /// Why its copies are not to be counted on, for now or for good; none if they are.
    fn why_away(&self) -> Option<&'static str> {
        if self.health == Health::Failed {
            Some(FAILED)
        } else if !self.node.is_heard() {
            Some("does not answer")
        } else if self.node.in_maintenance {
            Some("is under maintenance")
        } else {
            self.memory.returned_ms.map(|_| "has just come back")
        }
    }

    fn release(&mut self, reason: String) {
        self.health = Health::Healthy;
        self.reason = reason;
        self.memory.failed_as_gray = false;
    }
}

impl<'a> Tick<'a> {
    fn is_late(&self) -> bool {
        self.input.observer_late_ms > self.input.heartbeat_interval_ms
    }

    /// What is thought of a node by itself.
    fn open(&self, node: &'a NodeEvidence) -> Case<'a> {
        let (counted, reason) = by_counts(node);
        let mut case = Case { node, health: node.settle(counted), reason, memory: self.remember(node) };
        if case.is_held() {
            let well_ms = case.memory.well_ms.unwrap_or_default();
            if well_ms >= self.recover_ms {
                case.release(format!("well for {well_ms} ms after it stalled"));
            } else {
                let how = match (case.gray_for(), &node.vitals) {
                    (Some(_), Some(vitals)) => self.limits.words(vitals),
                    _ => format!("well for {well_ms} ms of {} ms", self.recover_ms),
                };
                case.health = Health::Failed;
                case.reason = format!("failed for stalling; {how}");
            }
        }
        case
    }

    /// What is known of a leaf after this tick.
    fn remember(&self, node: &NodeEvidence) -> Memory {
        let now_ms = self.input.now_ms;
        if node.role != NodeRole::Leaf {
            return Memory::default();
        }
        let written =
            Memory::read(&node.memory, now_ms).unwrap_or(Memory { at_ms: now_ms, ..Memory::default() });
        let passed_ms = now_ms.saturating_sub(written.at_ms);
        let interval_ms = self.input.heartbeat_interval_ms;
        let (known, passed_ms) = if self.is_late() {
            (written, 0)
        } else if interval_ms > 0 && passed_ms > interval_ms.saturating_mul(BREAK_INTERVALS) {
            (Memory { failed_as_gray: written.failed_as_gray, ..Memory::default() }, 0)
        } else {
            (written, passed_ms)
        };
        let mut memory = Memory {
            at_ms: now_ms,
            failed_as_gray: known.failed_as_gray && node.previous == Health::Failed,
            well_ms: None,
            returned_ms: longer(known.returned_ms, passed_ms).filter(|ms| *ms < RETURN_MS),
            ..known
        };
        if !node.is_heard() {
            // Silence is no break; a connection that broke may be the end of that process.
            if node.connection_lost || node.refusals > 0 || node.timeouts > 0 {
                let Memory { failed_as_gray, returned_ms, .. } = memory;
                memory = Memory { at_ms: now_ms, failed_as_gray, returned_ms, ..Memory::default() };
            }
            return memory;
        }
        let vitals = node.vitals.unwrap_or(Vitals { free_disk_bytes: u64::MAX, ..Vitals::default() });
        if !self.limits.is_slow_sync(&vitals) {
            (memory.sync_ms, memory.sync_age_ms, memory.slow_syncs) = (0, 0, 0);
        } else if vitals.fsync_ms == known.sync_ms {
            memory.sync_age_ms = known.sync_age_ms.saturating_add(passed_ms);
        } else {
            (memory.sync_ms, memory.sync_age_ms) = (vitals.fsync_ms, 0);
            memory.slow_syncs = known.slow_syncs.saturating_add(1);
        }
        let is_news =
            memory.sync_ms > 0 && memory.sync_age_ms <= memory.sync_ms.saturating_mul(SYNC_NEWS_TIMES);
        let is_hanging = self.limits.is_hanging(&vitals);
        let is_stalled = is_hanging || is_news;
        if !is_stalled {
            memory.slow_syncs = 0;
        }
        let is_late = self.limits.is_late_loop(&vitals);
        let longer_if =
            |goes_on: bool, known: Option<u64>| goes_on.then(|| longer(known, passed_ms).unwrap_or_default());
        memory.late_ms = longer_if(is_late && !node.in_maintenance, known.late_ms);
        // A sync that hangs has done so since before it was seen, but only for as long as makes it one that hangs: one
        // number alone proves nothing, for a process that was frozen tells of the whole time when it wakes.
        let began = is_hanging.then(|| self.limits.fsync_ms().min(self.gray_ms / 2).min(now_ms));
        let known_ms = known.stalled_ms.or(began);
        memory.stalled_ms = longer_if(is_stalled && !node.in_maintenance, known_ms);
        memory.well_ms = longer_if(!is_late && !is_stalled && memory.failed_as_gray, known.well_ms);
        memory
    }

    /// Ends what would be too much: more leaves failed for stalling than may be, or all that there are.
    fn take_back(&self, cases: &mut [Case]) {
        let mut held: Vec<&mut Case> = cases.iter_mut().filter(|case| case.is_held()).collect();
        held.sort_by_key(|case| (case.memory.well_ms, case.node.node));
        for case in held.into_iter().skip(self.gray_nodes_max) {
            case.release(format!("failed for stalling, but gray_nodes_max is {}", self.gray_nodes_max));
        }
        if cases.iter().filter(|case| case.is_leaf()).all(|case| case.health == Health::Failed) {
            for case in cases.iter_mut().filter(|case| case.is_held()) {
                case.release("failed for stalling, but no other leaf is left".to_owned());
            }
        }
        // What was so before a leaf failed is no part of what it does now.
        for case in cases.iter_mut().filter(|case| case.is_leaf()) {
            if case.node.previous == Health::Failed && case.health != Health::Failed {
                case.memory = Memory {
                    returned_ms: Some(0),
                    late_ms: case.memory.late_ms.map(|_| 0),
                    stalled_ms: case.memory.stalled_ms.map(|_| 0),
                    slow_syncs: 0,
                    ..case.memory
                };
            }
        }
    }

    /// Judges the leaves by what they say of themselves.
    fn fail(&self, cases: &mut [Case]) {
        let mut others = self.count(cases);
        let mut judged: Vec<&mut Case> = cases.iter_mut().filter(|case| !case.is_held()).collect();
        judged.retain(|case| case.told().is_some());
        judged.sort_by_key(|case| (Reverse(case.gray_for()), case.node.node));
        for case in &mut judged {
            let Some((vitals, gray_ms)) = case.told().copied().zip(case.gray_for()) else { continue };
            if case.node.previous == Health::Failed {
                continue;
            }
            case.reason =
                format!("{}; stalls for {gray_ms} ms of {} ms", self.limits.words(&vitals), self.gray_ms);
            if gray_ms < self.gray_ms {
                continue;
            }
            match self.why_not(case, &others) {
                Some(why) => case.reason = format!("{}, but {why}", case.reason),
                None => {
                    // Who has just come back is counted already.
                    others.away.extend(case.why_away().is_none().then_some((case.node.node, FAILED)));
                    case.health = Health::Failed;
                    case.memory.failed_as_gray = true;
                }
            }
        }
        for case in judged {
            self.suspect(case, &others);
        }
    }

    fn count(&self, cases: &[Case]) -> Others {
        let leaves = || cases.iter().filter(|case| case.is_leaf());
        let mut away: Vec<_> = leaves().filter_map(|case| Some((case.node.node, case.why_away()?))).collect();
        away.sort_unstable();
        let told = || leaves().filter(|case| case.told().is_some());
        let is_well = |case: &&Case| {
            let is_full = case.told().is_some_and(|vitals| self.limits.full_disk(vitals).is_some());
            case.why_away().is_none() && case.gray_for().is_none() && !is_full
        };
        Others {
            away,
            told: told().count(),
            ill: told().filter(|case| case.gray_for().is_some()).count(),
            well: told().filter(is_well).count(),
        }
    }

    /// Why a leaf that has been stalling for long enough is not failed; none if it is.
    fn why_not(&self, case: &Case, others: &Others) -> Option<String> {
        let Memory { late_ms, slow_syncs, .. } = case.memory;
        // The case itself is one of those that are told and ill.
        let (told, ill) = (others.told.saturating_sub(1), others.ill.saturating_sub(1));
        if self.is_late() {
            return Some(format!("the observer is {} ms late", self.input.observer_late_ms));
        }
        // One sync that goes on for so long is proof by itself.
        let hangs = case.told().is_some_and(|vitals| vitals.syncing_ms >= self.gray_ms);
        let is_proven = hangs || late_ms.is_some_and(|ms| ms >= self.gray_ms);
        if !is_proven && slow_syncs < self.slow_syncs_min {
            return Some(format!("that is slow sync {slow_syncs} of {}", self.slow_syncs_min));
        }
        let (away, one) = others.away_but(case);
        if away >= self.gray_nodes_max {
            let most = format!("gray_nodes_max is {}", self.gray_nodes_max);
            return Some(one.map_or(most.clone(), |one| format!("{one}, and {most}")));
        }
        if ill > 0 && ill.saturating_mul(2) >= told {
            return Some(format!(
                "so do {ill} of {told} others: it is the load or what they share, not the node"
            ));
        }
        (others.well == 0).then(|| "no other leaf is well".to_owned())
    }

    /// Suspects a leaf that has been stalling for half as long as a failure takes, or whose disk is nearly full.
    fn suspect(&self, case: &mut Case, others: &Others) {
        let Some(vitals) = case.told().copied() else { return };
        let is_full = self.limits.full_disk(&vitals).map(|full| {
            case.reason = format!("{full}; {}", case.reason);
        });
        let stalls = case.gray_for().is_some_and(|ms| ms.saturating_mul(2) >= self.gray_ms);
        let is_known = !self.is_late() || case.node.previous == Health::Suspect;
        if case.health == Health::Failed || is_full.is_none() && !(stalls && is_known) {
            return;
        }
        if let (_, Some(away)) = others.away_but(case) {
            case.reason = format!("{}; not suspected while {away}", case.reason);
        } else if case.memory.returned_ms.is_some() {
            case.reason = format!("{}; not suspected just after its return", case.reason);
        } else {
            case.health = Health::Suspect;
        }
    }
}

/// What was counted against a node, judged as classic does; but one that hung up and is not there is gone.
fn by_counts(node: &NodeEvidence) -> (Health, String) {
    let counts = node.counts();
    if node.connection_lost && node.refusals > 0 {
        return (Health::Failed, format!("connection lost, then refused: {counts}"));
    }
    let (score, limit) = Classic::score(node, &Settings::new());
    let counted = if score >= limit {
        Health::Failed
    } else if score.saturating_mul(2) >= limit {
        Health::Suspect
    } else {
        Health::Healthy
    };
    let reason = if score == 0 { counts } else { format!("score {score}: {counts}") };
    (counted, reason)
}

fn longer(known: Option<u64>, passed_ms: u64) -> Option<u64> {
    known.map(|ms| ms.saturating_add(passed_ms))
}
