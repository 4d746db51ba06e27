//! Classic's behaviour, told as stories.

mod story;

use std::path::Path;

use baton_policy::Classic;
use test_each_file::test_each_path;

test_each_path! { in "./crates/policy/tests/scripts" => run }

fn run(path: &Path) {
    story::run(Classic, path).unwrap();
}
