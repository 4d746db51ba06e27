//! Statements about the cluster itself: founding it, members, hand-over, users.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_catalog::{Catalog, Command, Entry, NewNode, Node, Outcome, PolicyModule, Reply};
use baton_consensus::{ControlGroup, OpenError, ProposeError};
use baton_gateway::PasswordHash;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{
    AggregatorRole, CatalogIndex, ClusterId, Incarnation, NodeId, NodeRole, StatementId, StoreId,
};
use baton_policy::DecisionPoint;
use baton_sql::{Address, ClusterStatement, Login};
use mysql_async::prelude::Queryable;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::Aggregator;
use super::execute::{answer, refusal};
use crate::local_sql::{IDENTITY_COLUMNS, IDENTITY_QUERY};
use crate::server::wall_clock_ms;
use crate::wire::{ForwardAnswer, ForwardRefusal, ForwardRequest, JoinRequest, Request, Response};

/// A new node must answer within this.
const REACH: Duration = Duration::from_secs(5);
/// A new member must be part of the control group within this.
const MEMBERSHIP: Duration = Duration::from_secs(30);
/// A hand-over must have happened within this.
const HAND_OVER: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) fn refused(text: impl Into<String>) -> SqlError {
    SqlError::new(ErrorCode::OperationRefused, text)
}

/// What a node says of itself to whoever logs in.
struct Identified {
    role: NodeRole,
    rpc_port: u16,
    http_port: u16,
    incarnation: Incarnation,
    store: StoreId,
    cluster: Option<ClusterId>,
}

/// Logs in at a node and asks who it is.
async fn identify(login: &Login) -> Result<Identified, SqlError> {
    let name = format!("{}:{}", login.address.host, login.address.port);
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname(login.address.host.clone())
        .tcp_port(login.address.port)
        .user(Some(login.user.clone()))
        .pass((!login.password.is_empty()).then(|| login.password.clone()));
    let asked = async {
        let mut connection = mysql_async::Conn::new(options).await?;
        let row: Option<mysql_async::Row> = connection.query_first(IDENTITY_QUERY).await?;
        connection.disconnect().await?;
        Ok::<_, mysql_async::Error>(row)
    };
    let row = timeout(REACH, asked)
        .await
        .map_err(|_| refused(format!("{name} does not answer; is the node running?")))?
        .map_err(|error| refused(format!("cannot log in at {name}: {error}")))?
        .ok_or_else(|| refused(format!("{name} is no Baton node")))?;
    let text = |column: &str| -> String {
        let position = IDENTITY_COLUMNS.iter().position(|known| *known == column).unwrap_or_default();
        row.get_opt(position).and_then(Result::ok).unwrap_or_default()
    };
    let number = |column: &str| text(column).parse::<u64>().unwrap_or_default();
    let port = |column: &str| u16::try_from(number(column)).unwrap_or_default();
    Ok(Identified {
        role: if text("role") == "leaf" { NodeRole::Leaf } else { NodeRole::Aggregator },
        rpc_port: port("rpc_port"),
        http_port: port("http_port"),
        incarnation: Incarnation(number("incarnation")),
        store: StoreId(number("store")),
        cluster: u128::from_str_radix(&text("cluster"), 16).ok().map(ClusterId),
    })
}

impl Aggregator {
    /// Makes this node the first of a new cluster.
    ///
    /// # Errors
    /// If it is in a cluster already, or the disk fails.
    pub async fn bootstrap(self: &Arc<Self>, host: &str, port: Option<u16>) -> Result<(), SqlError> {
        let config = &self.context.config;
        if port.is_some_and(|port| port != config.sql_port) {
            return Err(refused(format!("this node listens on port {}", config.sql_port)));
        }
        let first = NodeId(1);
        let identity = self.context.identity();
        // A BOOTSTRAP that was broken off left a node with a cluster's id and an empty catalog; it is gone on with.
        let is_half_done = identity.node == first && self.context.catalog().cluster().is_none();
        if identity.cluster.is_some() && !is_half_done {
            return Err(refused("This node already belongs to a cluster"));
        }
        let policies = self.builtin_policies().await?;
        let cluster = identity.cluster.unwrap_or_else(|| ClusterId(rand::random()));
        let rpc_address = format!("{host}:{}", config.rpc_port);
        let broken = |error: String| SqlError::new(ErrorCode::UnknownError, error);
        self.context.join(cluster, first, vec![rpc_address]).map_err(|error| refused(error.to_string()))?;
        let group = self.open_group().await.map_err(|error| broken(error.to_string()))?;
        let address = baton_consensus::Address { host: host.to_owned(), rpc_port: config.rpc_port };
        match group.found(address).await {
            Ok(()) | Err(OpenError::AlreadyFounded) => {}
            Err(error) => return Err(broken(error.to_string())),
        }
        let node = NewNode {
            host: host.to_owned(),
            sql_port: config.sql_port,
            rpc_port: config.rpc_port,
            http_port: config.http_port,
            role: NodeRole::Aggregator,
            aggregator_role: Some(AggregatorRole::VotingMember),
            availability_group: None,
            incarnation: self.context.pulse.incarnation(),
            store: self.context.pulse.store(),
        };
        let bindings = DecisionPoint::ALL
            .map(|point| (point.to_string(), baton_policy::Classic::NAME.to_owned()))
            .to_vec();
        let command = Command::FoundCluster { cluster, node, policies, bindings };
        let entry = Entry { statement: None, at_ms: wall_clock_ms(), command };
        let deadline = Instant::now() + HAND_OVER;
        while !self.group_status().is_leader {
            if Instant::now() > deadline {
                return Err(broken("the control group elected nobody; see the node's log".into()));
            }
            sleep(LOOK_AGAIN).await;
        }
        self.propose(entry).await?.map_err(|rejection| SqlError::from(&rejection))?;
        let founded = super::supervisor::until(self, HAND_OVER, |catalog| catalog.cluster().is_some()).await;
        founded.map_err(|()| broken("the catalog was founded but cannot be read; see the node's log".into()))
    }

    /// The modules that come with the binary.
    async fn builtin_policies(&self) -> Result<Vec<PolicyModule>, SqlError> {
        let mut policies = Vec::new();
        for builtin in &baton_policy_host::BUILTINS {
            policies.push(self.built_in(builtin).await.map_err(|error| {
                let text = format!("the built-in policy {}: {error}", builtin.name);
                SqlError::new(ErrorCode::UnknownError, text)
            })?);
        }
        Ok(policies)
    }

    /// Executes a cluster statement as the master aggregator.
    ///
    /// # Errors
    /// [`ForwardRefusal`].
    pub async fn execute_cluster(
        self: &Arc<Self>,
        id: StatementId,
        statement: ClusterStatement,
        request: &ForwardRequest,
        catalog: &Catalog,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        match statement {
            ClusterStatement::BootstrapAggregator { .. } => {
                Err(refused("This node already belongs to a cluster").into())
            }
            ClusterStatement::AddAggregator { login, voting_member } => {
                if voting_member && !catalog.switch("consensus_enabled") {
                    let text = "Voting members need consensus: SET GLOBAL consensus_enabled = ON first";
                    return Err(refused(text).into());
                }
                let role =
                    if voting_member { AggregatorRole::VotingMember } else { AggregatorRole::Follower };
                let (answer, node) =
                    self.add(id, &login, NodeRole::Aggregator, Some(role), None, catalog).await?;
                self.await_member(node, voting_member).await?;
                Ok(answer)
            }
            ClusterStatement::AddLeaf { login, group } => {
                let redundancy = u32::try_from(catalog.number("redundancy_level")).unwrap_or(1);
                let group = match group {
                    Some(group) if group == 1 || (group == 2 && redundancy == 2) => group,
                    Some(group) => {
                        let text = format!(
                            "There is no availability group {group}; redundancy_level is {redundancy}"
                        );
                        return Err(refused(text).into());
                    }
                    None => smallest_group(catalog, redundancy),
                };
                let (answer, _) = self.add(id, &login, NodeRole::Leaf, None, Some(group), catalog).await?;
                Ok(answer)
            }
            ClusterStatement::RemoveAggregator(address) => {
                if let Some(outcome) = catalog.outcome(id) {
                    let removed = self.answer_of(outcome.clone())?;
                    self.await_removed().await?;
                    return Ok(removed);
                }
                let node = self.aggregator_at(catalog, &address)?;
                if node == self.context.node() {
                    return Err(refused(
                        "The master aggregator cannot be removed; PROMOTE another one first",
                    )
                    .into());
                }
                let answer = self.commit(id, Command::RemoveNode { node }).await?;
                self.await_removed().await?;
                Ok(answer)
            }
            ClusterStatement::PromoteAggregator(address) => self.promote(catalog, &address).await,
            ClusterStatement::Maintenance(statement) => self.execute_maintenance(id, statement).await,
            ClusterStatement::Policy(statement) => self.execute_policy(id, statement, catalog).await,
            ClusterStatement::User(statement) => {
                let hash = |password: &str| PasswordHash::of(password).to_bytes();
                let command = statement.command(&request.user, &request.session, catalog, hash)?;
                self.commit(id, command).await
            }
        }
    }

    fn aggregator_at(&self, catalog: &Catalog, address: &Address) -> Result<NodeId, SqlError> {
        catalog
            .node_at(&address.host, address.port)
            .filter(|node| !node.is_leaf())
            .map(|node| node.id)
            .ok_or_else(|| refused(format!("There is no aggregator {}:{}", address.host, address.port)))
    }

    /// Takes a node into the cluster: asks it who it is, gives it an id, and tells it. A retry of the statement goes on
    /// where the first attempt ended (S12).
    async fn add(
        &self,
        id: StatementId,
        login: &Login,
        role: NodeRole,
        aggregator_role: Option<AggregatorRole>,
        availability_group: Option<u32>,
        catalog: &Catalog,
    ) -> Result<(ForwardAnswer, NodeId), ForwardRefusal> {
        let Address { host, port } = &login.address;
        let outcome = match catalog.outcome(id) {
            Some(outcome) => outcome.clone(),
            None => {
                let node = self.newcomer(login, role, aggregator_role, availability_group, catalog).await?;
                let (statement, command) = (Some(id), Command::AddNode(node));
                self.propose(Entry { statement, at_ms: wall_clock_ms(), command }).await.map_err(refusal)?
            }
        };
        let node = match &outcome {
            Ok(Reply::Node(node)) => Some(*node),
            _ => None,
        };
        let answer = self.answer_of(outcome)?;
        // From here on the node is a member: whatever cannot be done now is done later, and is no refusal.
        let catalog = self.group().ok_or(ForwardRefusal::Unknown)?.catalog();
        let known = node
            .and_then(|node| catalog.node(node))
            .or_else(|| catalog.node_at(host, *port))
            .ok_or_else(|| refused(format!("{host}:{port} was removed meanwhile")))?;
        let cluster = catalog.cluster().ok_or(ForwardRefusal::Unknown)?;
        let aggregators = catalog.aggregators().map(|node| node.rpc_address()).collect();
        let request = Request::Join(JoinRequest { cluster, node: known.id, aggregators });
        let address = known.rpc_address();
        match self.context.ask(&address, &request, REACH).await {
            Ok(Response::Joined(Ok(()))) => {}
            Ok(Response::Joined(Err(why))) => {
                return Err(refused(format!("{host}:{port} refused to join: {why}")).into());
            }
            Ok(_) => return Err(refused(format!("{address} is no Baton node of this version")).into()),
            // The supervisor tells it again as soon as it answers.
            Err(error) => tracing::warn!(%address, %error, "a new node does not answer yet"),
        }
        Ok((answer, known.id))
    }

    /// What a node that is to be added says of itself.
    async fn newcomer(
        &self,
        login: &Login,
        role: NodeRole,
        aggregator_role: Option<AggregatorRole>,
        availability_group: Option<u32>,
        catalog: &Catalog,
    ) -> Result<NewNode, ForwardRefusal> {
        let Address { host, port } = &login.address;
        let known = identify(login).await?;
        if known.role != role {
            return Err(refused(format!("{host}:{port} was started as {}", known.role)).into());
        }
        let cluster = catalog.cluster().ok_or(ForwardRefusal::NotTheMaster)?;
        if let Some(other) = known.cluster {
            let text = if other == cluster {
                format!(
                    "{host}:{port} already belongs to this cluster; if it was removed, wipe its data directory"
                )
            } else {
                format!("{host}:{port} belongs to cluster {other}; wipe its data directory first")
            };
            return Err(refused(text).into());
        }
        Ok(NewNode {
            host: host.clone(),
            sql_port: *port,
            rpc_port: known.rpc_port,
            http_port: known.http_port,
            role,
            aggregator_role,
            availability_group,
            incarnation: known.incarnation,
            store: known.store,
        })
    }

    /// What the client is told of an outcome that this node's catalog has.
    fn answer_of(&self, outcome: Outcome) -> Result<ForwardAnswer, ForwardRefusal> {
        answer(outcome, self.group().map_or(CatalogIndex(0), |group| group.catalog().index()))
    }

    async fn await_member(&self, node: NodeId, voter: bool) -> Result<(), ForwardRefusal> {
        let deadline = Instant::now() + MEMBERSHIP;
        loop {
            let status = self.group_status();
            let there = status.voters.contains(&node) || !voter && status.learners.contains(&node);
            if there && status.is_settled {
                return Ok(());
            }
            if !status.is_leader {
                return Err(ForwardRefusal::Unknown);
            }
            if Instant::now() > deadline {
                let text =
                    format!("{node} was added but does not follow yet; see its log, start it, or REMOVE it");
                return Err(refused(text).into());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until nobody is a member of the control group who is no aggregator of the catalog.
    async fn await_removed(&self) -> Result<(), ForwardRefusal> {
        let deadline = Instant::now() + MEMBERSHIP;
        loop {
            let status = self.group_status();
            let catalog = self.context.catalog();
            let mut members = status.voters.union(&status.learners);
            if members.all(|member| catalog.node(*member).is_some()) && status.is_settled {
                return Ok(());
            }
            if !status.is_leader {
                return Err(ForwardRefusal::Unknown);
            }
            if Instant::now() > deadline {
                return Err(refused("it was removed, and the control group has yet to let it go").into());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Hands the office over.
    async fn promote(&self, catalog: &Catalog, address: &Address) -> Result<ForwardAnswer, ForwardRefusal> {
        let node = self.aggregator_at(catalog, address)?;
        let done = ForwardAnswer { affected_rows: 0, last_insert_id: 0, index: CatalogIndex(0) };
        if node == self.context.node() {
            return Ok(done);
        }
        let target = catalog.node(node).ok_or_else(|| refused("It was removed meanwhile"))?;
        let has_consensus = catalog.switch("consensus_enabled");
        if !target.is_online() {
            return Err(refused("Only an aggregator that is online can become the master aggregator").into());
        }
        if has_consensus && !target.is_voter() {
            return Err(
                refused("With consensus, only a voting member can become the master aggregator").into()
            );
        }
        let group = self.group().ok_or(ForwardRefusal::NotTheMaster)?;
        if !has_consensus {
            return self.hand_over_without_consensus(catalog, group, target).await;
        }
        self.hand_over(group, node).await?;
        Ok(done)
    }

    /// The other one becomes a voter for as long as it takes, and the only one after it. If it is lost just then, before
    /// it has taken the office over, nothing is decided until it is back: both are needed meanwhile.
    async fn hand_over_without_consensus(
        &self,
        catalog: &Catalog,
        group: &ControlGroup,
        target: &Node,
    ) -> Result<ForwardAnswer, ForwardRefusal> {
        let (own, heir) = (self.context.node(), target.id);
        let alone = timeout(HAND_OVER, self.members.lock()).await;
        let _alone =
            alone.map_err(|_| refused("Members of the control group are being changed; say it again"))?;
        // Asked for last, so that the answer is not an old one when the other one becomes a voter.
        group.hears(heir).await.map_err(|error| refused(error.to_string()))?;
        // Who leads has a vote once consensus is on; there are to be as many of them as before.
        let swaps = !target.is_voter() && catalog.node(own).is_some_and(Node::is_voter);
        if swaps {
            self.swap_votes(own, heir).await?;
        }
        let both = BTreeSet::from([own, heir]);
        let moved = match group.set_voters(both).await {
            Ok(()) => self.hand_over(group, heir).await,
            Err(error) => Err(refused(error.to_string()).into()),
        };
        if let Err(error) = moved {
            if swaps && let Err(error) = self.swap_votes(heir, own).await {
                warn!(?error, "the roles of aggregators are those of a hand-over that failed");
            }
            return Err(error);
        }
        // Until then both are needed, and whoever is told that it is done may stop the old one.
        let deadline = Instant::now() + HAND_OVER;
        loop {
            let status = self.group_status();
            if status.is_settled && status.voters == BTreeSet::from([heir]) {
                return Ok(ForwardAnswer { affected_rows: 0, last_insert_id: 0, index: CatalogIndex(0) });
            }
            if Instant::now() > deadline {
                let text = "The office was handed over, but the old master aggregator is still needed for a majority: \
                            do not stop it before SHOW AGGREGATORS calls it a follower there";
                return Err(refused(text).into());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// One aggregator has the vote of another once consensus is on.
    async fn swap_votes(&self, from: NodeId, to: NodeId) -> Result<(), ForwardRefusal> {
        let role = |node, role| Command::SetAggregatorRole { node, role };
        self.do_it(Command::Batch(vec![
            role(to, AggregatorRole::VotingMember),
            role(from, AggregatorRole::Follower),
        ]))
        .await
    }

    /// Hands the office to a voter.
    async fn hand_over(&self, group: &ControlGroup, node: NodeId) -> Result<(), ForwardRefusal> {
        match group.transfer_to(node).await {
            Ok(()) => {}
            Err(ProposeError::NotLeader { .. }) => return Err(ForwardRefusal::NotTheMaster),
            Err(error @ ProposeError::Behind(_)) => return Err(refused(error.to_string()).into()),
            Err(_) => return Err(ForwardRefusal::Unknown),
        }
        let deadline = Instant::now() + HAND_OVER;
        while self.group_status().leader != Some(node) {
            if Instant::now() > deadline {
                return Err(refused("Another aggregator took the office over; see SHOW AGGREGATORS").into());
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// The smallest group whose index is within the redundancy level.
fn smallest_group(catalog: &Catalog, redundancy: u32) -> u32 {
    let size = |group: &u32| catalog.leaves().filter(|leaf| leaf.availability_group == Some(*group)).count();
    (1..=redundancy).min_by_key(size).unwrap_or(1)
}

impl From<super::master::ProposalError> for ForwardRefusal {
    fn from(error: super::master::ProposalError) -> Self {
        refusal(error)
    }
}
