//! `setup-cluster`: from a cluster file to a cluster that serves.
//!
//! Everything that can be known to fail is checked before anything is started. After that a failure leaves what
//! runs as it is, for its logs, and says how to take it down.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::{Client, ClientError, quoted};
use crate::cluster_file::{ClusterPlan, PlannedNode, PlannedRole};
use crate::error::AdminError;
use crate::nodes::{Listing, start};
use crate::process::{Awaited, presence};
use crate::report::Report;
use crate::serving::{Login, await_all, await_sql};
use crate::state::{ClusterState, NodeRecord, StateDir};
use crate::survey::{View, address, unserved};

/// How long one statement of the setup may take.
const STATEMENT_BOUND: Duration = Duration::from_secs(60);
/// How long a statement is tried again while something that passes is in its way.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the cluster may take from its last statement until all of it serves.
const WHOLE_WAIT: Duration = Duration::from_secs(90);
const WHOLE_POLL: Duration = Duration::from_millis(100);

/// Sets the cluster of a file up.
pub(crate) async fn setup_cluster(dir: &StateDir, file: &Path, report: &Report) -> Result<(), AdminError> {
    let plan = ClusterPlan::read(file)?;
    for note in &plan.notes {
        report.note(note);
    }
    if dir.read().is_ok() {
        return Err(AdminError::Exists(dir.path().to_owned()));
    }
    check_addresses(&plan.nodes)?;
    let state = record(dir, &plan)?;
    dir.create(&state)?;
    let built = build(dir, &plan, &state, report).await;
    let view = built
        .map_err(|cause| AdminError::HalfWay { cause: Box::new(cause), state_dir: dir.path().to_owned() })?;
    let listing = Listing::of(&dir.read()?, Some(&view));
    report.result(&listing, || listing.table());
    Ok(())
}

/// Hosts must be ours and ports free; a node would say the same, but later and in its log.
fn check_addresses(nodes: &[PlannedNode]) -> Result<(), AdminError> {
    for node in nodes {
        let (name, host) = (node.name.clone(), node.host.clone());
        TcpListener::bind((host.as_str(), 0)).map_err(|reason| AdminError::ForeignHost {
            node: name,
            host,
            reason,
        })?;
    }
    // Held together, so that two nodes at different spellings of one address are caught too.
    let mut held = Vec::new();
    for node in nodes {
        for (purpose, port) in
            [("port", node.port), ("rpc_port", node.rpc_port), ("http_port", node.http_port)]
        {
            let listener =
                TcpListener::bind((node.host.as_str(), port)).map_err(|reason| AdminError::PortTaken {
                    node: node.name.clone(),
                    purpose,
                    host: node.host.clone(),
                    port,
                    reason,
                })?;
            held.push(listener);
        }
    }
    Ok(())
}

/// The record of a cluster that is about to be.
fn record(dir: &StateDir, plan: &ClusterPlan) -> Result<ClusterState, AdminError> {
    let mut nodes = Vec::new();
    for node in &plan.nodes {
        let datadir = node.datadir.clone().unwrap_or_else(|| dir.data().join(&node.name));
        let datadir_made = match fs::read_dir(&datadir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(AdminError::DataDirNotEmpty { node: node.name.clone(), path: datadir });
                }
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(AdminError::io("use the data folder", datadir, error)),
        };
        nodes.push(NodeRecord {
            name: node.name.clone(),
            role: node.role,
            host: node.host.clone(),
            port: node.port,
            rpc_port: node.rpc_port,
            http_port: node.http_port,
            datadir,
            datadir_made,
            node_id: None,
            pid: None,
        });
    }
    Ok(ClusterState { root_password: String::new(), nodes })
}

async fn build(
    dir: &StateDir,
    plan: &ClusterPlan,
    state: &ClusterState,
    report: &Report,
) -> Result<View, AdminError> {
    report.progress(&format!("starting {} nodes", state.nodes.len()));
    let mut started = Vec::new();
    for node in &state.nodes {
        fs::create_dir_all(&node.datadir)
            .map_err(|error| AdminError::io("make the data folder", &node.datadir, error))?;
        started.push((node, Awaited::Started(start(dir, node)?)));
    }
    await_all(dir, started, Login::surely("")).await?;

    let mut master = Master::connect(dir, state, "").await?;
    for statement in statements(plan) {
        report.progress(&statement);
        master.execute(&statement, &statement).await?;
    }
    if !plan.root_password.is_empty() {
        report.progress("setting root's password");
        let statement = format!("ALTER USER 'root' IDENTIFIED BY {}", quoted(&plan.root_password));
        // From here on either password may be the right one; the record holds the new one, which will be.
        dir.update(|state| state.root_password.clone_from(&plan.root_password))?;
        master.execute(&statement, "ALTER USER 'root' IDENTIFIED BY …").await?;
    }

    report.progress("waiting until every node is online and every partition is served");
    for node in &state.nodes {
        let process = presence(node).pid().map(Awaited::Found);
        await_sql(node, process, Login::surely(&plan.root_password), &dir.log(&node.name)).await?;
    }
    let view = await_whole(dir, plan, state).await?;
    dir.update(|state| {
        for node in &mut state.nodes {
            node.node_id = view.ids.get(&address(node)).copied();
        }
    })?;
    Ok(view)
}

/// What makes the started nodes a cluster, in order, except for the password.
fn statements(plan: &ClusterPlan) -> Vec<String> {
    let place = |node: &PlannedNode| format!("{}:{}", quoted(&node.host), node.port);
    let mut statements = Vec::new();
    statements.extend(plan.master().map(|master| format!("BOOTSTRAP AGGREGATOR {}", place(master))));
    statements
        .extend(plan.variables.iter().map(|(name, value)| format!("SET GLOBAL {name} = {}", quoted(value))));
    // Leaves before children would do as well; aggregators first lets the quorum stand early.
    for node in &plan.nodes {
        if let PlannedRole::Aggregator { voting_member } = node.role {
            let voting = if voting_member { " AS VOTING MEMBER" } else { "" };
            statements.push(format!("ADD AGGREGATOR root@{}{voting}", place(node)));
        }
    }
    for node in &plan.nodes {
        if let PlannedRole::Leaf { group } = node.role {
            statements.push(format!("ADD LEAF root@{} INTO GROUP {group}", place(node)));
        }
    }
    statements
}

/// Waits until the master has every node online and every partition served.
async fn await_whole(dir: &StateDir, plan: &ClusterPlan, state: &ClusterState) -> Result<View, AdminError> {
    let deadline = Instant::now() + WHOLE_WAIT;
    let mut master = Master::connect(dir, state, &plan.root_password).await?;
    loop {
        let missing = match missing(&mut master.client, state).await {
            Ok((view, None)) => return Ok(view),
            Ok((_, Some(missing))) => missing,
            Err(error) => format!("node '{}': {error}", master.node.name),
        };
        if Instant::now() >= deadline {
            return Err(AdminError::NotWhole {
                seconds: WHOLE_WAIT.as_secs(),
                reason: missing,
                logs: dir.logs(),
            });
        }
        sleep(WHOLE_POLL).await;
    }
}

async fn missing(client: &mut Client, state: &ClusterState) -> Result<(View, Option<String>), ClientError> {
    let view = View::of(client).await?;
    if let Some(node) = state.nodes.iter().find(|node| !view.online.contains(&address(node))) {
        let missing = format!("node '{}' is not online", node.name);
        return Ok((view, Some(missing)));
    }
    let unserved = unserved(client).await?;
    Ok((view, unserved))
}

/// The connection to the node that the cluster begins with.
struct Master<'a> {
    node: &'a NodeRecord,
    dir: &'a StateDir,
    client: Client,
}

impl<'a> Master<'a> {
    async fn connect(dir: &'a StateDir, state: &'a ClusterState, password: &str) -> Result<Self, AdminError> {
        // A plan without a master is refused when its file is read.
        let node = state
            .nodes
            .iter()
            .find(|node| node.role == PlannedRole::Master)
            .ok_or_else(|| AdminError::NoCluster(dir.path().to_owned()))?;
        let client = Client::connect(node, password, STATEMENT_BOUND).await.map_err(|error| {
            AdminError::NotServing {
                node: node.name.clone(),
                reason: error.to_string(),
                log: dir.log(&node.name),
            }
        })?;
        Ok(Self { node, dir, client })
    }

    async fn execute(&mut self, statement: &str, shown: &str) -> Result<(), AdminError> {
        self.client.execute_patiently(statement, PATIENCE).await.map_err(|error| AdminError::Statement {
            statement: shown.to_owned(),
            node: self.node.name.clone(),
            error: Box::new(error),
            log: self.dir.log(&self.node.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> ClusterPlan {
        ClusterPlan::parse(text, Path::new("c.yaml")).unwrap()
    }

    #[test]
    fn the_statements_are_those_of_the_documents() {
        let plan = plan(
            "
high_availability: true
sync_variables: {consensus_enabled: ON}
hosts:
- hostname: 127.0.0.1
  nodes:
  - {role: Leaf, config: {port: 3}}
  - {role: Leaf, config: {port: 4}}
  - {role: Aggregator, aggregator_role: voting_member, config: {port: 2}}
  - {role: Master, config: {port: 1}}
",
        );
        assert_eq!(
            statements(&plan),
            [
                "BOOTSTRAP AGGREGATOR '127.0.0.1':1",
                "SET GLOBAL consensus_enabled = 'ON'",
                "SET GLOBAL redundancy_level = '2'",
                "ADD AGGREGATOR root@'127.0.0.1':2 AS VOTING MEMBER",
                "ADD LEAF root@'127.0.0.1':3 INTO GROUP 1",
                "ADD LEAF root@'127.0.0.1':4 INTO GROUP 2",
            ]
        );
    }

    #[test]
    fn taken_ports_and_foreign_hosts_are_found_before_anything_starts() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let node = |host: &str, port: u16| {
            plan(&format!(
                "hosts: [{{hostname: {host}, nodes: [{{role: Master, config: {{port: {port}}}}}]}}]"
            ))
            .nodes
        };
        let error = check_addresses(&node("127.0.0.1", port)).unwrap_err();
        assert!(matches!(error, AdminError::PortTaken { purpose: "port", .. }), "{error}");
        let error = check_addresses(&node("192.0.2.1", 5000)).unwrap_err();
        assert!(matches!(error, AdminError::ForeignHost { .. }), "{error}");
    }

    #[test]
    fn a_data_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::at(folder.path()).unwrap();
        let mut plan = plan("hosts: [{hostname: 127.0.0.1, nodes: [{role: Master, name: m}]}]");
        assert!(record(&dir, &plan).unwrap().nodes[0].datadir_made);
        plan.nodes[0].datadir = Some(folder.path().to_owned());
        assert!(!record(&dir, &plan).unwrap().nodes[0].datadir_made);
        fs::write(folder.path().join("x"), "x").unwrap();
        assert!(matches!(record(&dir, &plan), Err(AdminError::DataDirNotEmpty { .. })));
    }
}
