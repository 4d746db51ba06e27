//! The workspace as cargo sees it: crates, what they say they depend on, and what that pulls in.
//!
//! A plain picture read from `cargo metadata`; the rules about it are in [`crate::floors`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::checkout;

/// What a dependency is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Part of the crate.
    Normal,
    /// Part of its build script.
    Build,
    /// Part of its tests, examples and benches.
    Dev,
}

/// A dependency as the manifest says it, by package name.
#[derive(Debug)]
pub struct Edge {
    pub to: String,
    pub kind: Kind,
}

/// A member of the workspace.
#[derive(Debug)]
pub struct Room {
    pub name: String,
    /// Its folder below the root, as `crates/model`.
    pub folder: String,
    /// `[package.metadata.baton] floor`, if it says one.
    pub floor: Option<u64>,
    pub edges: Vec<Edge>,
    id: String,
}

/// All members, and the graph of every package below them.
#[derive(Debug)]
pub struct House {
    pub rooms: Vec<Room>,
    names: BTreeMap<String, String>,
    /// For every package id, the ids it pulls in and what for, as resolved for this machine.
    pulled_in: BTreeMap<String, Vec<(String, Kind)>>,
}

impl House {
    /// Reads the workspace of this checkout.
    ///
    /// # Errors
    /// When cargo cannot read the manifests, or its answer has another shape than documented.
    pub fn of_this_checkout() -> Result<House> {
        let version = checkout::rustc(&["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc -vV names no host")?;
        let metadata = checkout::output_of(checkout::cargo(&[
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            host,
        ])?)?;
        House::from_metadata(&serde_json::from_str(&metadata).context("cargo metadata is no JSON")?)
    }

    /// Reads the answer of `cargo metadata --format-version 1`.
    ///
    /// # Errors
    /// When a field that cargo documents is missing.
    pub fn from_metadata(metadata: &Value) -> Result<House> {
        let root = text(metadata, "workspace_root")?;
        let members: BTreeSet<&str> =
            list(metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut house = House { rooms: Vec::new(), names: BTreeMap::new(), pulled_in: BTreeMap::new() };
        for package in list(metadata, "packages")? {
            let (id, name) = (text(package, "id")?, text(package, "name")?);
            house.names.insert(id.to_owned(), name.to_owned());
            if members.contains(id) {
                house.rooms.push(room(package, root)?);
            }
        }
        for node in list(&metadata["resolve"], "nodes")? {
            let mut pulled_in = Vec::new();
            for dependency in list(node, "deps")? {
                for kind in list(dependency, "dep_kinds")? {
                    pulled_in.push((text(dependency, "pkg")?.to_owned(), kind_of(&kind["kind"])));
                }
            }
            house.pulled_in.insert(text(node, "id")?.to_owned(), pulled_in);
        }
        house.rooms.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(house)
    }

    /// The member of that name.
    pub fn room(&self, name: &str) -> Option<&Room> {
        self.rooms.iter().find(|room| room.name == name)
    }

    /// Every package that the room pulls in by one dependency of one of the first kinds and then any number of
    /// normal ones, each with a shortest way to it: names from the room to the package.
    pub fn reached_from<'a>(&'a self, room: &'a Room, first: &[Kind]) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut came_from: BTreeMap<&'a str, &'a str> = BTreeMap::new();
        let mut waiting = VecDeque::from([room.id.as_str()]);
        while let Some(id) = waiting.pop_front() {
            let kinds = if id == room.id { first } else { &[Kind::Normal] };
            for (next, kind) in self.pulled_in.get(id).into_iter().flatten() {
                if kinds.contains(kind) && *next != room.id && !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, id);
                    waiting.push_back(next);
                }
            }
        }
        let mut ways: BTreeMap<&'a str, Vec<&'a str>> = BTreeMap::new();
        for &reached in came_from.keys() {
            let mut way = vec![self.name(reached)];
            let mut at = reached;
            while let Some(&before) = came_from.get(at) {
                way.push(self.name(before));
                at = before;
            }
            way.reverse();
            let known = ways.entry(self.name(reached)).or_insert_with(|| way.clone());
            if way.len() < known.len() {
                *known = way;
            }
        }
        ways
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }
}

fn room(package: &Value, root: &str) -> Result<Room> {
    let manifest = text(package, "manifest_path")?;
    let folder = manifest.strip_prefix(root).unwrap_or(manifest);
    let folder = folder.trim_start_matches('/').trim_end_matches("Cargo.toml").trim_end_matches('/');
    let mut edges = Vec::new();
    for dependency in list(package, "dependencies")? {
        edges.push(Edge { to: text(dependency, "name")?.to_owned(), kind: kind_of(&dependency["kind"]) });
    }
    Ok(Room {
        name: text(package, "name")?.to_owned(),
        folder: folder.to_owned(),
        floor: package["metadata"]["baton"]["floor"].as_u64(),
        edges,
        id: text(package, "id")?.to_owned(),
    })
}

fn kind_of(value: &Value) -> Kind {
    match value.as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("cargo metadata has no text in `{field}`"))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value]> {
    let list = value[field].as_array().map(Vec::as_slice);
    list.with_context(|| format!("cargo metadata has no list in `{field}`"))
}
