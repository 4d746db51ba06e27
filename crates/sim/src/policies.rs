//! The policies of a world, and how they are asked: as the node's host does it, with native classic where a policy gives
//! no valid answer (S8).
//!
//! Whatever is a [`Policy`] can be put on the shelf; a binding of the catalog names it.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use baton_catalog::{Catalog, PolicyModule};
use baton_failover::{Answer, Ask};
use baton_model::Blob;
use baton_policy::{Classic, DecisionPoint, Policy, Question};
use baton_policy_chaos::Chaos;
use baton_policy_swift::Swift;

/// The policy that misbehaves as its setting of the same name says.
pub const CHAOS: &str = "chaos";

/// Policies by name.
#[derive(Clone)]
pub struct Shelf(BTreeMap<String, Rc<dyn Policy>>);

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for Shelf {
    /// The policies that come with Baton, `hasty`, which is classic for settings of its own, and `chaos`.
    fn default() -> Self {
        let mut shelf = Self(BTreeMap::new());
        shelf.put(Classic::NAME, Rc::new(Classic));
        shelf.put("hasty", Rc::new(Classic));
        shelf.put("swift", Rc::new(Swift));
        shelf.put(CHAOS, Rc::new(Chaos));
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

    /// Who decides, as a catalog says.
    #[must_use]
    pub fn by<'a>(&'a self, catalog: &'a Catalog) -> Asking<'a> {
        Asking { shelf: self, catalog }
    }

    /// Decides as a node does: the policy, native classic if that gives no valid answer, and within the ceiling. The
    /// settings of the binding are written into the question.
    pub fn decide<Q: Question>(&self, catalog: &Catalog, question: &mut Q) -> Answer<Q::Verdict> {
        let binding = catalog.binding(Q::POINT.name());
        if let Some(binding) = binding {
            question.settings_mut().clone_from(&binding.settings);
        }
        let policy = binding.and_then(|binding| self.0.get(&binding.policy));
        let policy: &dyn Policy = policy.map_or(&Classic, |policy| &**policy);
        let verdict = question.answer_of(policy);
        let (mut verdict, policy) = match question.validate(&verdict) {
            Ok(()) => (verdict, policy.describe().name),
            Err(_) => (question.answer_of(&Classic), "classic (native)".to_owned()),
        };
        question.enforce_ceiling(&mut verdict);
        Answer { verdict, policy }
    }
}

/// Asks the bound policies.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    shelf: &'a Shelf,
    catalog: &'a Catalog,
}

impl<Q: Question> Ask<Q> for Asking<'_> {
    fn ask(&mut self, mut question: Q) -> Answer<Q::Verdict> {
        self.shelf.decide(self.catalog, &mut question)
    }
}
