//! The benches of the crates: run by cargo, and read from what criterion leaves in the build folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table::Figure;
use crate::checkout;

/// The benches of criterion, by the names of their targets.
const BENCHES: &[&str] = &["decision", "tick", "apply"];

/// The bench of the control group, which prints its figures itself.
const CONTROL: &str = "control";

/// Committed catalog commands a second that it should reach, and by how many clients.
const CONTROL_GOAL: u64 = 5_000;
const CONTROL_GOAL_CLIENTS: u64 = 64;

/// Figures with a goal: criterion's name, what it is called, the goal.
const GOALS: &[(&str, &str, Duration)] = &[
    ("decision/detection/classic/3", "decision over 3 nodes, classic in WASM", Duration::from_micros(25)),
    ("decision/detection/swift/3", "decision over 3 nodes, swift in WASM", Duration::from_micros(25)),
    (
        "decision/detection/classic/1024",
        "decision over 1,024 nodes, classic in WASM",
        Duration::from_micros(102),
    ),
    ("detector/tick_and_evidence/1000_nodes", "detection tick over 1000 nodes", Duration::from_millis(1)),
];

/// Runs them all.
///
/// # Errors
/// When one fails, or its figures cannot be read.
pub fn measure() -> Result<Vec<Figure>> {
    let began = SystemTime::now();
    let mut command = checkout::cargo(&["bench", "--workspace"])?;
    for bench in BENCHES {
        command.args(["--bench", bench]);
    }
    command.args(["--", "--warm-up-time", "1", "--measurement-time", "3", "--noplot"]);
    checkout::run_shown(command)?;
    let mut figures = Vec::new();
    read_below(&target_folder()?.join("criterion"), began, &mut figures)?;
    figures.sort_by(|a, b| b.met.is_some().cmp(&a.met.is_some()).then_with(|| a.what.cmp(&b.what)));
    figures.extend(control()?);
    Ok(figures)
}

fn target_folder() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Ok(checkout::root()?.join(folder)),
        None => Ok(checkout::root()?.join("target")),
    }
}

/// Reads every figure below a folder that was written since we began.
fn read_below(folder: &Path, began: SystemTime, figures: &mut Vec<Figure>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("no figures in {}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        let is_new = path.ends_with("new")
            && fs::metadata(&estimates)
                .and_then(|data| data.modified())
                .is_ok_and(|written| written >= began);
        if is_new {
            let read = |name: &str| -> Result<Value> {
                let file = path.join(name);
                let text =
                    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
                serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
            };
            let id = read("benchmark.json")?;
            let median = read("estimates.json")?["median"]["point_estimate"].as_f64();
            let id = id["full_id"].as_str().context("a bench has no name")?.to_owned();
            figures.push(figure(&id, median.context("a bench has no median")?));
        } else {
            read_below(&path, began, figures)?;
        }
    }
    Ok(())
}

fn figure(id: &str, nanoseconds: f64) -> Figure {
    let goal = GOALS.iter().find(|(name, _, _)| *name == id);
    let measured = if nanoseconds < 1e3 {
        format!("{nanoseconds:.0} ns")
    } else if nanoseconds < 1e6 {
        format!("{:.1} µs", nanoseconds / 1e3)
    } else {
        format!("{:.2} ms", nanoseconds / 1e6)
    };
    match goal {
        None => Figure { what: id.to_owned(), goal: String::new(), measured, met: None, note: String::new() },
        Some((_, what, goal)) => {
            let limit = goal.as_nanos() as f64;
            let note = if nanoseconds > limit {
                format!("{:.1} times the goal", nanoseconds / limit)
            } else {
                String::new()
            };
            Figure {
                what: (*what).to_owned(),
                goal: format!("≤ {goal:?}"),
                measured,
                met: Some(nanoseconds <= limit),
                note,
            }
        }
    }
}

/// Runs the bench of the control group, which prints a line for each number of clients:
/// clients, commands a second, median and 99th percentile in microseconds, and more.
fn control() -> Result<Vec<Figure>> {
    let command = checkout::cargo(&["bench", "--workspace", "--bench", CONTROL])?;
    eprintln!("  $ {}", checkout::printed(&command));
    let printed = checkout::output_of(command)?;
    eprintln!("{printed}");
    let figures: Vec<Figure> = printed.lines().filter_map(control_figure).collect();
    if figures.is_empty() {
        bail!("the bench of the control group printed no figures: {printed}");
    }
    Ok(figures)
}

fn control_figure(line: &str) -> Option<Figure> {
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [clients, rate, p50_us, p99_us, ..] = numbers[..] else { return None };
    let has_goal = clients == CONTROL_GOAL_CLIENTS;
    let mut note = format!("median {p50_us} µs, 99 % within {p99_us} µs");
    if has_goal && rate < CONTROL_GOAL {
        note.push_str(&format!("; {:.0} % of the goal", rate as f64 * 100.0 / CONTROL_GOAL as f64));
    }
    Some(Figure {
        what: format!("committed catalog commands, 3 voters, {clients} clients"),
        goal: if has_goal { format!("≥ {CONTROL_GOAL} /s") } else { String::new() },
        measured: format!("{rate} /s"),
        met: has_goal.then_some(rate >= CONTROL_GOAL),
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_control_bench_is_read() {
        let figure = control_figure("     64        4321     1200     9000      2100            250")
            .expect("it is one");
        assert_eq!((figure.measured.as_str(), figure.met), ("4321 /s", Some(false)));
        assert!(figure.note.ends_with("86 % of the goal"), "{}", figure.note);
        assert!(control_figure("clients  commands/s   p50 us").is_none());
        assert_eq!(control_figure("1 500 1 2 3 4").expect("it is one").met, None);
    }

    #[test]
    fn a_goal_is_met_or_missed() {
        assert_eq!(figure("decision/detection/classic/3", 24_900.0).met, Some(true));
        let missed = figure("detector/tick_and_evidence/1000_nodes", 2.5e6);
        assert_eq!((missed.met, missed.measured.as_str()), (Some(false), "2.50 ms"));
        assert_eq!(missed.note, "2.5 times the goal");
        assert_eq!(figure("catalog/apply/set_variable", 900.0).met, None);
    }
}
