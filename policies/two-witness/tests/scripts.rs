//! Two-witness's behaviour, told as stories.

#[path = "../../../crates/policy/tests/story/mod.rs"]
mod story;

use std::path::Path;

use baton_policy_two_witness::TwoWitness;
use test_each_file::test_each_path;

test_each_path! { in "./policies/two-witness/tests/scripts" => run }

fn run(path: &Path) {
    story::run(TwoWitness, path).unwrap();
}
