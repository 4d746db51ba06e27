//! Phi-accrual's behaviour, told as stories.

#[path = "../../../crates/policy/tests/story/mod.rs"]
mod story;

use std::path::Path;

use baton_policy_phi_accrual::PhiAccrual;
use test_each_file::test_each_path;

test_each_path! { in "./policies/phi-accrual/tests/scripts" => run }

fn run(path: &Path) {
    story::run(PhiAccrual, path).unwrap();
}
