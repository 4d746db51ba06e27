//! S10: a deposed master aggregator changes nothing.
//!
//! A term has one leader, and one entry stands at each index of the committed log: `world/control.rs` says if not. And
//! while clocks go as they should, of all members at most one calls itself leader at any moment: looked at whenever
//! one of them acts as such.
//! That a message from another cluster is refused is the business of `transport::check`, which is no core; it is tested
//! there.

use std::collections::BTreeMap;

use baton_model::NodeId;

use crate::world::World;

/// Who led in which term.
#[derive(Debug, Default)]
pub(super) struct S10 {
    leaders: BTreeMap<u64, NodeId>,
    broken: Option<String>,
}

impl S10 {
    pub(super) fn leads(&mut self, term: u64, node: NodeId) {
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            self.broken.get_or_insert(format!("{first} and {node} both led in term {term}"));
        }
    }

    pub(super) fn result(&self) -> Result<(), String> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

pub(super) fn one_leads(world: &World) -> Result<(), String> {
    world.checks.s10.result()?;
    let leaders: Vec<NodeId> = world.acting_leaders();
    match leaders.as_slice() {
        [first, second, ..] if !world.nemesis.clocks_are_disturbed(world.now) => {
            Err(format!("{first} and {second} both call themselves master aggregator"))
        }
        _ => Ok(()),
    }
}
