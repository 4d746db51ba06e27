//! The policies of a world, and how they are asked: as the node's host does it, with native classic where a policy gives
//! no valid answer (S8).
//!
//! Whatever is a [`Policy`] can be put on the shelf; a binding of the catalog names it.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use baton_catalog::{Catalog, PolicyModule};
use baton_failover::{Chosen, Degraded, Degrader, Elector, Promoter};
use baton_model::Blob;
use baton_policy::{
    Classic, DecisionPoint, DegradeInput, DegradeVerdict, Description, DetectionInput, ElectionChoice,
    ElectionInput, ElectionVerdict, Health, NodeVerdict, Policy, PromotionInput, PromotionVerdict, Settings,
    enforce_degrade_ceiling, enforce_detection_ceiling, validate_degrade, validate_detection,
    validate_election, validate_promotion,
};
use baton_policy_swift::Swift;

/// A policy that misbehaves: its answers are often none, and where they are, they are as bad as may be.
///
/// It is not so bad that it calls the dead healthy for ever: such a policy is obeyed, and nothing converges.
#[derive(Clone, Copy, Debug, Default)]
pub struct Erratic;

impl Policy for Erratic {
    fn describe(&self) -> Description {
        Description { name: "erratic".to_owned(), version: "1".to_owned(), settings: Vec::new() }
    }

    fn detect(&self, input: &DetectionInput) -> Vec<NodeVerdict> {
        let mut verdicts = Swift.detect(input);
        match mix(input.seed) % 40 {
            // No answer at all, too many, and strangers.
            0..4 => verdicts.clear(),
            4..8 => verdicts.extend(verdicts.first().cloned()),
            8 => {
                verdicts.iter_mut().for_each(|verdict| verdict.node += 1);
            }
            // The living are called dead.
            9 => {
                let at = mix(input.seed ^ 1) as usize % verdicts.len().max(1);
                if let Some(verdict) = verdicts.get_mut(at) {
                    verdict.health = Health::Failed;
                }
            }
            _ => {}
        }
        verdicts
    }

    fn elect(&self, input: &ElectionInput) -> ElectionVerdict {
        match mix(input.seed ^ input.self_node) % 20 {
            0 => ElectionVerdict { choice: ElectionChoice::Campaign, reason: "because".to_owned() },
            1 => ElectionVerdict::wait("x".repeat(4096)),
            _ => Swift.elect(input),
        }
    }

    fn degrade(&self, input: &DegradeInput) -> DegradeVerdict {
        match mix(input.seed ^ input.silent_ms) % 4 {
            0 => DegradeVerdict::wait("never"),
            1 => DegradeVerdict::degrade("x".repeat(4096)),
            2 => DegradeVerdict::degrade("at once"),
            _ => Swift.degrade(input),
        }
    }

    fn promote(&self, input: &PromotionInput) -> PromotionVerdict {
        let mut verdict = Swift.promote(input);
        match mix(input.seed) % 4 {
            0 => verdict.ranking.clear(),
            1 => verdict.ranking.insert(0, input.failed_primary),
            2 => verdict.ranking.reverse(),
            _ => {}
        }
        verdict
    }
}

fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}

/// Policies by name.
#[derive(Clone)]
pub struct Shelf(BTreeMap<String, Rc<dyn Policy>>);

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for Shelf {
    /// The policies that come with Baton, `hasty`, which is classic for settings of its own, and `erratic`.
    fn default() -> Self {
        let mut shelf = Self(BTreeMap::new());
        shelf.put(Classic::NAME, Rc::new(Classic));
        shelf.put("hasty", Rc::new(Classic));
        shelf.put("swift", Rc::new(Swift));
        shelf.put("erratic", Rc::new(Erratic));
        shelf
    }
}

impl Shelf {
    /// Puts a policy on the shelf.
    pub fn put(&mut self, name: &str, policy: Rc<dyn Policy>) {
        self.0.insert(name.to_owned(), policy);
    }

    /// All of them, as the catalog has modules; there are no bytes to them.
    #[must_use]
    pub fn modules(&self) -> Vec<PolicyModule> {
        let module = |name: &String| PolicyModule {
            name: name.clone(),
            version: "native".to_owned(),
            hash: Self::hash(name),
            decision_points: DecisionPoint::ALL.iter().map(ToString::to_string).collect(),
            bytes: Blob::new(&[]),
            signature: None,
        };
        self.0.keys().map(module).collect()
    }

    /// The hash of a module of [`Shelf::modules`].
    #[must_use]
    pub fn hash(name: &str) -> String {
        format!("native {name}")
    }

    fn bound(&self, catalog: &Catalog, point: DecisionPoint, settings: &mut Settings) -> &dyn Policy {
        let binding = catalog.binding(point.name());
        if let Some(binding) = binding {
            settings.clone_from(&binding.settings);
        }
        binding.and_then(|binding| self.0.get(&binding.policy)).map_or(&Classic, |policy| &**policy)
    }

    /// Judges nodes.
    #[must_use]
    pub fn detect(&self, catalog: &Catalog, input: &mut DetectionInput) -> Vec<NodeVerdict> {
        let verdicts = self.bound(catalog, DecisionPoint::Detection, &mut input.settings).detect(input);
        let mut verdicts =
            if validate_detection(input, &verdicts).is_ok() { verdicts } else { Classic.detect(input) };
        enforce_detection_ceiling(input, &mut verdicts);
        verdicts
    }

    /// Who decides on replicas that lag.
    #[must_use]
    pub fn degrader<'a>(&'a self, catalog: &'a Catalog) -> Asking<'a> {
        Asking { shelf: self, catalog }
    }

    /// Who decides on elections.
    #[must_use]
    pub fn elector<'a>(&'a self, catalog: &'a Catalog) -> Asking<'a> {
        Asking { shelf: self, catalog }
    }

    /// Who decides on promotions.
    #[must_use]
    pub fn promoter<'a>(&'a self, catalog: &'a Catalog) -> Asking<'a> {
        Asking { shelf: self, catalog }
    }
}

/// Asks the bound policies.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    shelf: &'a Shelf,
    catalog: &'a Catalog,
}

impl Elector for Asking<'_> {
    fn elect(&mut self, input: &ElectionInput) -> ElectionVerdict {
        let mut input = input.clone();
        let policy = self.shelf.bound(self.catalog, DecisionPoint::Election, &mut input.settings);
        let verdict = policy.elect(&input);
        if validate_election(&verdict).is_ok() { verdict } else { Classic.elect(&input) }
    }
}

impl Degrader for Asking<'_> {
    fn degrade(&mut self, input: &DegradeInput) -> Degraded {
        let mut input = input.clone();
        let policy = self.shelf.bound(self.catalog, DecisionPoint::Degrade, &mut input.settings);
        let verdict = policy.degrade(&input);
        let valid = validate_degrade(&verdict).is_ok();
        let mut verdict = if valid { verdict } else { Classic.degrade(&input) };
        enforce_degrade_ceiling(&input, &mut verdict);
        Degraded { choice: verdict.choice, reason: verdict.reason, policy: policy.describe().name }
    }
}

impl Promoter for Asking<'_> {
    fn promote(&mut self, input: &PromotionInput) -> Chosen {
        let mut input = input.clone();
        let policy = self.shelf.bound(self.catalog, DecisionPoint::Promotion, &mut input.settings);
        let verdict = policy.promote(&input);
        let valid = validate_promotion(&input, &verdict).is_ok();
        let verdict = if valid { verdict } else { Classic.promote(&input) };
        let policy = if valid { policy.describe().name } else { "classic (native)".to_owned() };
        Chosen { ranking: verdict.ranking, reason: verdict.reason, policy }
    }
}
