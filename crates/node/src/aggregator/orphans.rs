//! What leaves have that the catalog does not give to them, and partitions that nobody serves any more.
//!
//! * S4: `FORCE` is the only way to a primary that is not in sync. What may be lost by it is said before, and kept as an
//!   event. A leaf that gives no answer may have the best copy: nothing is forced past it.
//! * S7: data is removed from a leaf only while its partition is served elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Database, Node, Partition};
use baton_failover::{may_clear, orphans};
use baton_model::{Epoch, Lsn, NodeId, PartitionId, StatementId};
use baton_sql::{Address, PartitionName};
use futures::future::join_all;

use super::Aggregator;
use super::cluster::refused;
use super::maintenance::{Done, leaf_at, listed, lost_partitions, partition_named, primaries_held};
use crate::wire::{InstanceStatus, Request, Response};

/// A leaf must say within this what it has.
const ASK: Duration = Duration::from_secs(2);

impl Aggregator {
    /// What a leaf has, whatever the catalog gives to it.
    ///
    /// # Errors
    /// That it does not say so.
    pub(super) async fn told_by(&self, leaf: &Node) -> Result<Vec<InstanceStatus>, String> {
        match self.context.ask(&leaf.rpc_address(), &Request::Instances, ASK).await {
            Ok(Response::Instances(told)) => Ok(told),
            Ok(_) => Err(format!("{} does not say what it has", leaf.address())),
            Err(error) => Err(format!("{} does not say what it has: {error}", leaf.address())),
        }
    }

    /// What every leaf has, as far as it says so.
    pub(super) async fn told_by_all(
        &self,
        catalog: &Catalog,
    ) -> BTreeMap<NodeId, Result<Vec<InstanceStatus>, String>> {
        let leaves: Vec<&Node> = catalog.leaves().collect();
        let answers = join_all(leaves.iter().map(|leaf| self.told_by(leaf))).await;
        leaves.iter().map(|leaf| leaf.id).zip(answers).collect()
    }

    /// The orphans that leaves have, and whether each may be removed now.
    pub(super) async fn orphans_now(&self, catalog: &Catalog) -> Vec<(NodeId, PartitionId, bool)> {
        let told = self.told_by_all(catalog).await;
        let held = told.iter().flat_map(|(node, of)| of.iter().flatten().map(|one| (*node, one.partition)));
        orphans(catalog, held)
            .into_iter()
            .map(|(node, partition)| (node, partition, may_clear(catalog, node, partition)))
            .collect()
    }

    pub(super) async fn clear_orphans(&self) -> Done {
        let catalog = self.current_catalog().await?;
        let found = self.orphans_now(&catalog).await;
        let mut cleared = 0;
        let mut kept = Vec::new();
        for (node, partition, may) in &found {
            let name = format!("{} on {}", catalog.partition_name(*partition), catalog.address_of(*node));
            if !may {
                kept.push(format!("{name}: its partition has no primary that serves"));
                continue;
            }
            match self.remove_data(&catalog, *partition, *node).await {
                Ok(()) => {
                    self.do_it(Command::ForgetOrphan { partition: *partition, node: *node }).await?;
                    cleared += 1;
                }
                Err(why) => kept.push(format!("{name}: {why}")),
            }
        }
        // A copy that was set aside on a leaf that answers and has it no more.
        let told = self.told_by_all(&catalog).await;
        for copy in catalog.set_aside() {
            let gone = told
                .get(&copy.node)
                .and_then(|of| of.as_ref().ok())
                .is_some_and(|of| of.iter().all(|one| one.partition != copy.partition));
            if gone && !found.iter().any(|(node, id, _)| (*node, *id) == (copy.node, copy.partition)) {
                self.do_it(Command::ForgetOrphan { partition: copy.partition, node: copy.node }).await?;
            }
        }
        if kept.is_empty() {
            return Ok(cleared);
        }
        Err(refused(format!("{cleared} orphans were removed, and these were not: {}", listed(&kept))).into())
    }

    /// Gives a leaf's data back to its partition: as a replica if the partition is served, as its primary if nobody
    /// else can be, and then only if the operator accepts what may be lost.
    pub(super) async fn attach_partition(
        &self,
        id: StatementId,
        catalog: &Catalog,
        name: &PartitionName,
        on: &Address,
        force: bool,
    ) -> Done {
        let partition = partition_named(catalog, name)?;
        let leaf = leaf_at(catalog, on)?;
        if catalog.serving(partition.id).is_some() {
            if catalog.is_set_aside(partition.id, leaf.id) && !force {
                let text = format!(
                    "What {} has of {name} was set aside, and may have writes that its primary does not have; \
                     FORCE makes a replica of it, and they are lost",
                    leaf.address()
                );
                return Err(refused(text).into());
            }
            let (partition, version, node) = (partition.id, partition.version, leaf.id);
            let add = Command::AddReplica { partition, version, node };
            let is_orphan = catalog.is_set_aside(partition, node);
            let forget = is_orphan.then_some(Command::ForgetOrphan { partition, node });
            self.commit(id, Command::Batch(forget.into_iter().chain([add]).collect())).await?;
            return Ok(1);
        }
        let told = self.told_by(leaf).await.map_err(refused)?;
        let Some(copy) = told.iter().find(|one| one.partition == partition.id) else {
            let text = format!(
                "{} has nothing of {name}; REBALANCE PARTITIONS ON {} FORCE makes it anew, empty",
                leaf.address(),
                name.database
            );
            return Err(refused(text).into());
        };
        let loss = self.loss(catalog, partition, leaf.id, Some((copy.epoch, copy.last)));
        if !force {
            return Err(refused(format!("{loss}; FORCE does it all the same")).into());
        }
        let (id_of, epoch, to) = (partition.id, partition.epoch, leaf.id);
        self.commit(id, Command::ForcePrimary { partition: id_of, epoch, to, loss }).await?;
        Ok(1)
    }

    /// What may be lost when this copy, or none, becomes the primary.
    fn loss(
        &self,
        catalog: &Catalog,
        partition: &Partition,
        to: NodeId,
        copy: Option<(Epoch, Lsn)>,
    ) -> String {
        let name = catalog.partition_name(partition.id);
        let told = self.positions.told();
        let old = catalog.address_of(partition.primary);
        let known = match told.get(&(partition.primary, partition.id)) {
            Some(last) => format!("its primary on {old} had the log up to {last} when it was last heard"),
            None => format!("its primary on {old} was not heard since this master aggregator is in office"),
        };
        let to = catalog.address_of(to);
        match copy {
            Some((epoch, last)) => format!(
                "{name}: {known}, and the copy on {to} ends at {last} of {epoch}: what was acknowledged after that is lost"
            ),
            None => format!(
                "{name}: {known}, and no copy is there: it begins anew, empty, on {to}, and all of it is lost"
            ),
        }
    }

    /// `REBALANCE PARTITIONS … FORCE`: every partition that nobody serves or could without a loss gets the best copy that
    /// a leaf has as its primary, or begins anew.
    pub(super) async fn force_lost(&self, catalog: &Catalog, database: &Database) -> Done {
        let lost: Vec<&Partition> = lost_partitions(catalog, database).collect();
        if lost.is_empty() {
            return Ok(0);
        }
        let mut told: BTreeMap<NodeId, Vec<InstanceStatus>> = BTreeMap::new();
        for (leaf, of) in self.told_by_all(catalog).await {
            if !catalog.node(leaf).is_some_and(|node| node.is_online()) {
                continue;
            }
            let of = of.map_err(|why| {
                refused(format!("{why}. It may have the best copy: try again, or DETACH LEAF it first"))
            })?;
            told.insert(leaf, of);
        }
        let mut held = primaries_held(catalog);
        let mut forced = 0;
        for partition in lost {
            let copies = told.iter().filter_map(|(node, of)| {
                let own = of.iter().find(|one| one.partition == partition.id)?;
                let lost = partition.primary == *node && partition.primary_lost;
                (!lost).then_some((own.epoch, own.last, *node))
            });
            let best = copies.max_by_key(|(epoch, last, node)| (*epoch, *last, std::cmp::Reverse(*node)));
            let (to, copy) = match best {
                Some((epoch, last, node)) => (node, Some((epoch, last))),
                None => {
                    let least =
                        told.keys().min_by_key(|leaf| (held.get(leaf).copied().unwrap_or_default(), **leaf));
                    let Some(leaf) = least.copied() else {
                        return Err(refused("No leaf is online; see SHOW LEAVES").into());
                    };
                    (leaf, None)
                }
            };
            *held.entry(to).or_default() += 1;
            let loss = self.loss(catalog, partition, to, copy);
            let (id, epoch) = (partition.id, partition.epoch);
            self.do_it(Command::ForcePrimary { partition: id, epoch, to, loss }).await?;
            forced += 1;
        }
        Ok(forced)
    }
}
