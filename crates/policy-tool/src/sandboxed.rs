//! A component as a policy of the simulator: asked in the sandbox, with native classic behind it, as on a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use baton_policy::{
    Classic, DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionInput, ElectionVerdict,
    MaintenanceInput, MaintenanceVerdict, NodeVerdict, PlacementInput, PlacementVerdict, Policy,
    PromotionInput, PromotionVerdict, RejoinInput, RejoinVerdict, RetryInput, RetryVerdict,
};
use baton_policy_host::{self as host, CallError, CallLimits, Module};

/// A played decision is bounded by fuel alone: how quick this machine is, decides nothing.
const TIME_MS: u64 = 60_000;

/// A component. Where it answers nothing, or nothing valid, native classic does.
#[derive(Clone, Debug)]
pub(crate) struct Sandboxed {
    module: Arc<Module>,
    limits: CallLimits,
    /// How many decisions it could not make although it answers that decision point.
    failed: Arc<AtomicU64>,
    /// Why it could not make one of them.
    why: Arc<OnceLock<String>>,
}

impl Sandboxed {
    pub(crate) fn new(module: Arc<Module>) -> Self {
        let limits = CallLimits { time_ms: TIME_MS, ..CallLimits::default() };
        Self { module, limits, failed: Arc::default(), why: Arc::default() }
    }

    /// How many decisions it could not make, of itself and of all its clones.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Why it could not make one of them.
    pub(crate) fn why(&self) -> Option<String> {
        self.why.get().cloned()
    }

    fn ask<Q: host::Sandboxed>(&self, question: &Q) -> Q::Verdict {
        match self.module.ask(question, &self.limits) {
            Ok((verdict, _)) => verdict,
            Err(error) => {
                if !matches!(error, CallError::NotExported(_)) {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    self.why.get_or_init(|| error.to_string());
                }
                question.answer_of(&Classic)
            }
        }
    }
}

impl Policy for Sandboxed {
    fn describe(&self) -> Description {
        let manifest = self.module.manifest().clone();
        Description { name: manifest.name, version: manifest.version, settings: manifest.settings }
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        self.ask(input)
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        self.ask(input)
    }

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        self.ask(input)
    }

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        self.ask(input)
    }

    fn rejoin(&self, input: &RejoinInput) -> RejoinVerdict {
        self.ask(input)
    }

    fn place(&self, input: &PlacementInput) -> PlacementVerdict {
        self.ask(input)
    }

    fn maintain(&self, input: &MaintenanceInput) -> MaintenanceVerdict {
        self.ask(input)
    }

    fn retry(&self, input: &RetryInput) -> RetryVerdict {
        self.ask(input)
    }
}
