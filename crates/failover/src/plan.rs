//! What is done about it: a list of catalog commands, made before anything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use baton_catalog::{Catalog, Command};
use baton_model::{NodeId, PartitionId, SyncState};
use baton_policy::{Candidate, PromotionInput};

use crate::ask::{Answer, Ask};
use crate::problem::Problem;
use crate::sight::Sight;

/// Commands in the order in which they are proposed, as one entry.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The commands.
    pub commands: Vec<Command>,
    /// The partitions that have been said to be offline once the commands are carried out.
    pub noted: BTreeSet<PartitionId>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, command) in self.commands.iter().enumerate() {
            writeln!(f, "{:>3} {command:?}", i + 1)?;
        }
        Ok(())
    }
}

impl Plan {
    /// A plan against these problems.
    /// `noted` are the partitions that were already said to be offline, so that it is said once; what becomes of them
    /// is [`Plan::noted`], and holds only if the plan is committed.
    pub fn make(
        problems: &[Problem],
        catalog: &Catalog,
        sight: &Sight,
        noted: &BTreeSet<PartitionId>,
        promoter: &mut dyn Ask<PromotionInput>,
    ) -> Self {
        let mut plan = Self::default();
        let is_offline =
            |id: &PartitionId| catalog.partition(*id).is_some() && catalog.serving(*id).is_none();
        plan.noted = noted.iter().copied().filter(is_offline).collect();
        let mut held: BTreeMap<NodeId, u32> = BTreeMap::new();
        for partition in catalog.partitions() {
            *held.entry(partition.primary).or_default() += 1;
        }
        for problem in problems {
            match problem {
                Problem::DeadNode { node, reason, .. } => {
                    if let Some(known) = catalog.node(*node) {
                        plan.commands.push(Command::SetNodeOffline {
                            node: *node,
                            incarnation: known.incarnation,
                            reason: reason.clone(),
                        });
                    }
                }
                Problem::ReturnedNode { node, incarnation, store, lost_tail } => {
                    plan.commands.push(Command::SetNodeOnline {
                        node: *node,
                        incarnation: *incarnation,
                        store: *store,
                        lost_tail: *lost_tail,
                    });
                }
                Problem::DeadPrimary { partition, candidates } => {
                    plan.promote(*partition, candidates, catalog, sight, &mut held, promoter);
                }
                Problem::NoInSyncReplica { partition, reason } => {
                    if plan.noted.insert(*partition) && !noted.contains(partition) {
                        plan.commands.push(Command::NotePartitionOffline {
                            partition: *partition,
                            reason: reason.clone(),
                        });
                    }
                }
                Problem::DeadReplica { partition, replica } => {
                    if let Some(known) = catalog.partition(*partition) {
                        plan.commands.push(Command::SetSyncState {
                            partition: *partition,
                            epoch: known.epoch,
                            version: known.version,
                            replica: *replica,
                            state: SyncState::Async,
                            reason: "its leaf failed".into(),
                        });
                    }
                }
                Problem::MissingReplica { partition, leaf } => {
                    if let Some(known) = catalog.partition(*partition) {
                        plan.commands.push(Command::AddReplica {
                            partition: *partition,
                            version: known.version,
                            node: *leaf,
                        });
                    }
                }
            }
        }
        plan
    }

    fn promote(
        &mut self,
        partition: PartitionId,
        candidates: &[NodeId],
        catalog: &Catalog,
        sight: &Sight,
        held: &mut BTreeMap<NodeId, u32>,
        promoter: &mut dyn Ask<PromotionInput>,
    ) {
        let Some(known) = catalog.partition(partition) else { return };
        let group_of = |node| catalog.node(node).and_then(|n| n.availability_group).unwrap_or(0);
        let offered: Vec<Candidate> = candidates
            .iter()
            .map(|node| {
                let seen = sight.nodes.get(node);
                Candidate {
                    node: node.0,
                    lsn: sight.positions.get(&(*node, partition)).map(|last| last.0),
                    group: group_of(*node),
                    primaries_held: held.get(node).copied().unwrap_or(0),
                    last_pong_age_ms: seen
                        .and_then(|seen| seen.last_pong)
                        .map_or(u64::MAX, |pong| sight.now.since(pong).as_millis() as u64),
                    rtt_mean_us: seen.map_or(0, |seen| seen.rtt_mean_us),
                    flaps_last_hour: seen.map_or(0, |seen| seen.flaps_last_hour),
                    vitals: seen.and_then(|seen| seen.vitals),
                    in_maintenance: seen.is_some_and(|seen| seen.in_maintenance),
                }
            })
            .collect();
        let input = PromotionInput {
            now_ms: sight.now.as_millis(),
            wall_ms: sight.wall_ms,
            settings: baton_policy::Settings::default(),
            seed: seed(catalog, partition),
            database: catalog
                .database_by_id(partition.database)
                .map_or_else(String::new, |database| database.name.clone()),
            partition: partition.ordinal,
            failed_primary: known.primary.0,
            failed_group: group_of(known.primary),
            candidates: offered,
        };
        let Answer { verdict, policy } = promoter.ask(input);
        // S8: taken only if it was offered.
        let Some(to) =
            verdict.ranking.iter().map(|node| NodeId(*node)).find(|node| candidates.contains(node))
        else {
            return;
        };
        *held.entry(to).or_default() += 1;
        self.commands.push(Command::PromoteInstance {
            partition,
            epoch: known.epoch,
            to,
            reason: format!("{} ({policy})", verdict.reason),
        });
    }
}

/// Another number for each partition and each version of the catalog.
pub(crate) fn seed(catalog: &Catalog, partition: PartitionId) -> u64 {
    let place = u64::from(partition.ordinal) << 32 | partition.database.0;
    catalog.index().0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
