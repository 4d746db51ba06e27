//! Calm's behaviour, told as stories.

#[path = "../../../crates/policy/tests/story/mod.rs"]
mod story;

use std::path::Path;

use baton_policy_calm::Calm;
use test_each_file::test_each_path;

test_each_path! { in "./policies/calm/tests/scripts" => run }

fn run(path: &Path) {
    story::run(Calm, path).unwrap();
}
