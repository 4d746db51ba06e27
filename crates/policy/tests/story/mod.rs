//! Runs story-like scripts against a policy: what is known, a question, and the answer that is expected.
//! Used by the tests of this crate for classic, and by those of the policies in `policies`.
//!
//! ```text
//! # Three refusals and twenty misses are a failure.
//! node n2 misses=20 refusals=3
//! detect
//! ---
//! n2 healthy ⇨ failed (score 200: 20 misses, 3 refusals)
//! ```
//!
//! * `set name=value …` binds settings; an answer to it is the policy's objection.
//! * `tick interval=150 late=0 now=0` says how far apart pings are, how late this tick came, and what the observer's
//!   clock shows, in milliseconds.
//! * `node n2 misses= refusals= timeouts= lost=true maintenance=true flaps= witness=n3/misses/refusals/age_ms
//!   fsync= loop= backlog= disk_mb= role=aggregator was=failed …` replaces what is known of a node; `detect` judges all
//!   nodes and remembers the opinion and the policy's memory. Without any of the vitals it has not said how it is.
//! * `wait 5s` lets time pass: every interval all nodes are judged, and what is thought of one is told when it changes.
//!   Meanwhile a node with `silent=true` misses each ping; and one with `busy=true` syncs all the time, each time a
//!   millisecond longer, so that a sync ends as often as it takes. One with `syncing=150` is in a sync that does not
//!   end. `memory=00ff` puts bytes into a node's memory.
//! * `master n1 …` (as `node`), `voter n3 sees=false reachable=true log=9`, and
//!   `elect rank=0 timeout=30000 since=500 campaigns=1` asks for an election.
//! * `candidate n3 lsn=9 primaries=2 group=1 age=100 flaps=0`, and `promote` asks whom to promote.
//! * `replica n3 …` (as `node`), and `degrade silent=5000 timeout=5000 writes=1 oldest=4000 linked=false copies=1
//!   groups=1` asks whether to go on without it; what is not named stays as it was asked last.
//! * `clear` forgets nodes, voters and candidates, not the settings.
//!
//! `UPDATE_GOLDENFILES=1 cargo test` writes the answers of today into the scripts, to be read before they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use baton_model::NodeRole;
use baton_model::limits::{CONSENSUS_ELECTION_TIMEOUT_MS, HEARTBEAT_INTERVAL_MS, SYNC_REPLICA_TIMEOUT_MS};
use baton_policy::{
    Candidate, DegradeChoice, DegradeInput, DetectionInput, ElectionChoice, ElectionInput, Health,
    NodeEvidence, Policy, PromotionInput, Vitals, VoterView, Witness, validate_degrade, validate_detection,
    validate_election, validate_promotion,
};
use goldenscript::{ArgumentConsumer, Command, Context};

/// Runs the script at `path` and compares its answers with those written in it.
///
/// # Panics
/// If an answer differs, or the script is malformed.
///
/// # Errors
/// If the script cannot be read.
pub fn run<P: Policy>(policy: P, path: impl AsRef<Path>) -> std::io::Result<()> {
    goldenscript::run(&mut Story::new(policy), path)
}

struct Story<P> {
    policy: P,
    detection: DetectionInput,
    election: ElectionInput,
    promotion: PromotionInput,
    degrade: DegradeInput,
    /// Nodes that answer no ping while time passes.
    silent: BTreeSet<u64>,
    /// Nodes that sync all the time, and for how long the present sync has run, in milliseconds.
    busy: BTreeMap<u64, u64>,
}

type Answer = Result<String, Box<dyn Error>>;

impl<P: Policy> Story<P> {
    fn new(policy: P) -> Self {
        let detection = DetectionInput { heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS, ..Default::default() };
        let election = ElectionInput {
            now_ms: 0,
            heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
            observer_late_ms: 0,
            settings: detection.settings.clone(),
            seed: 0,
            self_node: 2,
            rank: 0,
            election_timeout_ms: CONSENSUS_ELECTION_TIMEOUT_MS,
            term: 1,
            master: NodeEvidence::answering(1, NodeRole::Aggregator),
            voters: Vec::new(),
            campaigns: 0,
            since_last_campaign_ms: None,
            unled_ms: 0,
            ..Default::default()
        };
        let promotion = PromotionInput {
            now_ms: 0,
            settings: detection.settings.clone(),
            seed: 0,
            database: "db".to_owned(),
            partition: 0,
            failed_primary: 0,
            failed_group: 1,
            candidates: Vec::new(),
            ..Default::default()
        };
        let degrade = DegradeInput {
            now_ms: 0,
            settings: detection.settings.clone(),
            seed: 0,
            database: "db".to_owned(),
            partition: 0,
            sync_replica_timeout_ms: SYNC_REPLICA_TIMEOUT_MS,
            primary: 2,
            primary_group: 1,
            replica_group: 2,
            silent_ms: 0,
            linked: true,
            waiting_writes: 0,
            oldest_wait_ms: 0,
            copies_left: 1,
            groups_left: 1,
            replica: NodeEvidence::answering(3, NodeRole::Leaf),
            ..Default::default()
        };
        let (silent, busy) = Default::default();
        Self { policy, detection, election, promotion, degrade, silent, busy }
    }

    fn set(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        while let Some((name, value)) = args.next_key() {
            self.detection.settings.insert(name.to_owned(), value.to_owned());
        }
        args.reject_next()?;
        self.election.settings = self.detection.settings.clone();
        self.promotion.settings = self.detection.settings.clone();
        self.degrade.settings = self.detection.settings.clone();
        Ok(self.policy.check(&self.detection.settings).err().unwrap_or_default())
    }

    fn tick(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        take(&mut args, "interval", &mut self.detection.heartbeat_interval_ms)?;
        take(&mut args, "late", &mut self.detection.observer_late_ms)?;
        take(&mut args, "now", &mut self.detection.now_ms)?;
        args.reject_next()?;
        self.election.heartbeat_interval_ms = self.detection.heartbeat_interval_ms;
        self.election.observer_late_ms = self.detection.observer_late_ms;
        Ok(String::new())
    }

    fn node(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        let was = args.take_key("was").map(health).transpose()?;
        let memory = args.take_key("memory").map(bytes).transpose()?;
        let (mut silent, mut busy) = (false, false);
        take(&mut args, "silent", &mut silent)?;
        take(&mut args, "busy", &mut busy)?;
        let mut told = evidence(args, NodeRole::Leaf)?;
        self.silent.retain(|node| *node != told.node);
        self.silent.extend(silent.then_some(told.node));
        let sync = self.busy.remove(&told.node).unwrap_or_default();
        self.busy.extend(busy.then_some((told.node, sync)));
        match self.detection.nodes.iter_mut().find(|known| known.node == told.node) {
            Some(known) => {
                told.previous = was.unwrap_or(known.previous);
                told.memory = memory.unwrap_or_else(|| std::mem::take(&mut known.memory));
                *known = told;
            }
            None => {
                told.previous = was.unwrap_or_default();
                told.memory = memory.unwrap_or_default();
                self.detection.nodes.push(told);
            }
        }
        Ok(String::new())
    }

    fn detect(&mut self) -> Answer {
        Ok(self.judge()?.into_iter().map(|(_, line)| line + "\n").collect())
    }

    /// Judges all nodes: for each, whether the opinion of it has changed, and a line that says what it is.
    fn judge(&mut self) -> Result<Vec<(bool, String)>, Box<dyn Error>> {
        let verdicts = self.policy.detect(&self.detection);
        if let Err(rejection) = validate_detection(&self.detection, &verdicts) {
            return Ok(vec![(true, format!("no verdict: {rejection}"))]);
        }
        let mut said = Vec::new();
        for node in &mut self.detection.nodes {
            let verdict = verdicts.iter().find(|verdict| verdict.node == node.node).ok_or("validated")?;
            let changed = node.previous != verdict.health;
            let change = if changed {
                format!("{} ⇨ {}", node.previous, verdict.health)
            } else {
                verdict.health.to_string()
            };
            said.push((changed, format!("n{} {change} ({})", node.node, verdict.reason)));
            node.previous = verdict.health;
            node.memory.clone_from(&verdict.memory);
        }
        Ok(said)
    }

    fn wait(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        let wait_ms = milliseconds(args.next_pos().ok_or("how long?")?)?;
        args.reject_next()?;
        let interval_ms = self.detection.heartbeat_interval_ms.max(1);
        let mut said = String::new();
        for tick in 1..=wait_ms / interval_ms {
            self.detection.now_ms = self.detection.now_ms.saturating_add(interval_ms);
            self.pass(interval_ms);
            for (_, line) in self.judge()?.into_iter().filter(|(changed, _)| *changed) {
                let after_ms = tick * interval_ms;
                writeln!(said, "after {}.{:03}s: {line}", after_ms / 1000, after_ms % 1000)?;
            }
        }
        Ok(said)
    }

    /// What becomes of the nodes within one interval.
    fn pass(&mut self, interval_ms: u64) {
        for node in &mut self.detection.nodes {
            if self.silent.contains(&node.node) {
                node.misses = node.misses.saturating_add(1);
            }
            if let Some(vitals) = &mut node.vitals
                && vitals.syncing_ms > 0
                && !self.busy.contains_key(&node.node)
            {
                vitals.syncing_ms += interval_ms;
            }
            if let Some(running_ms) = self.busy.get_mut(&node.node)
                && let Some(vitals) = &mut node.vitals
            {
                *running_ms += interval_ms;
                if *running_ms >= vitals.fsync_ms {
                    *running_ms = 0;
                    vitals.fsync_ms += 1;
                }
                vitals.syncing_ms = *running_ms;
            }
        }
    }

    fn voter(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        let mut voter = VoterView {
            node: id(&mut args)?,
            reachable: true,
            sees_master: None,
            log_index: 0,
            ..Default::default()
        };
        take(&mut args, "reachable", &mut voter.reachable)?;
        voter.sees_master = take_option(&mut args, "sees")?;
        take(&mut args, "log", &mut voter.log_index)?;
        args.reject_next()?;
        self.election.voters.retain(|known| known.node != voter.node);
        self.election.voters.push(voter);
        Ok(String::new())
    }

    fn elect(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        take(&mut args, "rank", &mut self.election.rank)?;
        take(&mut args, "timeout", &mut self.election.election_timeout_ms)?;
        take(&mut args, "unled", &mut self.election.unled_ms)?;
        take(&mut args, "campaigns", &mut self.election.campaigns)?;
        self.election.since_last_campaign_ms = take_option(&mut args, "since")?;
        args.reject_next()?;
        let verdict = self.policy.elect(&self.election);
        Ok(match (validate_election(&verdict), verdict.choice) {
            (Err(rejection), _) => format!("no verdict: {rejection}"),
            (Ok(()), ElectionChoice::Wait) => format!("wait ({})", verdict.reason),
            (Ok(()), ElectionChoice::Campaign) => format!("campaign ({})", verdict.reason),
        })
    }

    fn candidate(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        let mut candidate = Candidate {
            node: id(&mut args)?,
            lsn: None,
            group: 1,
            primaries_held: 0,
            last_pong_age_ms: 0,
            rtt_mean_us: 0,
            flaps_last_hour: 0,
            ..Default::default()
        };
        candidate.lsn = args.take_key("lsn").map(str::parse).transpose()?;
        take(&mut args, "group", &mut candidate.group)?;
        take(&mut args, "primaries", &mut candidate.primaries_held)?;
        take(&mut args, "age", &mut candidate.last_pong_age_ms)?;
        take(&mut args, "rtt", &mut candidate.rtt_mean_us)?;
        take(&mut args, "flaps", &mut candidate.flaps_last_hour)?;
        args.reject_next()?;
        self.promotion.candidates.push(candidate);
        Ok(String::new())
    }

    fn promote(&mut self) -> Answer {
        let verdict = self.policy.promote(&self.promotion);
        if let Err(rejection) = validate_promotion(&self.promotion, &verdict) {
            return Ok(format!("no verdict: {rejection}"));
        }
        let ranking: Vec<_> = verdict.ranking.iter().map(|node| format!("n{node}")).collect();
        let mut said = format!("{} ({})\n", ranking.join(", "), verdict.reason);
        for (node, reason) in &verdict.rejected {
            writeln!(said, "not n{node} ({reason})")?;
        }
        Ok(said)
    }
}

impl<P: Policy> Story<P> {
    fn degrade(&mut self, mut args: ArgumentConsumer<'_>) -> Answer {
        let input = &mut self.degrade;
        take(&mut args, "silent", &mut input.silent_ms)?;
        take(&mut args, "timeout", &mut input.sync_replica_timeout_ms)?;
        take(&mut args, "linked", &mut input.linked)?;
        take(&mut args, "writes", &mut input.waiting_writes)?;
        take(&mut args, "oldest", &mut input.oldest_wait_ms)?;
        take(&mut args, "copies", &mut input.copies_left)?;
        take(&mut args, "groups", &mut input.groups_left)?;
        args.reject_next()?;
        let verdict = self.policy.degrade(input);
        Ok(match (validate_degrade(&verdict), verdict.choice) {
            (Err(rejection), _) => format!("no verdict: {rejection}"),
            (Ok(()), DegradeChoice::Wait) => format!("wait ({})", verdict.reason),
            (Ok(()), DegradeChoice::Degrade) => format!("degrade ({})", verdict.reason),
        })
    }
}

impl<P: Policy> goldenscript::Runner for Story<P> {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        let args = command.consume_args();
        let mut said = match command.name.as_str() {
            "set" => self.set(args)?,
            "tick" => self.tick(args)?,
            "node" => self.node(args)?,
            "detect" => self.detect()?,
            "wait" => self.wait(args)?,
            "master" => {
                self.election.master = evidence(args, NodeRole::Aggregator)?;
                String::new()
            }
            "voter" => self.voter(args)?,
            "elect" => self.elect(args)?,
            "candidate" => self.candidate(args)?,
            "promote" => self.promote()?,
            "replica" => {
                self.degrade.replica = evidence(args, NodeRole::Leaf)?;
                String::new()
            }
            "degrade" => self.degrade(args)?,
            "clear" => {
                self.silent.clear();
                self.busy.clear();
                self.detection.nodes.clear();
                self.election.voters.clear();
                self.promotion.candidates.clear();
                String::new()
            }
            unknown => return Err(format!("unknown command '{unknown}'").into()),
        };
        if !said.is_empty() && !said.ends_with('\n') {
            said.push('\n');
        }
        Ok(said)
    }
}

fn evidence(mut args: ArgumentConsumer<'_>, role: NodeRole) -> Result<NodeEvidence, Box<dyn Error>> {
    let mut told = NodeEvidence::answering(id(&mut args)?, role);
    while let Some((key, value)) = args.next_key() {
        match key {
            "misses" => told.misses = value.parse()?,
            "refusals" => told.refusals = value.parse()?,
            "timeouts" => told.timeouts = value.parse()?,
            "lost" => told.connection_lost = value.parse()?,
            "maintenance" => told.in_maintenance = value.parse()?,
            "flaps" => told.flaps_last_hour = value.parse()?,
            "witness" => {
                let known = told.witnesses.iter().copied();
                told.witnesses = known.chain([witness(value)?]).collect();
            }
            "role" if value == "aggregator" => told.role = NodeRole::Aggregator,
            "fsync" => vitals(&mut told).fsync_ms = value.parse()?,
            "syncing" => vitals(&mut told).syncing_ms = value.parse()?,
            "loop" => vitals(&mut told).loop_delay_ms = value.parse()?,
            "backlog" => vitals(&mut told).apply_backlog = value.parse()?,
            "disk_mb" => vitals(&mut told).free_disk_bytes = value.parse::<u64>()?.saturating_mul(1 << 20),
            unknown => return Err(format!("a node has no '{unknown}'").into()),
        }
    }
    args.reject_next()?;
    Ok(told)
}

/// What it says of itself; nothing is wrong with it to begin with.
fn vitals(told: &mut NodeEvidence) -> &mut Vitals {
    told.vitals.get_or_insert(Vitals { free_disk_bytes: 1 << 40, ..Vitals::default() })
}

/// `5s`, `1.5s`, or `450ms`.
fn milliseconds(text: &str) -> Result<u64, Box<dyn Error>> {
    if let Some(ms) = text.strip_suffix("ms") {
        return Ok(ms.parse()?);
    }
    let seconds = text.strip_suffix('s').ok_or_else(|| format!("'{text}' is no time such as 5s"))?;
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
    Ok(whole.parse::<u64>()? * 1000 + format!("{part:0<3}").parse::<u64>()?)
}

fn bytes(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits: Vec<_> =
        text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>().ok_or("no hex")?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

fn health(text: &str) -> Result<Health, Box<dyn Error>> {
    [Health::Healthy, Health::Suspect, Health::Failed]
        .into_iter()
        .find(|health| health.to_string() == text)
        .ok_or_else(|| format!("'{text}' is not healthy, suspect or failed").into())
}

fn witness(text: &str) -> Result<Witness, Box<dyn Error>> {
    let parts: Vec<&str> = text.split('/').collect();
    let [observer, misses, refusals, age_ms] = parts[..] else {
        return Err(format!("'{text}' is not observer/misses/refusals/age_ms").into());
    };
    Ok(Witness {
        observer: parse_id(observer)?,
        misses: misses.parse()?,
        refusals: refusals.parse()?,
        timeouts: 0,
        age_ms: age_ms.parse()?,
    })
}

fn id(args: &mut ArgumentConsumer<'_>) -> Result<u64, Box<dyn Error>> {
    parse_id(args.next_pos().ok_or("a node is missing")?)
}

fn parse_id(text: &str) -> Result<u64, Box<dyn Error>> {
    Ok(text.strip_prefix('n').ok_or_else(|| format!("'{text}' is no node such as n2"))?.parse()?)
}

fn take<T: FromStr<Err: Error + 'static>>(
    args: &mut ArgumentConsumer<'_>,
    key: &str,
    into: &mut T,
) -> Result<(), Box<dyn Error>> {
    if let Some(value) = take_option(args, key)? {
        *into = value;
    }
    Ok(())
}

fn take_option<T: FromStr<Err: Error + 'static>>(
    args: &mut ArgumentConsumer<'_>,
    key: &str,
) -> Result<Option<T>, Box<dyn Error>> {
    Ok(args.take_key(key).map(str::parse).transpose()?)
}
