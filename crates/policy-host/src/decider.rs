//! Decides: asks the policy that is bound to a decision point, and native classic if that gives no valid answer; and
//! lets no answer exceed a ceiling (S8).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use baton_policy::{
    Classic, DecisionPoint, DegradeInput, DegradeVerdict, DetectionInput, ElectionInput, ElectionVerdict,
    NodeVerdict, Policy, PromotionInput, PromotionVerdict, Settings, enforce_degrade_ceiling,
    enforce_detection_ceiling,
};

use crate::{CallError, CallLimits, CallStats, Module};

/// A policy and the settings it is asked with.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The policy.
    pub module: Arc<Module>,
    /// Its settings; see [`Module::check`].
    pub settings: Settings,
}

/// Which policy answers which decision point. A decision point that is not here is answered by native classic.
pub type Bindings = BTreeMap<DecisionPoint, Binding>;

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

/// Decides. Shared by all threads; bindings change between two decisions, never within one.
pub struct Decider {
    bindings: ArcSwap<Bindings>,
    limits: CallLimits,
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider").field("bindings", &self.bindings.load()).finish_non_exhaustive()
    }
}

impl Default for Decider {
    fn default() -> Self {
        Self::new(Bindings::new())
    }
}

impl Decider {
    /// Decides by these bindings, with the default limits.
    #[must_use]
    pub fn new(bindings: Bindings) -> Self {
        Self { bindings: ArcSwap::from_pointee(bindings), limits: CallLimits::default() }
    }

    /// Decides by these bindings from the next decision on.
    pub fn rebind(&self, bindings: Bindings) {
        self.bindings.store(Arc::new(bindings));
    }

    /// The bindings of the next decision.
    #[must_use]
    pub fn bindings(&self) -> Arc<Bindings> {
        self.bindings.load_full()
    }

    /// Judges nodes. The settings of the binding are written into the input, which is then the whole record of what
    /// was decided upon.
    pub fn decide_detection(&self, input: &mut DetectionInput) -> Decision<Vec<NodeVerdict>> {
        let binding = self.binding(DecisionPoint::Detection, &mut input.settings);
        let mut decision =
            decide(binding, |module| module.detect(input, &self.limits), || Classic.detect(input));
        enforce_detection_ceiling(input, &mut decision.verdict);
        decision
    }

    /// Decides whether to campaign. The settings of the binding are written into the input.
    pub fn decide_election(&self, input: &mut ElectionInput) -> Decision<ElectionVerdict> {
        let binding = self.binding(DecisionPoint::Election, &mut input.settings);
        decide(binding, |module| module.elect(input, &self.limits), || Classic.elect(input))
    }

    /// Ranks candidates, of which there must be at least one. The settings of the binding are written into the input.
    pub fn decide_promotion(&self, input: &mut PromotionInput) -> Decision<PromotionVerdict> {
        let binding = self.binding(DecisionPoint::Promotion, &mut input.settings);
        decide(binding, |module| module.promote(input, &self.limits), || Classic.promote(input))
    }

    /// Decides whether to go on without a replica. The settings of the binding are written into the input.
    pub fn decide_degrade(&self, input: &mut DegradeInput) -> Decision<DegradeVerdict> {
        let binding = self.binding(DecisionPoint::Degrade, &mut input.settings);
        let mut decision =
            decide(binding, |module| module.degrade(input, &self.limits), || Classic.degrade(input));
        enforce_degrade_ceiling(input, &mut decision.verdict);
        decision
    }

    fn binding(&self, point: DecisionPoint, settings: &mut Settings) -> Option<Arc<Module>> {
        let bindings = self.bindings.load();
        let binding = bindings.get(&point)?;
        settings.clone_from(&binding.settings);
        Some(Arc::clone(&binding.module))
    }
}

fn decide<T>(
    module: Option<Arc<Module>>,
    ask: impl FnOnce(&Module) -> Result<(T, CallStats), CallError>,
    classic: impl FnOnce() -> T,
) -> Decision<T> {
    let started = Instant::now();
    let (module, hash, reason) = match module {
        Some(module) => match ask(&module) {
            Ok((verdict, stats)) => {
                let (module, hash) = (module.name().to_owned(), module.hash().to_owned());
                return Decision { verdict, module, hash, stats, fallback: None };
            }
            Err(error) => (module.name().to_owned(), module.hash().to_owned(), error.to_string()),
        },
        None => (Classic::NAME.to_owned(), String::new(), "no policy is bound".to_owned()),
    };
    let verdict = classic();
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let stats = CallStats { micros, ..CallStats::default() };
    Decision { verdict, module, hash, stats, fallback: Some(reason) }
}
