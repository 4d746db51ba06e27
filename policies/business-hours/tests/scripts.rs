//! The behaviour of business-hours, told as stories.

#[path = "../../../crates/policy/tests/story/mod.rs"]
mod story;

use std::path::Path;

use baton_policy_business_hours::BusinessHours;
use test_each_file::test_each_path;

test_each_path! { in "./policies/business-hours/tests/scripts" => run }

fn run(path: &Path) {
    story::run(BusinessHours, path).unwrap();
}
