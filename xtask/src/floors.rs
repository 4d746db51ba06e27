//! The rules of the house, proved from `cargo metadata`: arrows point down, and each library has its room.
//!
//! * Crates in `crates/` stand on a floor: 0 cores, 1 shells that own one kind of IO, 2 what wires them, 3 the binary.
//! * A crate depends on lower floors only; the few edges within a floor are listed below, each with its reason.
//! * A core, and a policy, reaches no IO, clock, thread or randomness, however deep; nor does the simulator.
//! * Each heavy library is used in one room, so that it can be replaced there.
//!
//! The other members (`policies/`, `tests/`, `benches/`, `xtask/`) stand outside: nothing in the house is built on
//! them. The tables are the whole of what is allowed; a rule is changed here, with `docs/ARCHITECTURE.md`.

use crate::house::{Edge, House, Kind, Room};

/// Every crate may use its words.
const GROUND: &str = "baton-model";

/// Allowed edges between two crates of one floor: from, to, why.
const EDGES_WITHIN_A_FLOOR: &[(&str, &str, &str)] = &[
    ("baton-failover", "baton-catalog", "a plan is made from the catalog and is a list of its commands"),
    ("baton-failover", "baton-policy", "a plan asks a policy whom to promote"),
    ("baton-policy-view", "baton-policy", "a view is a question and its verdict, on paper"),
    ("baton-replication", "baton-catalog", "an instance is told what the catalog says of it"),
    ("baton-failover", "baton-detector", "what is done rests on the evidence that the detector gathers"),
    ("baton-policy-tool", "baton-sim", "an author's policy is played in the simulator"),
    ("baton-consensus", "baton-storage", "the control group's log is kept in the one RocksDB of the node"),
];

/// What a core may not reach, however deep: package, why.
const NOT_IN_A_CORE: &[(&str, &str)] = &[
    ("datafusion", "a core compiles in seconds"),
    ("openraft", "a core is driven, it drives nothing"),
    ("rand", "randomness comes in as a value"),
    ("rocksdb", "a core has no disk"),
    ("tokio", "a core has no IO, timers or threads"),
    ("tonic", "a core has no network"),
    ("wasmtime", "a core compiles in seconds"),
];

/// Crates above the ground that are held to the same: package, why.
const AS_PURE_AS_A_CORE: &[(&str, &str)] =
    &[("baton-sim", "the same seed gives the same bytes, and it compiles in a minute")];

/// What stands outside and is used all the same: from, to, why.
const GUESTS_IN_THE_HOUSE: &[(&str, &str, &str)] = &[
    ("baton-sim", "baton-policy-swift", "the policies that are shipped are played natively"),
    ("baton-sim", "baton-policy-chaos", "a policy that misbehaves is played natively"),
];

/// What a core's tests may have although the core itself may not.
const IN_A_CORES_TESTS: &[&str] = &["rand"];

/// A library and the only members that may name it in their manifests.
struct Library {
    packages: &'static [&'static str],
    rooms: &'static [&'static str],
    /// Members whose tests may use it.
    tests_of: &'static [&'static str],
}

/// Names every library on purpose, and nothing depends on it: see its header.
const HOLDS_FEATURES: &str = "baton-libraries";

const LIBRARIES: &[Library] = &[
    Library { packages: &["rocksdb", "librocksdb-sys"], rooms: &["baton-storage"], tests_of: &[] },
    Library { packages: &["object_store"], rooms: &["baton-archive"], tests_of: &[] },
    Library { packages: &["openraft"], rooms: &["baton-consensus"], tests_of: &[] },
    Library { packages: &["wasmtime"], rooms: &["baton-policy-host"], tests_of: &[] },
    Library {
        packages: &["tonic", "tonic-prost", "tonic-prost-build", "prost"],
        rooms: &["baton-transport"],
        tests_of: &[],
    },
    Library { packages: &["ed25519-dalek"], rooms: &["baton-policy-host"], tests_of: &[] },
    Library { packages: &["datafusion"], rooms: &["baton-sql"], tests_of: &[] },
    Library {
        packages: &["mysql_async"],
        rooms: &["baton-node", "baton-admin", "baton-policy-tool", "baton-tests", "baton-benches", "xtask"],
        tests_of: &["baton-gateway"],
    },
];

/// Every breach of the rules, as one sentence each; empty when the house is in order.
pub fn breaches(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for room in &house.rooms {
        if in_house(room) {
            match room.floor {
                Some(floor @ 0..=3) => {
                    found.extend(
                        room.edges.iter().filter_map(|edge| against_floors(house, room, floor, edge)),
                    );
                }
                floor => found.push(format!(
                    "{} says floor {}: add `[package.metadata.baton] floor = 0..3` to {}/Cargo.toml",
                    room.name,
                    floor.map_or("none".to_owned(), |floor| floor.to_string()),
                    room.folder
                )),
            }
        } else if is_guest(room) {
            found.extend(room.edges.iter().filter_map(|edge| against_guests(house, room, edge)));
        }
        let pure = AS_PURE_AS_A_CORE.iter().any(|(name, _)| *name == room.name);
        if room.floor == Some(0) || is_guest(room) || pure {
            found.extend(against_purity(house, room));
        }
        if room.name != HOLDS_FEATURES {
            found.extend(room.edges.iter().filter_map(|edge| against_rooms(room, edge)));
        }
    }
    found.extend(unused_edges(house));
    found
}

fn in_house(room: &Room) -> bool {
    room.folder.starts_with("crates/")
}

fn is_guest(room: &Room) -> bool {
    room.folder.starts_with("policies/")
}

/// An edge of a crate on that floor that points up, outside, or along the floor without a reason in the table.
fn against_floors(house: &House, room: &Room, floor: u64, edge: &Edge) -> Option<String> {
    let to = house.room(&edge.to)?;
    if !in_house(to) {
        // Tests of a shell may look at a policy; what is shipped may not, and a core has no business there.
        let listed = GUESTS_IN_THE_HOUSE.iter().any(|(from, onto, _)| *from == room.name && *onto == to.name);
        let allowed = listed || edge.kind == Kind::Dev && floor > 0;
        return (!allowed)
            .then(|| format!("{} depends on {}, which is outside the house", room.name, to.name));
    }
    let below = to.floor? < floor || to.name == GROUND;
    let listed = to.floor? == floor
        && EDGES_WITHIN_A_FLOOR.iter().any(|(from, onto, _)| *from == room.name && *onto == to.name);
    (!below && !listed).then(|| {
        format!(
            "{} (floor {floor}) depends on {} (floor {}): arrows point down; an edge within a floor needs a \
             reason in EDGES_WITHIN_A_FLOOR of xtask/src/floors.rs",
            room.name,
            to.name,
            to.floor.unwrap_or_default()
        )
    })
}

/// What a core or a policy, or its tests, reach and may not.
fn against_purity(house: &House, core: &Room) -> Vec<String> {
    let mut found = Vec::new();
    let itself = house.reached_from(core, &[Kind::Normal]);
    let tests = house.reached_from(core, &[Kind::Dev]);
    for (package, why) in NOT_IN_A_CORE {
        if let Some(way) = itself.get(package) {
            found.push(format!("{} reaches {package} ({}): {why}", core.name, way.join(" → ")));
        } else if let Some(way) = tests.get(package)
            && !IN_A_CORES_TESTS.contains(package)
        {
            found.push(format!(
                "the tests of {} reach {package} ({}): a core is tested without any shell",
                core.name,
                way.join(" → ")
            ));
        }
    }
    found
}

/// A policy sees the decision points and nothing of the cluster that asks it.
fn against_guests(house: &House, guest: &Room, edge: &Edge) -> Option<String> {
    let to = house.room(&edge.to)?;
    let allowed = to.floor == Some(0) || is_guest(to);
    (!allowed).then(|| {
        format!("{} depends on {}: a policy is built on cores and the SDK only", guest.name, to.name)
    })
}

fn against_rooms(room: &Room, edge: &Edge) -> Option<String> {
    let library = LIBRARIES.iter().find(|library| library.packages.contains(&edge.to.as_str()))?;
    let allowed = library.rooms.contains(&room.name.as_str())
        || (edge.kind == Kind::Dev && library.tests_of.contains(&room.name.as_str()));
    (!allowed)
        .then(|| format!("{} names {}, which lives only in {}", room.name, edge.to, library.rooms.join(", ")))
}

/// A listed edge that nobody needs any more is a door left open.
fn unused_edges(house: &House) -> impl Iterator<Item = String> {
    EDGES_WITHIN_A_FLOOR.iter().filter_map(|(from, to, _)| {
        let (room, _) = (house.room(from)?, house.room(to)?);
        let used = room.edges.iter().any(|edge| edge.to == *to);
        (!used).then(|| {
            format!("{from} → {to} is listed in EDGES_WITHIN_A_FLOOR, but not used: remove it there")
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A package of hand-made metadata: name, folder (empty for one from a registry), floor, dependencies.
    type Package<'a> = (&'a str, &'a str, Option<u64>, &'a [(&'a str, Kind)]);

    fn kind(kind: Kind) -> Value {
        match kind {
            Kind::Normal => Value::Null,
            Kind::Build => json!("build"),
            Kind::Dev => json!("dev"),
        }
    }

    fn breaches_of(packages: &[Package]) -> Vec<String> {
        let id = |name: &str| format!("id of {name}");
        let metadata = json!({
            "workspace_root": "/checkout",
            "workspace_members":
                packages.iter().filter(|package| !package.1.is_empty()).map(|package| id(package.0)).collect::<Vec<_>>(),
            "packages": packages.iter().map(|(name, folder, floor, edges)| json!({
                "id": id(name),
                "name": name,
                "manifest_path": format!("/checkout/{folder}/Cargo.toml"),
                "metadata": floor.map(|floor| json!({"baton": {"floor": floor}})),
                "dependencies":
                    edges.iter().map(|(to, of)| json!({"name": to, "kind": kind(*of)})).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "resolve": {"nodes": packages.iter().map(|(name, _, _, edges)| json!({
                "id": id(name),
                "deps": edges.iter()
                    .map(|(to, of)| json!({"pkg": id(to), "dep_kinds": [{"kind": kind(*of), "target": null}]}))
                    .collect::<Vec<_>>(),
            })).collect::<Vec<_>>()},
        });
        breaches(&House::from_metadata(&metadata).expect("hand-made metadata has the documented shape"))
    }

    fn assert_one(breaches: &[String], expected: &str) {
        assert_eq!(breaches.len(), 1, "{breaches:#?}");
        assert!(breaches[0].contains(expected), "{:?} says nothing of {expected:?}", breaches[0]);
    }

    const MODEL: Package<'static> = ("baton-model", "crates/model", Some(0), &[]);
    const TOKIO: Package<'static> = ("tokio", "", None, &[]);
    const ROCKSDB: Package<'static> = ("rocksdb", "", None, &[]);
    const RAND: Package<'static> = ("rand", "", None, &[]);

    #[test]
    fn a_house_in_order_has_no_breach() {
        use Kind::{Dev, Normal};
        let found = breaches_of(&[
            MODEL,
            ("baton-policy", "crates/policy", Some(0), &[("baton-model", Normal)]),
            ("baton-catalog", "crates/catalog", Some(0), &[("baton-model", Normal), ("proptest", Dev)]),
            (
                "baton-failover",
                "crates/failover",
                Some(0),
                &[("baton-catalog", Normal), ("baton-policy", Normal), ("baton-model", Normal)],
            ),
            ("baton-storage", "crates/storage", Some(1), &[("baton-model", Normal), ("rocksdb", Normal)]),
            ("baton-gateway", "crates/gateway", Some(1), &[("baton-model", Normal), ("mysql_async", Dev)]),
            ("baton-node", "crates/node", Some(2), &[("baton-storage", Normal), ("mysql_async", Normal)]),
            ("baton", "crates/baton", Some(3), &[("baton-node", Normal), ("tokio", Normal)]),
            ("baton-policy-swift", "policies/swift", None, &[("baton-policy", Normal)]),
            ("baton-tests", "tests", None, &[("mysql_async", Normal), ("baton-admin", Normal)]),
            ("proptest", "", None, &[("rand", Normal)]),
            ("mysql_async", "", None, &[("tokio", Normal)]),
            ROCKSDB,
            RAND,
            TOKIO,
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        for of in [Kind::Normal, Kind::Build, Kind::Dev] {
            let found = breaches_of(&[
                ("baton-storage", "crates/storage", Some(1), &[("baton-node", of)]),
                ("baton-node", "crates/node", Some(2), &[]),
            ]);
            assert_one(&found, "baton-storage (floor 1) depends on baton-node (floor 2)");
        }
    }

    #[test]
    fn an_edge_within_a_floor_needs_a_reason() {
        let found = breaches_of(&[
            ("baton-gateway", "crates/gateway", Some(1), &[("baton-storage", Kind::Normal)]),
            ("baton-storage", "crates/storage", Some(1), &[]),
        ]);
        assert_one(&found, "baton-gateway (floor 1) depends on baton-storage (floor 1)");
        let found = breaches_of(&[
            ("baton-catalog", "crates/catalog", Some(0), &[]),
            ("baton-detector", "crates/detector", Some(0), &[("baton-catalog", Kind::Normal)]),
        ]);
        assert_one(&found, "baton-detector (floor 0) depends on baton-catalog (floor 0)");
    }

    #[test]
    fn a_listed_edge_that_is_not_used_is_found() {
        let found = breaches_of(&[
            ("baton-consensus", "crates/consensus", Some(1), &[]),
            ("baton-storage", "crates/storage", Some(1), &[]),
        ]);
        assert_one(&found, "baton-consensus → baton-storage");
    }

    #[test]
    fn a_crate_without_a_floor_or_with_a_wrong_one_is_found() {
        assert_one(&breaches_of(&[("baton-sql", "crates/sql", None, &[])]), "baton-sql says floor none");
        assert_one(&breaches_of(&[("baton-sql", "crates/sql", Some(4), &[])]), "baton-sql says floor 4");
    }

    #[test]
    fn a_core_that_reaches_io_is_found_however_deep() {
        let found = breaches_of(&[
            ("baton-detector", "crates/detector", Some(0), &[("harmless", Kind::Normal)]),
            ("harmless", "", None, &[("seeming", Kind::Normal)]),
            ("seeming", "", None, &[("tokio", Kind::Normal)]),
            TOKIO,
        ]);
        assert_one(&found, "baton-detector → harmless → seeming → tokio");
    }

    #[test]
    fn a_core_may_have_randomness_in_its_tests_only() {
        let core = |of| breaches_of(&[("baton-model", "crates/model", Some(0), &[("rand", of)]), RAND]);
        assert_eq!(core(Kind::Dev), Vec::<String>::new());
        assert_one(&core(Kind::Normal), "baton-model reaches rand");
    }

    #[test]
    fn a_core_is_not_tested_with_a_shell() {
        let found = breaches_of(&[("baton-model", "crates/model", Some(0), &[("tokio", Kind::Dev)]), TOKIO]);
        assert_one(&found, "the tests of baton-model reach tokio");
    }

    #[test]
    fn a_build_script_or_a_test_of_something_below_a_core_counts_for_nothing() {
        let found = breaches_of(&[
            ("baton-model", "crates/model", Some(0), &[("serde", Kind::Normal)]),
            ("serde", "", None, &[("tokio", Kind::Dev), ("rand", Kind::Build)]),
            TOKIO,
            RAND,
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_library_outside_its_room_is_found() {
        for of in [Kind::Normal, Kind::Build, Kind::Dev] {
            let found = breaches_of(&[("baton-sql", "crates/sql", Some(1), &[("rocksdb", of)]), ROCKSDB]);
            assert_one(&found, "baton-sql names rocksdb, which lives only in baton-storage");
        }
        let found =
            breaches_of(&[("baton-gateway", "crates/gateway", Some(1), &[("mysql_async", Kind::Normal)])]);
        assert_one(&found, "baton-gateway names mysql_async");
    }

    #[test]
    fn the_house_is_not_built_on_what_stands_outside() {
        let found = breaches_of(&[
            ("baton-node", "crates/node", Some(2), &[("xtask", Kind::Normal)]),
            ("xtask", "xtask", None, &[]),
        ]);
        assert_one(&found, "baton-node depends on xtask, which is outside the house");
    }

    #[test]
    fn the_simulator_plays_policies_and_is_held_to_the_rules_of_a_core() {
        const SWIFT: Package<'static> = ("baton-policy-swift", "policies/swift", Some(0), &[]);
        const TO_SWIFT: (&str, Kind) = ("baton-policy-swift", Kind::Normal);
        let with = |edges: &[(&'static str, Kind)]| {
            breaches_of(&[("baton-sim", "crates/sim", Some(2), edges), SWIFT, TOKIO, MODEL])
        };
        assert_eq!(with(&[TO_SWIFT, ("baton-model", Kind::Normal)]), Vec::<String>::new());
        assert_one(&with(&[("tokio", Kind::Normal)]), "baton-sim reaches tokio");
        let node = ("baton-node", "crates/node", Some(2), &[TO_SWIFT] as &[_]);
        assert_one(
            &breaches_of(&[node, SWIFT]),
            "baton-node depends on baton-policy-swift, which is outside",
        );
    }

    #[test]
    fn a_policy_is_built_on_cores_only() {
        let found = breaches_of(&[
            ("baton-policy-swift", "policies/swift", None, &[("baton-storage", Kind::Normal)]),
            ("baton-storage", "crates/storage", Some(1), &[]),
        ]);
        assert_one(&found, "baton-policy-swift depends on baton-storage");
    }

    #[test]
    fn metadata_of_another_shape_is_an_error() {
        let error = House::from_metadata(&json!({"workspace_root": "/"})).expect_err("members are missing");
        assert!(error.to_string().contains("workspace_members"), "{error}");
    }
}
