//! Where a scenario is played: the world, and who is who in it.

use std::collections::{BTreeMap, BTreeSet};

use baton_failover::pair_of;
use baton_model::NodeId;

use super::measure::{LOOK, Measured, Part, Watch};
use super::scenario::{Act, Deed, Scenario, Who};
use crate::kernel::{MS, Rng, S, Time};
use crate::policies::Shelf;
use crate::run::{REST, come_to_rest, live};
use crate::setup::Setup;
use crate::story::Story;
use crate::world::{End, World};

/// How long clients have worked before anything happens.
const WARM_UP: Time = 5 * S;
/// The cluster serves after so long at the latest.
const SERVES_MAX: Time = 120 * S;

/// A world in which a scenario is played.
pub(super) struct Stage {
    world: World,
    rng: Rng,
    cast: BTreeMap<Who, Vec<usize>>,
}

impl Stage {
    pub(super) fn new(setup: Setup, shelf: Shelf) -> Self {
        let rng = Rng::new(setup.seed, "lab");
        Self { world: World::new(setup, shelf, Story::default()), rng, cast: BTreeMap::new() }
    }

    /// Plays it from the begin to the end, and to rest.
    pub(super) fn play(mut self, scenario: &Scenario) -> Measured {
        if let Err(why) = self.warm_up() {
            return Measured { restless: Some(why), broken: self.broken(), ..Measured::default() };
        }
        self.choose();
        let nodes = |who: &[Who]| -> BTreeSet<NodeId> {
            let at = who.iter().flat_map(|who| self.cast.get(who).cloned().unwrap_or_default());
            at.map(|at| self.world.nodes[at].id).collect()
        };
        let mut watch = Watch::begin(&self.world, nodes(&scenario.fails), nodes(&scenario.may_fail));
        let began = self.world.now;
        let mut acts = scenario.acts.iter();
        let mut next = acts.next();
        loop {
            while let Some(act) = next.filter(|act| began + act.at <= self.world.now) {
                self.act(*act, &mut watch);
                next = acts.next();
            }
            if self.world.now >= began + scenario.until {
                break;
            }
            let to = next.map_or(Time::MAX, |act| began + act.at).min(self.world.now + LOOK);
            if !live(&mut self.world, to.min(began + scenario.until)) {
                break;
            }
            watch.look(&self.world);
        }
        self.end(watch)
    }

    fn warm_up(&mut self) -> Result<(), String> {
        while self.world.now < SERVES_MAX {
            let to = self.world.now + S / 4;
            if !live(&mut self.world, to) {
                break;
            }
            let served = self.world.workload.written_at.len() == self.world.catalog().partitions().count();
            if self.world.now >= WARM_UP && served && self.world.acting_leaders().len() == 1 {
                return Ok(());
            }
        }
        Err("the cluster did not begin to serve".to_owned())
    }

    /// Says who is who.
    fn choose(&mut self) {
        let catalog = self.world.catalog();
        let leaves: Vec<usize> = self.world.leaves().collect();
        let leaf = self.rng.pick(&leaves);
        let pair = pair_of(catalog, self.world.nodes[leaf].id).map_or(leaf, World::position);
        let rest: Vec<usize> = leaves.into_iter().filter(|at| ![leaf, pair].contains(at)).collect();
        let other = self.rng.pick(&rest);
        let master = self.world.acting_leaders().first().map_or(0, |id| World::position(*id));
        let mut voters: Vec<usize> = self.world.aggregators().filter(|at| *at != master).collect();
        if self.rng.coin() {
            voters.reverse();
        }
        self.cast = BTreeMap::from([
            (Who::Leaf, vec![leaf]),
            (Who::Pair, vec![pair]),
            (Who::Other, vec![other]),
            (Who::Master, vec![master]),
            (Who::Aggregator, voters.iter().take(1).copied().collect()),
            (Who::Third, voters.iter().skip(1).take(1).copied().collect()),
            (Who::Half, vec![master, leaf, other]),
        ]);
    }

    fn act(&mut self, act: Act, watch: &mut Watch) {
        let them = self.cast.get(&act.who).cloned().unwrap_or_default();
        for at in &them {
            let id = self.world.nodes[*at].id;
            match act.deed {
                Deed::Kill | Deed::Power | Deed::Fill | Deed::Pause => {
                    watch.hurts(&self.world, id, Part::Process)
                }
                Deed::Start | Deed::Resume => watch.heals(id, Part::Process),
                Deed::Isolate | Deed::Mute | Deed::Deafen => watch.hurts(&self.world, id, Part::Ways),
                Deed::Heal | Deed::Slow(0) | Deed::Load(0) => watch.heals(id, Part::Ways),
                Deed::Slow(_) | Deed::Load(_) => watch.hurts(&self.world, id, Part::Ways),
                Deed::Stall(0) => watch.heals(id, Part::Disk),
                Deed::Stall(_) => watch.hurts(&self.world, id, Part::Disk),
                Deed::Jump(_) => {}
            }
        }
        let named: Vec<String> = them.iter().map(|at| self.world.nodes[*at].id.to_string()).collect();
        watch.tell(&self.world, format!("{} {}", told(act.deed), named.join(", ")));
        for at in &them {
            self.befall(*at, act.deed, &them);
        }
    }

    fn befall(&mut self, at: usize, deed: Deed, them: &[usize]) {
        let others: Vec<usize> = (0..self.world.nodes.len()).filter(|other| !them.contains(other)).collect();
        let world = &mut self.world;
        match deed {
            Deed::Kill => world.end(at, End::Killed, false),
            Deed::Power => world.end(at, End::PowerCut, true),
            Deed::Fill => world.nodes[at].disk_weather.fails = true,
            Deed::Start => world.start(at),
            Deed::Pause => world.pause(at),
            Deed::Resume => world.resume(at, false),
            Deed::Isolate | Deed::Mute | Deed::Deafen => {
                for other in others {
                    if deed != Deed::Deafen {
                        world.cut(at, other);
                    }
                    if deed != Deed::Mute {
                        world.cut(other, at);
                    }
                }
            }
            Deed::Heal => {
                for other in others {
                    world.heal(at, other);
                    world.heal(other, at);
                    world.net.slow_down(at, other, 0);
                }
            }
            Deed::Slow(by) => others.into_iter().for_each(|other| world.net.slow_down(at, other, by)),
            Deed::Stall(by) => world.nodes[at].disk_weather.slower = by,
            Deed::Load(by) => {
                world.nodes[at].loop_delay = by;
                others.into_iter().for_each(|other| world.net.slow_down(at, other, by));
            }
            Deed::Jump(by) => world.jump_clock(at, by),
        }
    }

    /// Makes everything good, and waits until the cluster has come to rest.
    fn end(mut self, watch: Watch) -> Measured {
        let mut measured = watch.end(&self.world);
        let count = self.world.nodes.len();
        let ways = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        for (from, to) in ways.filter(|(from, to)| from != to) {
            self.world.heal(from, to);
            self.world.net.slow_down(from, to, 0);
        }
        for at in 0..count {
            self.world.nodes[at].loop_delay = 0;
            self.world.resume(at, false);
        }
        self.world.heal_all();
        if self.world.checks.violations.is_empty() {
            come_to_rest(&mut self.world);
        }
        let rest = self.world.checks.violations.iter().find(|one| one.invariant == REST);
        measured.restless = rest.map(|one| one.what.clone());
        measured.broken = self.broken();
        measured
    }

    /// Rules that were broken. That a cluster does not come to rest is no rule: a policy may hold somebody back.
    fn broken(&self) -> Vec<String> {
        let rules = self.world.checks.violations.iter().filter(|one| one.invariant != REST);
        rules.map(|one| format!("{}: {}", one.invariant, one.what)).collect()
    }
}

fn told(deed: Deed) -> String {
    let ms = |by: Time| by / MS;
    match deed {
        Deed::Kill => "kill".to_owned(),
        Deed::Power => "cut the power of".to_owned(),
        Deed::Fill => "fill the disk of".to_owned(),
        Deed::Start => "start".to_owned(),
        Deed::Pause => "stop".to_owned(),
        Deed::Resume => "let go on".to_owned(),
        Deed::Isolate => "isolate".to_owned(),
        Deed::Mute => "mute".to_owned(),
        Deed::Deafen => "deafen".to_owned(),
        Deed::Heal => "heal the ways of".to_owned(),
        Deed::Slow(by) => format!("slow down by {} ms", ms(by)),
        Deed::Stall(by) => format!("stall the disk by {} ms of", ms(by)),
        Deed::Load(by) => format!("load by {} ms", ms(by)),
        Deed::Jump(by) => format!("advance the clock by {} ms of", ms(by)),
    }
}
