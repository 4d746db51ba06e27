//! That every item of the replication checklist is hunted by tests that name it, and that `docs/checklist.md` says by
//! which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::checkout;

/// The items of the list.
const ITEMS: u32 = 21;
const TABLE: &str = "docs/checklist.md";
/// Where tests are.
const FOLDERS: [&str; 3] = ["crates", "policies", "tests"];

/// Compares the table with the tests.
///
/// # Errors
/// What does not fit, item by item.
pub fn check() -> Result<()> {
    let root = checkout::root()?;
    let table = fs::read_to_string(root.join(TABLE)).context(TABLE)?;
    let mut named: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for folder in FOLDERS {
        gather(&root, &root.join(folder), &mut named)?;
    }
    let complaints = complaints(&table, &named);
    for complaint in &complaints {
        eprintln!("  {complaint}");
    }
    match complaints.len() {
        0 => {
            println!("  {ITEMS} items, named by {} files with tests", named.len());
            Ok(())
        }
        count => bail!("{count} complaints about the checklist"),
    }
}

/// The files with tests below a folder that name items, by their path from the root.
fn gather(root: &Path, folder: &Path, named: &mut BTreeMap<String, BTreeSet<u32>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                gather(root, &path, named)?;
            }
            continue;
        }
        let place = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let items = items_of(tests_of(&place, &text));
        if !items.is_empty() {
            named.insert(place, items);
        }
    }
    Ok(())
}

/// The part of a file that is tests: all of it below a `tests` folder, else what follows `#[cfg(test)]`.
fn tests_of<'a>(place: &str, text: &'a str) -> &'a str {
    if place.split('/').any(|part| part == "tests" || part == "tests.rs") {
        return text;
    }
    text.find("#[cfg(test)]").map_or("", |start| &text[start..])
}

/// The numbers after each `checklist`: `checklist 9`, `checklist 9 and 10`, `checklist 3, 7 and 17`.
fn items_of(text: &str) -> BTreeSet<u32> {
    let mut items = BTreeSet::new();
    let lower = text.to_lowercase();
    for (start, word) in lower.match_indices("checklist ") {
        let mut words = lower[start + word.len()..].split_whitespace();
        while let Some(word) = words.next() {
            let Ok(item) = word.trim_matches(|c: char| !c.is_ascii_digit()).parse() else { break };
            items.insert(item);
            let goes_on = word.ends_with(',');
            let and = !goes_on && words.clone().next() == Some("and");
            if and {
                words.next();
            }
            if !goes_on && !and {
                break;
            }
        }
    }
    items
}

/// Everything in which the table and the tests differ.
fn complaints(table: &str, named: &BTreeMap<String, BTreeSet<u32>>) -> Vec<String> {
    let mut rows: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let Some(item) = cells.first().and_then(|cell| cell.parse().ok()) {
            let hunters = cells.last().copied().unwrap_or_default();
            rows.insert(item, hunters.split('`').skip(1).step_by(2).collect());
        }
    }
    let mut found = Vec::new();
    for item in 1..=ITEMS {
        if !named.values().any(|items| items.contains(&item)) {
            found.push(format!("checklist {item} is named by no test"));
        }
        match rows.get(&item) {
            None => found.push(format!("{TABLE} has no row for item {item}")),
            Some(hunters) if hunters.is_empty() => {
                found.push(format!("the row of item {item} names no test"));
            }
            Some(hunters) => found.extend(
                hunters
                    .iter()
                    .filter(|hunter| !named.get(**hunter).is_some_and(|items| items.contains(&item)))
                    .map(|hunter| format!("{hunter} does not name checklist {item}, or has no tests")),
            ),
        }
    }
    for (place, items) in named {
        for item in items {
            if !(1..=ITEMS).contains(item) {
                found.push(format!("{place} names checklist {item}, which there is not"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let items = |text| items_of(text).into_iter().collect::<Vec<_>>();
        assert_eq!(items("// Checklist 9: a replica"), [9]);
        assert_eq!(items("Checklist 9 and 10: both. CHECKLIST 3, 7 and 17."), [3, 7, 9, 10, 17]);
        assert_eq!(items("checklist 11\n/// 12 things"), [11]);
        assert_eq!(items("the checklist of 21 items"), [0_u32; 0]);
    }

    #[test]
    fn only_tests_count() {
        assert_eq!(tests_of("crates/a/src/lib.rs", "/// checklist 1\n"), "");
        assert_eq!(tests_of("crates/a/src/lib.rs", "x #[cfg(test)] y"), "#[cfg(test)] y");
        assert_eq!(tests_of("crates/a/tests/scripts/b", "x"), "x");
        assert_eq!(tests_of("crates/a/src/tests.rs", "x"), "x");
    }

    #[test]
    fn an_item_without_a_test_is_a_complaint() {
        let row = |item: u32| format!("| {item} | trap | kept | `tests/a` |\n");
        let table: String = (1..=ITEMS).map(row).collect();
        let all: BTreeSet<u32> = (1..=ITEMS).collect();
        let named = |items: &BTreeSet<u32>| BTreeMap::from([("tests/a".to_owned(), items.clone())]);
        assert_eq!(complaints(&table, &named(&all)), Vec::<String>::new());
        let mut fewer = all.clone();
        fewer.remove(&9);
        assert_eq!(
            complaints(&table, &named(&fewer)),
            ["checklist 9 is named by no test", "tests/a does not name checklist 9, or has no tests"]
        );
        let shorter = table.replace(&row(5), "");
        assert_eq!(complaints(&shorter, &named(&all)), ["docs/checklist.md has no row for item 5"]);
        let mut more = all;
        more.insert(22);
        assert_eq!(complaints(&table, &named(&more)), ["tests/a names checklist 22, which there is not"]);
    }
}
