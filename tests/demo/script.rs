//! What the demo says, as it happens: a timeline, checks, and at the end a table; or all of it as JSON.

use std::fmt;
use std::process::ExitCode;

use baton_tests::Moment;
use serde::Serialize;

use crate::table::{FaultReport, table};

/// What a line of the timeline is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// We did something that is part of the job.
    Step,
    /// We hurt the cluster.
    Fault,
    /// What was observed.
    Evidence,
    /// What a policy said.
    Verdict,
    /// What the cluster did.
    Event,
    /// What a client saw.
    Client,
    /// Something that must hold.
    Check,
}

impl Kind {
    fn colour(self) -> &'static str {
        match self {
            Self::Step => "1",
            Self::Fault => "1;31",
            Self::Evidence => "33",
            Self::Verdict => "35",
            Self::Event => "36",
            Self::Client => "34",
            Self::Check => "32",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Step => "",
            Self::Fault => "fault",
            Self::Evidence => "evidence",
            Self::Verdict => "verdict",
            Self::Event => "event",
            Self::Client => "client",
            Self::Check => "check",
        })
    }
}

#[derive(Serialize)]
struct Line {
    at_s: f64,
    kind: Kind,
    text: String,
}

#[derive(Serialize)]
struct Check {
    what: String,
    held: bool,
}

/// Everything that was said.
pub struct Script {
    json: bool,
    colours: bool,
    began: Moment,
    lines: Vec<Line>,
    checks: Vec<Check>,
    faults: Vec<FaultReport>,
}

impl Script {
    /// Begins now.
    pub fn new(json: bool, colours: bool) -> Self {
        Self { json, colours, began: Moment::now(), lines: vec![], checks: vec![], faults: vec![] }
    }

    /// Says that something happened at a moment.
    pub fn at(&mut self, moment: Moment, kind: Kind, text: impl Into<String>) {
        let line = Line { at_s: moment.ms_after(self.began) / 1e3, kind, text: text.into() };
        if !self.json {
            let kind_text = self.painted(kind.colour(), &format!("{kind:<8}"));
            let gap = if matches!(kind, Kind::Step | Kind::Fault) { "\n" } else { "" };
            println!("{gap}{:>8.3} s  {kind_text}  {}", line.at_s, line.text);
        }
        self.lines.push(line);
    }

    /// Says that something happens now.
    pub fn now(&mut self, kind: Kind, text: impl Into<String>) {
        self.at(Moment::now(), kind, text);
    }

    /// Something that must hold for the demo to succeed.
    pub fn check(&mut self, held: bool, what: impl Into<String>) {
        let what = what.into();
        let mark = if held { "✓" } else { "✗" };
        let text = format!("{} {what}", self.painted(if held { "32" } else { "1;31" }, mark));
        if self.json {
            self.lines.push(Line {
                at_s: Moment::now().ms_after(self.began) / 1e3,
                kind: Kind::Check,
                text: what.clone(),
            });
        } else {
            println!("{:>10}  {:<8}  {text}", "", "check");
        }
        self.checks.push(Check { what, held });
    }

    /// Keeps what is to stand in the table.
    pub fn fault(&mut self, report: FaultReport) {
        self.faults.push(report);
    }

    /// The faults so far, to complete them.
    pub fn faults_mut(&mut self) -> &mut [FaultReport] {
        &mut self.faults
    }

    /// Something went wrong that no check foresaw.
    pub fn failed(&mut self, why: &str) {
        self.check(false, why);
    }

    /// Prints the end; success if every check held, and the job came to its end.
    pub fn end(self) -> ExitCode {
        let failed: Vec<&Check> = self.checks.iter().filter(|check| !check.held).collect();
        let success = failed.is_empty() && !self.faults.is_empty();
        if self.json {
            let all = serde_json::json!({
                "success": success, "timeline": self.lines, "faults": self.faults, "checks": self.checks,
                "took_s": Moment::now().ms_after(self.began) / 1e3,
            });
            println!("{all:#}");
        } else {
            if !self.faults.is_empty() {
                println!("\n{}", table(&self.faults));
            }
            let took = Moment::now().ms_after(self.began) / 1e3;
            let held = self.checks.len() - failed.len();
            println!("{held} of {} checks held, in {took:.0} s", self.checks.len());
            for check in &failed {
                println!("{} {}", self.painted("1;31", "FAILED"), check.what);
            }
        }
        if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
