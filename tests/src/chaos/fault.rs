//! What can be done to a cluster, by name: what breaks it, and what an operator may do meanwhile.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fault {
    /// `kill -9` of a leaf, which is started again.
    KillLeaf,
    /// `kill -9` of the master aggregator, which is started again.
    KillMaster,
    /// `kill -9` of the master aggregator and a leaf at once.
    KillMasterAndLeaf,
    /// SIGSTOP of a leaf that has primaries, which wakes up as one that believes it still has them.
    SleepLeaf,
    /// SIGSTOP of the master aggregator, which wakes up deposed.
    SleepMaster,
    /// Half of the nodes of each kind hear nothing of the other half.
    SplitEven,
    /// A leaf with primaries hears nothing of all others, but of clients.
    SplitMinorityPrimary,
    /// The master aggregator hears nothing of all others, but of clients.
    SplitMinorityMaster,
    /// What a leaf with primaries says reaches nobody; it hears everybody.
    SplitMute,
    /// A leaf with primaries hears nobody; everybody hears it.
    SplitDeaf,
    /// The master aggregator and a leaf hear nothing of each other.
    SplitMasterLeaf,
    /// A primary's leaf and its pair hear nothing of each other.
    SplitPrimaryReplica,
    /// Every process is killed at once, and all are started again.
    PowerCut,
    /// The disk of a leaf is full, until somebody makes room and starts it again.
    FullDisk,
    /// A leaf loses its disk, and is killed again while it gets everything anew.
    KillWhileProvisioned,
    /// An operator hands a partition over to its replica.
    HandOver,
    /// An operator detaches a leaf, and attaches it again.
    DetachLeaf,
}

/// Every fault with its name and what is said of it.
const NAMES: [(Fault, &str, &str); 17] = [
    (Fault::KillLeaf, "kill-leaf", "kill -9 of a leaf"),
    (Fault::KillMaster, "kill-master", "kill -9 of the master aggregator"),
    (Fault::KillMasterAndLeaf, "kill-master-and-leaf", "kill -9 of the master aggregator and a leaf"),
    (Fault::SleepLeaf, "sleep-leaf", "SIGSTOP of a leaf with primaries"),
    (Fault::SleepMaster, "sleep-master", "SIGSTOP of the master aggregator"),
    (Fault::SplitEven, "split-even", "netsplit in two halves"),
    (Fault::SplitMinorityPrimary, "split-minority-primary", "netsplit around a leaf with primaries"),
    (Fault::SplitMinorityMaster, "split-minority-master", "netsplit around the master aggregator"),
    (Fault::SplitMute, "split-mute", "one-way netsplit: nothing comes from a leaf with primaries"),
    (Fault::SplitDeaf, "split-deaf", "one-way netsplit: nothing reaches a leaf with primaries"),
    (Fault::SplitMasterLeaf, "split-master-leaf", "netsplit between the master aggregator and a leaf"),
    (Fault::SplitPrimaryReplica, "split-primary-replica", "netsplit between a primary and its replica"),
    (Fault::PowerCut, "power-cut", "power cut: kill -9 of every node at once"),
    (Fault::FullDisk, "full-disk", "full disk of a leaf"),
    (
        Fault::KillWhileProvisioned,
        "kill-while-provisioned",
        "a leaf without its disk, killed while it is copied to",
    ),
    (Fault::HandOver, "hand-over", "PROMOTE PARTITION to a replica"),
    (Fault::DetachLeaf, "detach-leaf", "DETACH LEAF of a leaf with primaries"),
];

impl Fault {
    /// Every fault.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(fault, _, _)| *fault)
    }

    /// What is said of it.
    #[must_use]
    pub fn description(self) -> &'static str {
        NAMES.iter().find(|(fault, _, _)| *fault == self).map_or("", |(_, _, description)| description)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(fault, _, _)| fault == self).map_or("", |(_, name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name, _)| *name == text).map(|(fault, _, _)| *fault);
        found.with_context(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name, _)| *name).collect();
            format!("there is no fault `{text}`; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for fault in Fault::all() {
            assert_eq!(fault.to_string().parse::<Fault>().expect("it is one"), fault);
            assert!(!fault.description().is_empty());
        }
        let names: std::collections::BTreeSet<String> = Fault::all().map(|fault| fault.to_string()).collect();
        assert_eq!(names.len(), Fault::all().count());
        assert!("split-personality".parse::<Fault>().is_err());
    }
}
