//! Says by how many seeds each broken rule is noticed: one that few notice needs worlds with more of its faults.
//!
//! `cargo run --profile sim -p baton-sim --features mutants --example mutants [SEEDS [MUTANT]]`

use baton_model::mutant::Mutant;
use baton_sim::run::noticed;

/// As many as the tests look at.
const SEEDS: u64 = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let seeds = args.next().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let wanted = args.next();
    for mutant in Mutant::ALL {
        if wanted.as_ref().is_some_and(|wanted| *wanted != format!("{mutant:?}")) {
            continue;
        }
        Mutant::set(Some(mutant));
        let by: Vec<u64> = (0..seeds).filter(|seed| noticed(*seed).is_some()).collect();
        Mutant::set(None);
        println!("{mutant:?}: {} of {seeds} seeds, first {:?}", by.len(), by.first());
    }
}
