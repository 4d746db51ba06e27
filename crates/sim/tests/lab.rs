//! The policy lab measures what the policies that come with Baton are known for.

use baton_policy::Settings;
use baton_sim::lab::{Measured, Row, Scenario, library, play};
use baton_sim::policies::Shelf;

fn scenario(name: &str) -> Scenario {
    library().unwrap().into_iter().find(|scenario| scenario.name == name).unwrap()
}

fn played(name: &str, policy: &str, seeds: u64) -> Vec<Measured> {
    let scenario = scenario(name);
    (1..=seeds).map(|seed| play(&scenario, seed, Shelf::default(), policy, &Settings::new())).collect()
}

/// A row of which all seeds were noticed, if anything was to be, and no rule was broken.
fn row(name: &str, policy: &str, seeds: u64) -> Row {
    let row = Row::of(&scenario(name), 1, &played(name, policy, seeds));
    assert_eq!((row.broken.len(), row.restless), (0, 0), "{name} under {policy}: {row:?}");
    row
}

#[test]
fn classic_takes_the_documented_times() {
    let refused = row("refused", "classic", 3);
    assert_eq!((refused.noticed, refused.needless), (3, 0));
    let p99 = refused.detection_ms.p99.unwrap();
    assert!((2_700..=3_300).contains(&p99), "3 s of refusals took {p99} ms");
    let silent = row("silent", "classic", 2);
    let p99 = silent.detection_ms.p99.unwrap();
    assert!((29_500..=30_500).contains(&p99), "30 s of silence took {p99} ms");
    assert!(silent.write_gap_ms.p99.unwrap() >= p99 - 500, "nobody could write meanwhile: {silent:?}");
}

#[test]
fn swift_is_quick_and_pays_for_it() {
    let refused = row("refused", "swift", 3);
    assert!(refused.detection_ms.p99.unwrap() < 300, "{refused:?}");
    let master = row("master", "swift", 3);
    assert!(master.noticed == 3 && master.master_gap_ms.p99.unwrap() < 1_500, "{master:?}");
    // Two seconds of silence that nobody could tell from a death.
    assert_eq!(row("blink", "swift", 3).needless, 3);
    assert_eq!(row("blink", "classic", 3).needless, 0);
}

#[test]
fn nothing_is_found_where_nothing_happens() {
    let calm = row("calm", "classic", 2);
    assert_eq!((calm.needless, calm.detection_ms.median, calm.master_gap_ms.p99), (0, None, Some(0)));
    assert!(calm.write_gap_ms.p99.unwrap() < 1_000, "{calm:?}");
}

/// Time counts from what befell a node last, and what fails it when nothing is wrong with it is needless.
#[test]
fn a_detection_is_counted_from_the_harm_and_only_while_it_lasts() {
    let text = "fails leaf\nat 0s slow leaf 5ms\nat 20s kill leaf\nat 40s start leaf\nat 41s heal leaf\n\
                at 60s isolate leaf\nat 62s heal leaf\nuntil 75s\n";
    let scenario = Scenario::parse("own", text).unwrap();
    let of =
        |policy| Row::of(&scenario, 1, &[play(&scenario, 1, Shelf::default(), policy, &Settings::new())]);
    let classic = of("classic").detection_ms.median.unwrap();
    assert!((2_700..=3_300).contains(&classic), "{classic} ms");
    assert_eq!((of("classic").needless, of("swift").noticed), (0, 1));
}

/// An outage ends when it ends, and not when clients have lost their patience.
#[test]
fn a_write_gap_is_as_long_as_the_fault() {
    let scenario = Scenario::parse("cut", "at 0s isolate leaf\nat 5s heal leaf\nuntil 40s\n").unwrap();
    let row = Row::of(&scenario, 1, &[play(&scenario, 1, Shelf::default(), "classic", &Settings::new())]);
    let gap = row.write_gap_ms.p99.unwrap();
    assert!((5_000..8_000).contains(&gap), "{gap} ms for a fault of 5 s");
}

#[test]
fn the_same_seed_measures_the_same() {
    let (first, second) = (played("master-and-leaf", "swift", 2), played("master-and-leaf", "swift", 2));
    assert_eq!(first, second);
    assert_ne!(first[0].moments, first[1].moments);
}
