//! Runs the stories in `tests/scripts`: what the master aggregator sees, what it calls it, and what it does about it.
//!
//! Every plan is also carried out in part, as far as each of its commands, and finished by another master aggregator.

mod world;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use baton_catalog::{Command, Reply};
use baton_failover::{Answer, Ask, LagReport, against_lag};
use baton_model::{Durability, Epoch, Incarnation, NodeId, ReplicationMode, StoreId, SyncState};
use baton_policy::{Classic, DegradeInput, DegradeVerdict, Health, Policy};
use goldenscript::{ArgumentConsumer, Context, Runner};

use self::world::{Answers, World};

test_each_file::test_each_path! { in "crates/failover/tests/scripts" as scripts => tell }

fn tell(path: &Path) {
    goldenscript::run(&mut Story { world: World::new(1, 1, 2) }, path).expect("the script is readable");
}

struct Story {
    world: World,
}

impl Runner for Story {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &Self::Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let world = &mut self.world;
        let mut text = String::new();
        match command.name.as_str() {
            // cluster 2 2 [redundancy=2] : so many leaves in each group, n2 and up, all well.
            "cluster" => {
                let mut count = || args.next_pos().map_or(Ok(0), str::parse);
                let (first, second) = (count()?, count()?);
                *world = World::new(first, second, args.take_key("redundancy").map_or(Ok(2), str::parse)?);
            }
            // create 4 [async] [durability=async] : a database of so many partitions.
            "create" => {
                let partitions = args.next_pos().map_or(Ok(1), str::parse)?;
                let mode = match args.next_pos() {
                    Some("async") => ReplicationMode::Async,
                    _ => ReplicationMode::Sync,
                };
                if args.take_key("durability") == Some("async") {
                    world.durability = Durability::Async;
                }
                world.create(partitions, mode);
                text = show(world);
            }
            "leaf" => world.add_leaf(args.take_key("group").map_or(Ok(1), str::parse)?),
            "set" => {
                let name = args.next_pos().ok_or("which variable?")?;
                world.set(name, args.next_pos().ok_or("to what?")?);
            }
            // after 3s : time passes, and nobody answers meanwhile.
            "after" => {
                let seconds = args.next_pos().ok_or("how long?")?.trim_end_matches('s').parse()?;
                world.pass(Duration::from_secs_f64(seconds));
            }
            // pong n2 … : these answer now. failed n2 … | suspect n2 … : this is the verdict on them now.
            "pong" | "failed" | "suspect" => {
                while let Some(id) = node(&mut args)? {
                    match command.name.as_str() {
                        "pong" => world.answers(id),
                        "failed" => world.judge(id, Health::Failed, "20 misses, 3 refusals"),
                        _ => world.judge(id, Health::Suspect, "10 misses, 2 refusals"),
                    }
                }
            }
            // restart n2 run=2 [disk=2] [tail=lost] : another process is there, perhaps without what the one before had
            // not synced; it has not answered yet.
            "restart" => {
                let run = Incarnation(args.take_key("run").ok_or("which run?")?.parse()?);
                let disk = StoreId(args.take_key("disk").map_or(Ok(1), str::parse)?);
                let id = node(&mut args)?.ok_or("which node?")?;
                if args.take_key("tail") == Some("lost") {
                    world.lost_tails.insert(id);
                } else {
                    world.lost_tails.remove(&id);
                }
                world.runs.insert(id, (run, disk));
            }
            // recall n2 run=1 [disk=1] [heard=now] : this observer has heard nothing of the node since that run answered it,
            // before it looked, and does not miss it yet.
            "recall" => {
                let run = Incarnation(args.take_key("run").ok_or("which run?")?.parse()?);
                let disk = StoreId(args.take_key("disk").map_or(Ok(1), str::parse)?);
                let id = node(&mut args)?.ok_or("which node?")?;
                world.recalls(id, (run, disk), args.take_key("heard") == Some("now"));
            }
            // state 0 n4 async : as the primary of the partition asked for.
            "state" => {
                let place = args.next_pos().map_or(Ok(0), str::parse)?;
                let partition = world.catalog.partitions().nth(place).ok_or("no such partition")?;
                let (partition, epoch, version) = (partition.id, partition.epoch, partition.version);
                let replica = node(&mut args)?.ok_or("which node?")?;
                let state = match args.next_pos() {
                    Some("async") => SyncState::Async,
                    Some("ready") => SyncState::Ready,
                    _ => SyncState::Sync,
                };
                let reason = "asked".into();
                let command = Command::SetSyncState { partition, epoch, version, replica, state, reason };
                world.apply(&command)?;
            }
            // lag 0 n3 5s [writes=2] [oldest=4s] [epoch=1] [version=1] [unlinked=true] : the primary of that partition
            // reports its replica, now or at another time; what is done about it is done.
            "lag" => {
                let place = args.next_pos().map_or(Ok(0), str::parse)?;
                let partition = world.catalog.partitions().nth(place).ok_or("no such partition")?;
                let millis = |text: &str| -> Result<u64, Box<dyn Error>> {
                    Ok((text.trim_end_matches('s').parse::<f64>()? * 1_000.0) as u64)
                };
                let (partition, epoch, version) = (partition.id, partition.epoch, partition.version);
                let report = LagReport {
                    partition,
                    epoch: args.take_key("epoch").map(str::parse).transpose()?.map_or(epoch, Epoch),
                    version: args.take_key("version").map_or(Ok(version), str::parse)?,
                    replica: node(&mut args)?.ok_or("which node?")?,
                    silent_ms: millis(args.next_pos().ok_or("for how long?")?)?,
                    linked: args.take_key("unlinked").is_none(),
                    waiting_writes: args.take_key("writes").map_or(Ok(0), str::parse)?,
                    oldest_wait_ms: args.take_key("oldest").map_or(Ok(0), millis)?,
                };
                for command in against_lag(
                    &[report],
                    &world.catalog,
                    world.sight.now,
                    0,
                    &BTreeMap::new(),
                    &mut Tell(&mut text),
                ) {
                    let outcome = world.apply(&command);
                    writeln!(text, "{command:?}: {}", if outcome.is_ok() { "done" } else { "refused" })?;
                }
                if text.is_empty() {
                    text.push_str("nobody is asked\n");
                }
            }
            // lease n2 0.4s : this leaf may still show what it reads for so long.
            "lease" => {
                let id = node(&mut args)?.ok_or("which node?")?;
                let seconds = args.next_pos().ok_or("how long?")?.trim_end_matches('s').parse()?;
                world.sight.reads_until.insert(id, world.sight.now + Duration::from_secs_f64(seconds));
            }
            "policy" => {
                world.answers = match args.next_pos() {
                    Some("not-offered") => Answers::NotOffered,
                    Some("nobody") => Answers::Nobody,
                    Some("twice") => Answers::Twice,
                    _ => Answers::Well,
                };
            }
            "next-master" => world.next_master(),
            // act : what is wrong, what is planned, and what the catalog refused of it.
            "act" => {
                world.check_every_prefix()?;
                for problem in world.problems() {
                    writeln!(text, "{problem}")?;
                }
                let plan = world.plan();
                write!(text, "{plan}")?;
                if let Ok(Reply::Batch(outcomes)) = world.apply(&Command::Batch(plan.commands)) {
                    for (number, outcome) in outcomes.iter().enumerate() {
                        if let Err(rejection) = outcome {
                            writeln!(text, "{:>3} is refused: {rejection}", number + 1)?;
                        }
                    }
                }
                if text.is_empty() {
                    text.push_str("nothing to do\n");
                }
            }
            "show" => text = show(world),
            name => return Err(format!("unknown command {name}").into()),
        }
        args.reject_next()?;
        Ok(text)
    }
}

/// Answers as classic, and tells what it was asked.
struct Tell<'a>(&'a mut String);

impl Ask<DegradeInput> for Tell<'_> {
    fn ask(&mut self, input: DegradeInput) -> Answer<DegradeVerdict> {
        let verdict = Classic.degrade(&input);
        let DegradeInput { partition, primary, silent_ms, waiting_writes, oldest_wait_ms, .. } = &input;
        let _ = writeln!(
            self.0,
            "asked: {}_{partition} n{primary} waits for n{}, {silent_ms} ms, {waiting_writes} writes for {oldest_wait_ms} ms, \
             left {} copies in {} groups: {:?}",
            input.database, input.replica.node, input.copies_left, input.groups_left, verdict.choice
        );
        Answer { verdict, policy: "classic".into() }
    }
}

fn show(world: &World) -> String {
    let mut text = String::new();
    for node in world.catalog.leaves() {
        let held = world.catalog.partitions().filter(|p| p.primary == node.id).count();
        let group = node.availability_group.unwrap_or_default();
        let _ = writeln!(
            text,
            "{} group {group} {} as {}, {held} primaries",
            node.id, node.state, node.incarnation
        );
    }
    for partition in world.catalog.partitions() {
        let replicas: Vec<String> =
            partition.replicas.iter().map(|(id, state)| format!("{id} {state}")).collect();
        let serves = match world.catalog.serving(partition.id) {
            Some(node) => format!("served by {}", node.id),
            None => "not served".into(),
        };
        let (id, epoch, primary) = (partition.id, partition.epoch, partition.primary);
        let _ = writeln!(text, "{id} {epoch} {primary} [{}] {serves}", replicas.join(", "));
    }
    text
}

fn node(args: &mut ArgumentConsumer) -> Result<Option<NodeId>, Box<dyn Error>> {
    let Some(name) = args.next_pos() else { return Ok(None) };
    Ok(Some(NodeId(name.strip_prefix('n').ok_or("a node is n and a number")?.parse()?)))
}
