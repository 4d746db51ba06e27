//! Which policy answers which question: by decision point, and by what the question is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_policy::{DecisionPoint, Question, Scope, Settings};

use crate::Module;

/// A policy and the settings it is asked with.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The policy.
    pub module: Arc<Module>,
    /// Its settings; see [`Module::check`].
    pub settings: Settings,
}

/// What a binding is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum BoundFor {
    /// Everything that no other binding is for.
    #[default]
    Cluster,
    /// What is about an availability group.
    Group(u32),
    /// What is about a database, by its name. It comes before a group.
    Database(String),
}

/// The bindings of a node. A decision point that is not here is answered by native classic.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    active: BTreeMap<(DecisionPoint, BoundFor), Binding>,
    shadow: BTreeMap<(DecisionPoint, BoundFor), Binding>,
}

impl Bindings {
    /// A policy that decides.
    pub fn bind(&mut self, point: DecisionPoint, scope: BoundFor, binding: Binding) {
        self.active.insert((point, scope), binding);
    }

    /// A policy that is asked beside the one that decides.
    pub fn shadow(&mut self, point: DecisionPoint, scope: BoundFor, binding: Binding) {
        self.shadow.insert((point, scope), binding);
    }

    /// Who decides a question.
    pub fn active<Q: Question>(&self, question: &Q) -> Option<&Binding> {
        find(&self.active, Q::POINT, question.scope())
    }

    /// Who is asked beside, each with the part of the question that it is asked.
    pub fn beside<Q: Question>(&self, question: &Q) -> Vec<(&Binding, Q)> {
        let mut asked = Vec::new();
        for ((point, scope), binding) in &self.shadow {
            if let BoundFor::Group(group) = scope
                && *point == Q::POINT
                && let Some(part) = question.of_group(*group)
            {
                asked.push((binding, part));
            }
        }
        // A question without parts is asked of one policy, as the one that decides is found.
        if asked.is_empty()
            && let Some(binding) = find(&self.shadow, Q::POINT, question.scope())
        {
            asked.push((binding, question.clone()));
        }
        asked
    }

    /// The availability groups of which another policy decides than of the rest.
    #[must_use]
    pub fn groups(&self, point: DecisionPoint) -> Vec<u32> {
        let group = |(at, scope): &(DecisionPoint, BoundFor)| match scope {
            BoundFor::Group(group) if *at == point => Some(*group),
            _ => None,
        };
        self.active.keys().filter_map(group).collect()
    }

    /// Who is asked beside, by decision point, scope and hash, with the settings.
    pub(crate) fn shadows(&self) -> Vec<(DecisionPoint, BoundFor, String, Settings)> {
        let told = |((point, scope), binding): (&(DecisionPoint, BoundFor), &Binding)| {
            (*point, scope.clone(), binding.module.hash().to_owned(), binding.settings.clone())
        };
        self.shadow.iter().map(told).collect()
    }
}

fn find<'a>(
    bindings: &'a BTreeMap<(DecisionPoint, BoundFor), Binding>,
    point: DecisionPoint,
    scope: Scope<'_>,
) -> Option<&'a Binding> {
    let of_database = scope.database.and_then(|name| bindings.get(&(point, BoundFor::Database(name.into()))));
    of_database
        .or_else(|| scope.group.and_then(|group| bindings.get(&(point, BoundFor::Group(group)))))
        .or_else(|| bindings.get(&(point, BoundFor::Cluster)))
}
