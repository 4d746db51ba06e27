//! Runs the stories in `tests/scripts`: a partition's instances, in the order in which things happen to them.
//!
//! Printed is every effect of every instance, and what the master aggregator, n1, answers. After each command all
//! rules of the safety kernel are checked.

mod world;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use baton_model::{Durability, Epoch, Lsn, NodeId, ReplicationMode, StatementId, TableId};
use baton_replication::{Event, Message, Mutation, Write};
use goldenscript::{Command, Context, Runner};

use self::world::{Hold, Move, PARTITION, World};

test_each_file::test_each_path! { in "crates/replication/tests/scripts" as scripts => tell }

fn tell(path: &Path) {
    goldenscript::run(&mut Story { world: new_world(2, ReplicationMode::Sync, Durability::Sync) }, path)
        .expect("the script is readable");
}

struct Story {
    world: World,
}

fn new_world(leaves: u64, replication: ReplicationMode, durability: Durability) -> World {
    let mut world = World::new(leaves, replication, durability);
    world.tells_effects = true;
    world
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let world = &mut self.world;
        match command.name.as_str() {
            // cluster [up] leaves=2 [replication=async] [durability=async] : leaves n2 and up; n2 is primary.
            // If it is up, what happens until it serves is not told.
            "cluster" => {
                let leaves = args.take_key("leaves").map_or(Ok(2), str::parse)?;
                let replication = match args.take_key("replication") {
                    Some("async") => ReplicationMode::Async,
                    _ => ReplicationMode::Sync,
                };
                let durability = match args.take_key("durability") {
                    Some("async") => Durability::Async,
                    _ => Durability::Sync,
                };
                *world = new_world(leaves, replication, durability);
                if args.next_pos() == Some("up") {
                    rest(world);
                    world.pass(Duration::from_millis(100));
                    rest(world);
                    world.story.clear();
                }
            }
            // run [2s] : what waits happens in order; then time passes in steps of 100 ms.
            "run" => {
                let time = args.next_pos().map_or(Ok(Duration::ZERO), duration)?;
                let end = world.now + time;
                rest(world);
                while world.now < end {
                    world.pass(Duration::from_millis(100));
                    rest(world);
                }
            }
            // tick n2 [600ms] : time passes, and only one leaf is told, once.
            "tick" => {
                let id = node(args.next_pos())?;
                world.now = world.now + args.next_pos().map_or(Ok(Duration::ZERO), duration)?;
                world.step(id, vec![Event::Tick]);
            }
            // stall n2 6s : its process does not run for so long, and then sees what came in meanwhile and the time.
            // Everything else goes on.
            "stall" => {
                let id = node(args.next_pos())?;
                let time = args.next_pos().map_or(Ok(Duration::ZERO), duration)?;
                let others: Vec<NodeId> = world.leaves.keys().copied().filter(|other| *other != id).collect();
                world.pass_for(&others, time);
                world.step(id, vec![Event::Tick]);
            }
            // expect halt : an instance is about to see what must never be. expect loss : machines lose power.
            "expect" => match args.next_pos() {
                Some("halt") => world.expects_halts = true,
                Some("loss") => world.checks.loses_power = true,
                other => return Err(format!("expect what? {other:?}").into()),
            },
            // tell n3 primary=n3 epoch=2 : a catalog that nobody could commit reaches a leaf.
            "tell" => {
                let id = node(args.next_pos())?;
                let mut view = world.view(id).ok_or("no partition")?;
                view.primary = node(args.take_key("primary"))?;
                view.replicas.remove(&view.primary);
                view.epoch = Epoch(args.take_key("epoch").ok_or("which epoch?")?.parse()?);
                world.step(id, vec![Event::View(view)]);
            }
            // hold disk n2 | hold catalog n2 | hold wire n2 n3 | hold master; `free` lets it go.
            "hold" | "free" => {
                let hold = match args.next_pos() {
                    Some("disk") => Hold::Disk(node(args.next_pos())?),
                    Some("catalog") => Hold::Catalog(node(args.next_pos())?),
                    Some("wire") => Hold::Wire(node(args.next_pos())?, node(args.next_pos())?),
                    Some("master") => Hold::Master,
                    other => return Err(format!("hold what? {other:?}").into()),
                };
                if command.name == "hold" {
                    world.held.insert(hold)
                } else {
                    world.held.remove(&hold)
                };
            }
            // deliver n2 n3 [2] : so many messages from n2 reach n3, each in a step of its own.
            "deliver" => {
                let (from, to) = (node(args.next_pos())?, node(args.next_pos())?);
                let count = args.next_pos().map_or(Ok(1), str::parse)?;
                let link = *world.links_between(from, to).last().ok_or("no link")?;
                for _ in 0..count {
                    world.play(Move::Deliver(link, to), 1);
                }
            }
            // write n2 s1 [begun=2] a=1 b= : a statement that writes rows; an empty value deletes. Its rows were read
            // now, or in that epoch.
            "write" => {
                let id = node(args.next_pos())?;
                let statement = statement(args.next_pos())?;
                let begun = args.take_key("begun").map(str::parse).transpose()?.map(Epoch);
                let mut mutations = Vec::new();
                while let Some((key, value)) = args.next_key() {
                    let row = (!value.is_empty()).then(|| value.as_bytes().to_vec().into());
                    mutations.push(Mutation { table: TableId(1), key: key.as_bytes().to_vec(), row });
                }
                let affected_rows = mutations.len() as u64;
                let write = Write { statement, affected_rows, mutations };
                match begun {
                    Some(epoch) => world.write_begun_in(epoch, id, write),
                    None => world.write(id, write),
                };
            }
            "await" => {
                let id = node(args.next_pos())?;
                world.await_statement(id, statement(args.next_pos())?);
            }
            "known" => {
                let id = node(args.next_pos())?;
                let statement = statement(args.next_pos())?;
                let known = world.leaves[&id].instance.as_ref().map(|i| i.known(statement));
                world.tell(format_args!("{known:?}"));
            }
            // alter [replication=async] [durability=sync]
            "alter" => {
                let replication = match args.take_key("replication") {
                    Some("sync") => Some(ReplicationMode::Sync),
                    Some("async") => Some(ReplicationMode::Async),
                    _ => None,
                };
                let durability = match args.take_key("durability") {
                    Some("sync") => Some(Durability::Sync),
                    Some("async") => Some(Durability::Async),
                    _ => None,
                };
                drop(world.alter(replication, durability));
            }
            // snapshot n2 : its log is cut.
            "snapshot" => {
                let id = node(args.next_pos())?;
                world.step(id, vec![Event::Snapshot]);
            }
            "offline" => {
                world.note_offline(node(args.next_pos())?);
            }
            // online n2 [tail=kept] : what its last run did not sync may be gone, unless it hides that.
            "online" => {
                let id = node(args.next_pos())?;
                if args.take_key("tail") == Some("kept") {
                    world.hide_lost_tail(id);
                }
                world.note_online(id);
            }
            "promote" => drop(world.promote(node(args.next_pos())?)),
            // again n3 : the replica is dropped, and added again at once.
            "again" => world.drop_and_add(node(args.next_pos())?),
            // jump n3 : its leaf sees the newest catalog, and none of those before it.
            "jump" => world.jump(node(args.next_pos())?),
            "degrade" => drop(world.degrade(node(args.next_pos())?)),
            // drain n2 to=n3 [patience=1s] : the primary is asked to stop taking writes, for n3's sake.
            "drain" => {
                let id = node(args.next_pos())?;
                let to = node(args.take_key("to"))?;
                let patience = args.take_key("patience").map_or(Ok(Duration::from_secs(1)), duration)?;
                world.drain(id, to, patience);
            }
            // hand-over n3 : the catalog says so.
            "hand-over" => drop(world.hand_over(node(args.next_pos())?)),
            // crash n2 [lost=3] : the last so many writes that were not synced are gone.
            "crash" => {
                let lost = args.take_key("lost").map_or(Ok(0), str::parse)?;
                world.crash(node(args.next_pos())?, lost);
            }
            "start" => world.restart(node(args.next_pos())?),
            "lose-disk" => world.lose_disk(node(args.next_pos())?),
            // break n2 n3 : the network loses the links between two leaves.
            "break" => {
                let (a, b) = (node(args.next_pos())?, node(args.next_pos())?);
                for link in world.links_between(a, b) {
                    world.break_link(link);
                }
            }
            // requests [lose] : what is on its way to the master aggregator.
            "requests" => {
                if args.next_pos() == Some("lose") {
                    world.requests.clear();
                }
                let count = world.requests.len();
                world.tell(format_args!("{count} requests are on their way"));
            }
            // forge n3 from=n2 epoch=1 : a message of that epoch comes out of the link, whoever sent it.
            "forge" => {
                let to = node(args.next_pos())?;
                let peer = node(args.take_key("from"))?;
                let epoch = Epoch(args.take_key("epoch").ok_or("which epoch?")?.parse()?);
                let link = *world.links_between(peer, to).last().ok_or("no link")?;
                let message = Message::Append { epoch, after: Lsn(0), records: vec![], commit: Lsn(0) };
                world.step(to, vec![Event::Received { peer, link, message }]);
            }
            // show : how the instances are and what is on their disks.
            "show" => show(world)?,
            name => return Err(format!("unknown command {name}").into()),
        }
        args.reject_next()?;
        match world.checks.violations.first() {
            Some(violation) => Err(format!("{}{violation}", world.story).into()),
            None => Ok(std::mem::take(&mut world.story)),
        }
    }
}

/// What waits happens in order, until nothing waits.
fn rest(world: &mut World) {
    for _ in 0..10_000 {
        let Some(first) = world.moves().first().copied() else { return };
        world.play(first, 1);
    }
    world.tell("there is no end to it");
}

fn show(world: &mut World) -> Result<(), Box<dyn Error>> {
    let partition = world.partition();
    let states: Vec<String> = partition.replicas.iter().map(|(id, state)| format!("{id} {state}")).collect();
    let (epoch, version, primary) = (partition.epoch, partition.version, partition.primary);
    let unsynced = if partition.unsynced { " unsynced" } else { "" };
    let mut text =
        format!("{PARTITION} {epoch} v{version} primary={primary} [{}]{unsynced}\n", states.join(", "));
    for (id, leaf) in &world.leaves {
        let Some(instance) = &leaf.instance else {
            writeln!(text, "{id} down")?;
            continue;
        };
        let (last, commit, applied) = instance.positions();
        let serves = if instance.serves() { ", serves" } else { "" };
        let role = instance.role_name();
        writeln!(
            text,
            "{id} {role} {} last={last} commit={commit} applied={applied}{serves}",
            instance.epoch()
        )?;
        let rows = leaf.disk.now.rows.iter();
        let rows = rows.map(|((_, key), row)| format!("{}={}", utf8(key), utf8(row))).collect::<Vec<_>>();
        writeln!(text, "   log [{}] rows {}", leaf.disk.now.history, rows.join(" "))?;
    }
    world.story.push_str(&text);
    Ok(())
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn node(name: Option<&str>) -> Result<NodeId, Box<dyn Error>> {
    Ok(NodeId(name.and_then(|name| name.strip_prefix('n')).ok_or("which node?")?.parse()?))
}

fn statement(name: Option<&str>) -> Result<StatementId, Box<dyn Error>> {
    Ok(StatementId(name.and_then(|name| name.strip_prefix('s')).ok_or("which statement?")?.parse()?))
}

fn duration(text: &str) -> Result<Duration, Box<dyn Error>> {
    match text.strip_suffix("ms") {
        Some(millis) => Ok(Duration::from_millis(millis.parse()?)),
        None => Ok(Duration::from_secs_f64(text.trim_end_matches('s').parse()?)),
    }
}
