//! A fault that waits for its moment: the next commit over several partitions loses somebody who has a part in it, or the
//! next write its leaf. Left to chance, faults seldom hit the few milliseconds in which something is on its way.

use std::collections::BTreeMap;

use baton_model::PartitionId;
use baton_replication::transaction::Place;

use super::{Cure, Fault};
use crate::kernel::MS;
use crate::world::{End, World};

/// A moment of a commit, at its coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// The participants are asked to prepare.
    Prepares,
    /// Home is asked to decide.
    Decides,
    /// Home has decided.
    Decided,
    /// A leaf takes a write that is its own transaction: nobody else has a part in it.
    Writes,
}

/// How somebody is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    Kill,
    PowerCut,
    Stop,
    /// Nobody hears it, and it hears nobody.
    Isolate,
    /// It is killed, and back at once.
    Restart,
}

/// Who is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Coordinator,
    Home,
    Other,
    CoordinatorAndHome,
    CoordinatorAndOther,
}

/// What waits for its moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambush {
    moment: Moment,
    victim: Victim,
    how: Loss,
    /// The leaf of the last commit's last participant.
    other: Option<usize>,
}

impl World {
    pub(super) fn lie_in_wait(&mut self) {
        let rng = &mut self.nemesis.rng;
        if rng.per_mille(400) {
            let (moment, victim, how) = (Moment::Writes, Victim::Home, Loss::Restart);
            self.nemesis.ambush = Some(Ambush { moment, victim, how, other: None });
            self.tell(|| "fault AmbushCommit: of a write".to_owned());
            return;
        }
        let ambush = Ambush {
            moment: rng.pick(&[Moment::Prepares, Moment::Decides, Moment::Decides, Moment::Decided]),
            victim: rng.pick(&[
                Victim::Coordinator,
                Victim::Home,
                Victim::Other,
                Victim::CoordinatorAndHome,
                Victim::CoordinatorAndOther,
            ]),
            how: rng.pick(&[Loss::Kill, Loss::Kill, Loss::PowerCut, Loss::Stop, Loss::Isolate]),
            other: None,
        };
        self.tell(|| format!("fault AmbushCommit: {ambush:?}"));
        self.nemesis.ambush = Some(ambush);
    }

    /// A commit has come to a moment: of these partitions, the first is home.
    pub(crate) fn moment(&mut self, me: usize, moment: Moment, places: &BTreeMap<PartitionId, Place>) {
        if self.nemesis.ambush.is_none() || !self.nemesis.active {
            return;
        }
        let catalog = self.catalog().clone();
        let leaf =
            |of: Option<&PartitionId>| of.and_then(|of| catalog.serving(*of)).map(|n| Self::position(n.id));
        let home = leaf(places.keys().next());
        if moment == Moment::Prepares {
            if places.len() < 2 {
                return;
            }
            let other = leaf(places.keys().next_back());
            if let Some(ambush) = &mut self.nemesis.ambush {
                ambush.other = other;
            }
        }
        let Some(ambush) = self.nemesis.ambush.filter(|ambush| ambush.moment == moment) else { return };
        let Some(other) = ambush.other else { return };
        self.nemesis.ambush = None;
        let home = home.unwrap_or(other);
        let victims = match ambush.victim {
            Victim::Coordinator => vec![me],
            Victim::Home => vec![home],
            Victim::Other => vec![other],
            Victim::CoordinatorAndHome => vec![me, home],
            Victim::CoordinatorAndOther => vec![me, other],
        };
        for victim in victims {
            let after = self.nemesis.rng.pick(&[1, 1, MS, 4 * MS]);
            let after = 1 + self.nemesis.rng.below(2 * after);
            self.cure_after(after, Cure::Lose(victim, ambush.how));
        }
    }

    /// A leaf has taken a write, and nothing of it is on its disk yet.
    pub(crate) fn write_is_taken(&mut self, leaf: usize) {
        if !self.nemesis.active {
            return;
        }
        if let Some(ambush) = self.nemesis.ambush.take_if(|ambush| ambush.moment == Moment::Writes) {
            let (least, more) = self.setup.sync;
            let after = 1 + self.nemesis.rng.below(4 * (least + more));
            self.cure_after(after, Cure::Lose(leaf, ambush.how));
        }
    }

    pub(super) fn lose(&mut self, node: usize, how: Loss) {
        match how {
            Loss::Kill => self.kill(node, false),
            Loss::PowerCut => self.kill(node, true),
            Loss::Restart => {
                if self.nodes[node].up {
                    self.end(node, End::Killed, false);
                    let after = self.nemesis.rng.between(MS, 200 * MS);
                    self.cure_after(after, Cure::Start(node));
                }
            }
            Loss::Stop => {
                if self.nodes[node].up && self.nodes[node].paused_since.is_none() {
                    self.pause(node);
                    self.cure_later(Cure::Resume(node, false));
                }
            }
            Loss::Isolate => {
                let others = (0..self.nodes.len()).filter(|other| *other != node);
                let ways = others.flat_map(|other| [(node, other), (other, node)]).collect();
                self.cut_ways(Fault::AmbushCommit, ways);
            }
        }
    }
}
