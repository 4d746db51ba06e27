//! Medians, and how far what was measured is spread.

use std::time::Duration;

/// The middle one of an odd number, the upper middle one of an even number; 0 of none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The least and the greatest, for a remark.
pub fn range(figures: &[f64], digits: usize, unit: &str) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{least:.digits$} to {greatest:.digits$} {unit} in {} runs", figures.len())
}

/// The time within which so many of a hundred ended, in milliseconds; 0 of none.
pub fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
}
