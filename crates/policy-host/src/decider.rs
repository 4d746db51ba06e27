//! Decides: asks the policy that is bound to a question, and native classic if that gives no valid answer; and lets no
//! answer exceed a ceiling (S8).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use baton_policy::{Classic, DecisionPoint, DetectionInput};

use crate::exports::Sandboxed;
use crate::shadow::{Shadow, ShadowReport};
use crate::{Binding, Bindings, CallError, CallLimits, CallStats};

/// A policy that gave no valid answer so often within [`QUARANTINE_WINDOW`] is not asked any more.
pub const QUARANTINE_FAILURES: usize = 10;
/// See [`QUARANTINE_FAILURES`].
pub const QUARANTINE_WINDOW: Duration = Duration::from_secs(60);
/// What the cluster was told is in this node's catalog within this, or was refused.
const CATALOG_BEHIND_MAX: Duration = Duration::from_secs(10);

/// A verdict, and where it comes from. With the input it was made from, it is all there is to record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<T> {
    /// What was decided.
    pub verdict: T,
    /// The name of the policy that was asked; `classic` if none was bound.
    pub module: String,
    /// The hash of the policy that was asked; empty if none was bound.
    pub hash: String,
    /// What it used and said; if it gave no valid answer, only the time, with that of the fallback.
    pub stats: CallStats,
    /// Why the verdict is native classic's; none if it is the bound policy's own.
    pub fallback: Option<String>,
}

/// A policy that gave no valid answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Its name.
    pub module: String,
    /// Its hash.
    pub hash: String,
    /// What it did last.
    pub reason: String,
}

/// Decides. Shared by all threads; bindings change between two decisions, never within one.
pub struct Decider {
    bindings: ArcSwap<Bindings>,
    limits: CallLimits,
    /// Policies that are not asked, by hash.
    quarantined: ArcSwap<BTreeSet<String>>,
    failures: Mutex<Failures>,
    shadow: Shadow,
}

/// Which policies failed lately.
#[derive(Debug, Default)]
struct Failures {
    /// When each failed, by hash; at most [`QUARANTINE_FAILURES`] times.
    at: BTreeMap<String, VecDeque<Instant>>,
    /// The last failure of each of which nobody was told yet, by hash.
    fresh: BTreeMap<String, Failed>,
    /// Those that were quarantined here, by hash, and since when the cluster knows; until its catalog says so.
    here: BTreeMap<String, (Failed, Option<Instant>)>,
    /// What is in quarantine by the catalog.
    held: BTreeSet<String>,
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider").field("bindings", &self.bindings.load()).finish_non_exhaustive()
    }
}

impl Default for Decider {
    fn default() -> Self {
        Self::new(Bindings::default())
    }
}

impl Decider {
    /// Decides by these bindings, with the default limits.
    #[must_use]
    pub fn new(bindings: Bindings) -> Self {
        Self::with_limits(bindings, CallLimits::default())
    }

    /// Decides by these bindings, with other limits.
    #[must_use]
    pub fn with_limits(bindings: Bindings, limits: CallLimits) -> Self {
        let shadow = Shadow::default();
        shadow.rebind(&bindings);
        Self {
            bindings: ArcSwap::from_pointee(bindings),
            limits,
            quarantined: ArcSwap::default(),
            failures: Mutex::default(),
            shadow,
        }
    }

    /// Decides by these bindings from the next decision on.
    pub fn rebind(&self, bindings: Bindings) {
        let bindings = Arc::new(bindings);
        self.bindings.store(Arc::clone(&bindings));
        self.shadow.rebind(&bindings);
    }

    /// Does not ask the policies of these hashes, which are in quarantine by the catalog, nor those that were quarantined
    /// here and of which the catalog does not say so yet. To be called with every catalog, and from time to time.
    pub fn hold(&self, held: BTreeSet<String>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let released: Vec<String> = failures.held.difference(&held).cloned().collect();
        for hash in released {
            // It begins anew.
            failures.here.remove(&hash);
            failures.at.remove(&hash);
        }
        failures.here.retain(|hash, (_, told)| {
            !held.contains(hash) && told.is_none_or(|told| told.elapsed() < CATALOG_BEHIND_MAX)
        });
        let all: BTreeSet<String> = held.iter().chain(failures.here.keys()).cloned().collect();
        failures.held = held;
        if all != **self.quarantined.load() {
            self.quarantined.store(Arc::new(all));
        }
    }

    /// The bindings of the next decision.
    #[must_use]
    pub fn bindings(&self) -> Arc<Bindings> {
        self.bindings.load_full()
    }

    /// The policies that are in quarantine here and of which the cluster was not told.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Failed> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = failures.here.values().filter(|(_, told)| told.is_none());
        untold.map(|(held, _)| held.clone()).collect()
    }

    /// The cluster was told: its catalog is soon the one that says it.
    pub fn told(&self, hash: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, told)) = failures.here.get_mut(hash) {
            *told = Some(Instant::now());
        }
    }

    /// The policies that gave no valid answer since this was asked last, with the last reason of each.
    #[must_use]
    pub fn take_failures(&self) -> Vec<Failed> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut failures.fresh).into_values().collect()
    }

    /// What the policies that are asked beside would have decided otherwise.
    #[must_use]
    pub fn shadow_report(&self) -> ShadowReport {
        self.shadow.report()
    }

    /// The question cut into parts, each of which one binding is for.
    #[must_use]
    pub fn parts(&self, mut question: DetectionInput) -> Vec<DetectionInput> {
        let groups = self.bindings.load().groups(DecisionPoint::Detection);
        let mut parts = Vec::new();
        for group in groups {
            let of_group: Vec<_> = question.nodes.extract_if(.., |node| node.group == group).collect();
            if !of_group.is_empty() {
                parts.push(DetectionInput { nodes: of_group, ..question.without_nodes() });
            }
        }
        if !question.nodes.is_empty() || parts.is_empty() {
            parts.insert(0, question);
        }
        parts
    }

    /// Decides. The settings of the binding are written into the question, which is then the whole record of what was
    /// decided upon.
    pub fn decide<Q: Sandboxed + 'static>(&self, question: &mut Q) -> Decision<Q::Verdict> {
        let bindings = self.bindings.load();
        let binding = bindings.active(question);
        if let Some(binding) = binding {
            question.settings_mut().clone_from(&binding.settings);
        }
        let mut decision = self.ask(question, binding);
        question.enforce_ceiling(&mut decision.verdict);
        for (beside, part) in bindings.beside(question) {
            self.shadow.ask(beside, part, &decision);
        }
        decision
    }

    fn ask<Q: Sandboxed>(&self, question: &Q, binding: Option<&Binding>) -> Decision<Q::Verdict> {
        let started = Instant::now();
        let (module, hash, reason) = match binding {
            Some(Binding { module, .. }) => {
                let (name, hash) = (module.name().to_owned(), module.hash().to_owned());
                if self.quarantined.load().contains(&hash) {
                    (name, hash, "it is quarantined; see SHOW POLICIES".to_owned())
                } else {
                    match module.ask(question, &self.limits) {
                        Ok((verdict, stats)) => {
                            return Decision { verdict, module: name, hash, stats, fallback: None };
                        }
                        Err(error) => {
                            self.note_failure(&name, &hash, &error);
                            (name, hash, error.to_string())
                        }
                    }
                }
            }
            None => (Classic::NAME.to_owned(), String::new(), "no policy is bound".to_owned()),
        };
        let verdict = question.answer_of(&Classic);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let stats = CallStats { micros, ..CallStats::default() };
        Decision { verdict, module, hash, stats, fallback: Some(reason) }
    }

    /// Quarantines a policy that fails again and again. That a call took too long is said of the machine as well, and
    /// counts for nothing: fuel is the budget.
    fn note_failure(&self, module: &str, hash: &str, error: &CallError) {
        let noted = |reason: String| Failed { module: module.to_owned(), hash: hash.to_owned(), reason };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.fresh.insert(hash.to_owned(), noted(error.to_string()));
        if matches!(error, CallError::TimedOut(_)) {
            return;
        }
        let at = failures.at.entry(hash.to_owned()).or_default();
        at.push_back(Instant::now());
        if at.len() < QUARANTINE_FAILURES {
            return;
        }
        let first = at.pop_front();
        if first.is_none_or(|first| first.elapsed() > QUARANTINE_WINDOW) {
            return;
        }
        failures.at.remove(hash);
        let reason =
            format!("{QUARANTINE_FAILURES} failures within {QUARANTINE_WINDOW:?}, the last: {error}");
        failures.here.insert(hash.to_owned(), (noted(reason), None));
        let mut quarantined = BTreeSet::clone(&self.quarantined.load());
        quarantined.insert(hash.to_owned());
        self.quarantined.store(Arc::new(quarantined));
    }
}
