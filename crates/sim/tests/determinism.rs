//! The same seed gives the same bytes, in every process.

use std::process::Command;

fn story(seed: &str) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-sim"));
    let output = command.args(["--seed", seed, "--everything"]).output().expect("it starts");
    assert!(output.status.success(), "seed {seed} fails");
    output.stdout
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in ["1", "3"] {
        let (first, second) = (story(seed), story(seed));
        assert!(first.len() > 100_000, "it is told with every message");
        assert!(first == second, "seed {seed} tells two stories");
    }
}

#[test]
fn another_seed_tells_another_story() {
    assert!(story("1") != story("2"));
}
