//! Gray-aware's behaviour, told as stories.

#[path = "../../../crates/policy/tests/story/mod.rs"]
mod story;

use std::path::Path;

use baton_policy_gray_aware::GrayAware;
use test_each_file::test_each_path;

test_each_path! { in "./policies/gray-aware/tests/scripts" => run }

fn run(path: &Path) {
    story::run(GrayAware, path).unwrap();
}
