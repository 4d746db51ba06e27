//! One committed entry, applied.
//!
//! A statement that was carried out before is answered from memory (S12). Everything else goes to the part it is
//! about; each part checks all its preconditions before it changes anything.

mod instances;
mod leaves;
mod modes;
mod nodes;
mod partitions;
mod plans;
mod policies;
mod restore;
mod schema;
mod users;

use std::collections::BTreeSet;

use baton_model::limits::{CATALOG_OUTCOMES_KEPT, DECISIONS_KEPT, EVENTS_KEPT};
use baton_model::{CatalogIndex, NodeId, StatementId};

use crate::catalog::Catalog;
use crate::command::{Command, Entry};
use crate::objects::{Event, Severity, event_type};
use crate::outcome::{Applied, Outcome, Rejection, Reply};
use crate::row::RowKey;
use crate::variables;

impl Catalog {
    /// Applies the entry at this index.
    ///
    /// # Panics
    /// If the index does not follow the last one: an entry was skipped or came twice, which is a fault of the shell.
    pub fn apply(&mut self, index: CatalogIndex, entry: &Entry) -> Applied {
        assert!(index > self.index, "entry {index} comes after {}", self.index);
        self.index = index;
        if let Some(outcome) = entry.statement.and_then(|statement| self.outcome(statement)) {
            return Applied { outcome: outcome.clone(), changed: Vec::new() };
        }
        let mut step = Step { catalog: self, at_ms: entry.at_ms, changed: BTreeSet::new() };
        let outcome = step.command(&entry.command);
        // That the table has moved on is said of this attempt, not of the statement: it is computed again and comes
        // again, under the same id.
        if let Some(statement) = entry.statement
            && !matches!(outcome, Err(Rejection::TableChanged(_)))
        {
            step.remember(statement, outcome.clone());
        }
        Applied { outcome, changed: step.changed.into_iter().collect() }
    }
}

/// One entry on its way into the catalog.
struct Step<'a> {
    catalog: &'a mut Catalog,
    at_ms: u64,
    changed: BTreeSet<RowKey>,
}

impl Step<'_> {
    fn command(&mut self, command: &Command) -> Outcome {
        if self.catalog.cluster.is_none() && !matches!(command, Command::FoundCluster { .. }) {
            return Err(Rejection::NotFounded);
        }
        match command {
            Command::FoundCluster { cluster, node, policies, bindings } => {
                self.found_cluster(*cluster, node, policies, bindings)
            }
            Command::AddNode(node) => self.add_node(node).map(Reply::Node),
            Command::RemoveNode { node } => self.remove_node(*node),
            Command::SetAggregatorRole { node, role } => self.set_aggregator_role(*node, *role),
            Command::SetNodeOffline { node, incarnation, reason } => {
                self.set_node_offline(*node, *incarnation, reason)
            }
            Command::SetNodeOnline { node, incarnation, store, lost_tail } => {
                self.set_node_online(*node, *incarnation, *store, *lost_tail)
            }
            Command::PromoteInstance { partition, epoch, to, reason } => {
                self.promote_instance(*partition, *epoch, *to, reason)
            }
            Command::NotePartitionOffline { partition, reason } => {
                self.note_partition_offline(*partition, reason)
            }
            Command::SetSyncState { partition, epoch, version, replica, state, reason } => {
                self.set_sync_state(*partition, *epoch, *version, *replica, *state, reason)
            }
            Command::AddReplica { partition, version, node } => self.add_replica(*partition, *version, *node),
            Command::HandOver { partition, epoch, to, reason } => {
                self.hand_over(*partition, *epoch, *to, reason)
            }
            Command::DropReplica { partition, node, copies_left, reason } => {
                self.drop_replica(*partition, *node, *copies_left, reason)
            }
            Command::ForcePrimary { partition, epoch, to, loss } => {
                self.force_primary(*partition, *epoch, *to, loss)
            }
            Command::ForgetOrphan { partition, node } => self.forget_orphan(*partition, *node),
            Command::DetachLeaf { node, last_copies, reason } => {
                self.detach_leaf(*node, *last_copies, reason)
            }
            Command::AttachLeaf { node, incarnation, store, lost_tail } => {
                self.attach_leaf(*node, *incarnation, *store, *lost_tail)
            }
            Command::RemoveLeaf { node, force } => self.remove_leaf(*node, *force),
            Command::StartPlan { database, kind, emptied, steps } => {
                self.start_plan(*database, *kind, emptied, steps)
            }
            Command::NoteStep { plan, step, status, details } => {
                self.note_step(*plan, *step, *status, details)
            }
            Command::EndPlan { plan, status, details } => self.end_plan(*plan, *status, details),
            Command::CreateDatabase { name, if_not_exists, replication, durability, placements } => {
                self.create_database(name, *if_not_exists, *replication, *durability, placements)
            }
            Command::AlterDatabase { name, replication, durability } => {
                self.alter_database(name, *replication, *durability)
            }
            Command::NoteSynced { partition, epoch, version } => {
                self.note_synced(*partition, *epoch, *version)
            }
            Command::DropDatabase { name, if_exists } => self.drop_database(name, *if_exists),
            Command::CreateTable { database, schema, if_not_exists } => {
                self.create_table(database, schema, *if_not_exists)
            }
            Command::DropTable { database, table, if_exists } => self.drop_table(database, table, *if_exists),
            Command::BeginRestore { statement, name, replication, durability, placements, tables } => {
                self.begin_restore(*statement, name, (*replication, *durability), placements, tables)
            }
            Command::FinishRestore { database, details } => self.finish_restore(*database, details),
            Command::AbortRestore { database, reason } => self.abort_restore(*database, reason),
            Command::SetVariable { name, value } => self.set_variable(name, value),
            Command::CreateUser { user, if_not_exists, password_hash } => {
                self.create_user(user, *if_not_exists, *password_hash)
            }
            Command::DropUser { user, if_exists } => self.drop_user(user, *if_exists),
            Command::SetPassword { user, password_hash } => self.set_password(user, *password_hash),
            Command::Grant { user, privileges, scope } => self.grant(user, privileges, scope),
            Command::Revoke { user, privileges, scope } => self.revoke(user, privileges, scope),
            Command::RevokeAll { user } => self.revoke_all(user),
            Command::InstallPolicy { module, replace } => self.install_policy(module, *replace),
            Command::DropPolicy { name, if_exists } => self.drop_policy(name, *if_exists),
            Command::BindPolicy(binding) => self.bind_policy(binding),
            Command::UnbindPolicy { decision_points, scope, shadow } => {
                self.unbind_policy(decision_points, *scope, *shadow)
            }
            Command::RollbackPolicy { back_to, scope } => self.roll_policy_back(back_to, *scope),
            Command::QuarantinePolicy { hash, reason } => self.quarantine_policy(hash, reason),
            Command::ReleasePolicy { name } => self.release_policy(name),
            Command::MarkMaintenance { node, until_ms } => self.mark_maintenance(*node, *until_ms),
            Command::TakeAutoIncrement { table, count, at_least } => {
                self.take_auto_increment(*table, *count, *at_least)
            }
            Command::WriteReference(write) => self.write_reference(write),
            Command::RecordDecision(decision) => {
                let id = self.catalog.counters.decision;
                self.catalog.counters.decision += 1;
                let mut decision = decision.clone();
                decision.id = id;
                self.catalog.decisions.insert(id, decision);
                self.changed.extend([RowKey::Counters, RowKey::Decision(id)]);
                if let Some(old) = id.checked_sub(DECISIONS_KEPT as u64)
                    && self.catalog.decisions.remove(&old).is_some()
                {
                    self.changed.insert(RowKey::Decision(old));
                }
                self.done()
            }
            Command::RecordEvent { severity, event_type, node, details } => {
                self.event(*severity, event_type, *node, details.clone());
                self.done()
            }
            Command::Batch(commands) => {
                Ok(Reply::Batch(commands.iter().map(|command| self.command(command)).collect()))
            }
        }
    }

    /// Data that was committed is given up, and with it what it says of transactions.
    fn give_up(&mut self) {
        let last = &mut self.catalog.counters.given_up_ms;
        *last = self.at_ms.max(*last);
        self.changed.insert(RowKey::Counters);
    }

    fn done(&self) -> Outcome {
        Ok(Reply::Done { index: self.catalog.index })
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Outcome {
        let variable = variables::find(name).ok_or_else(|| Rejection::NoSuchVariable(name.into()))?;
        let canonical =
            variable.parse(value).map_err(|why| Rejection::BadValue(name.into(), value.into(), why))?;
        let text = format!("{} = {canonical}", variable.name);
        self.catalog.variables.insert(variable.name.into(), canonical);
        self.changed.insert(RowKey::Variable(variable.name.into()));
        self.event(Severity::Notice, event_type::VARIABLE_SET, None, text);
        self.done()
    }

    /// Keeps an event, and forgets the oldest if there are too many.
    fn event(&mut self, severity: Severity, event_type: &str, node: Option<NodeId>, details: String) {
        let id = self.catalog.counters.event;
        self.catalog.counters.event += 1;
        let event = Event { id, at_ms: self.at_ms, severity, event_type: event_type.into(), node, details };
        self.catalog.events.insert(id, event);
        self.changed.extend([RowKey::Counters, RowKey::Event(id)]);
        if let Some(old) = id.checked_sub(EVENTS_KEPT as u64)
            && self.catalog.events.remove(&old).is_some()
        {
            self.changed.insert(RowKey::Event(old));
        }
    }

    /// Remembers a statement's outcome, and forgets the oldest if there are too many (S12).
    fn remember(&mut self, statement: StatementId, outcome: Outcome) {
        let index = self.catalog.index;
        self.catalog.outcomes.insert(statement, (index, outcome));
        self.catalog.outcome_ages.insert((index, statement), ());
        self.changed.insert(RowKey::Outcome(statement));
        if self.catalog.outcomes.len() > CATALOG_OUTCOMES_KEPT
            && let Some(((age, oldest), ())) = self.catalog.outcome_ages.get_min().cloned()
        {
            self.catalog.outcome_ages.remove(&(age, oldest));
            self.catalog.outcomes.remove(&oldest);
            self.changed.insert(RowKey::Outcome(oldest));
        }
    }
}
