//! The table of faults: how soon each was seen, how long clients waited, and what was lost.

use serde::Serialize;

/// One fault and what it cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FaultReport {
    /// What was done.
    pub fault: String,
    /// The policy in charge.
    pub policy: String,
    /// From the fault to the verdict.
    pub detection_s: f64,
    /// The longest that a client waited between two acknowledged writes of sharded rows.
    pub write_gap_s: f64,
    /// The same for rows of a reference table, which the master aggregator writes.
    pub reference_gap_s: f64,
    /// Statements that failed.
    pub client_errors: usize,
    /// Writes acknowledged from this fault on until the next.
    pub acknowledged: usize,
    /// Acknowledged writes of that time that were not there when all was read back.
    pub lost: u64,
    /// Writes of that time that were done twice.
    pub duplicates: u64,
}

/// The table as text.
pub fn table(faults: &[FaultReport]) -> String {
    let heads = [
        "fault",
        "policy",
        "detection",
        "write gap",
        "gap of ref. table",
        "client errors",
        "acknowledged",
        "lost",
        "duplicates",
    ];
    let rows: Vec<[String; 9]> = faults
        .iter()
        .map(|fault| {
            [
                fault.fault.clone(),
                fault.policy.clone(),
                format!("{:.3} s", fault.detection_s),
                format!("{:.3} s", fault.write_gap_s),
                format!("{:.3} s", fault.reference_gap_s),
                fault.client_errors.to_string(),
                fault.acknowledged.to_string(),
                fault.lost.to_string(),
                fault.duplicates.to_string(),
            ]
        })
        .collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(i, (cell, &width))| {
                    if i < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(heads.to_vec());
    text.push_str(&line(rule.iter().map(String::as_str).collect()));
    for row in &rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}
