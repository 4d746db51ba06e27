//! A scenario: what befalls whom and when, as text.
//!
//! ```text
//! # A leaf's process is killed, and is started again after a minute.
//! fails leaf
//! at 0s kill leaf
//! at 60s start leaf
//! until 75s
//! ```
//!
//! * The comment in front says what it is. `#` begins a comment anywhere else, too.
//! * `fails WHO`: these nodes have to be failed over. `may fail WHO`: to fail these over is neither needed nor wrong. To
//!   fail any other is needless.
//! * `at TIME DEED WHO [TIME]`: times count from when the cluster serves; they do not go back.
//! * `until TIME`: everything is made good, and must come to rest.
//!
//! WHO is one of [`Who`]; TIME is `250ms` or `12s`. The deeds are those of [`Deed`].

use std::fmt;
use std::str::FromStr;

use crate::kernel::{MS, S, Time};

/// Lines of a scenario, at most.
const LINES_MAX: usize = 1_000;
/// A scenario lasts so long, at most.
const LENGTH_MAX: Time = 3_600 * S;
/// Nothing takes longer than by so much: what is under way must end before the cluster has to be at rest.
const SLOWER_MAX: Time = 10 * S;

/// Whom something befalls. The seed says which node that is; it stays the same throughout the scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// A leaf.
    Leaf,
    /// The leaf with which it shares its partitions.
    Pair,
    /// A leaf that is neither.
    Other,
    /// Whoever is master aggregator when the scenario begins.
    Master,
    /// An aggregator that is not.
    Aggregator,
    /// The third aggregator.
    Third,
    /// Half of the cluster, with the master aggregator: one aggregator and two leaves that share nothing.
    Half,
}

impl Who {
    const NAMES: [(&'static str, Self); 7] = [
        ("leaf", Self::Leaf),
        ("pair", Self::Pair),
        ("other", Self::Other),
        ("master", Self::Master),
        ("aggregator", Self::Aggregator),
        ("third", Self::Third),
        ("half", Self::Half),
    ];
}

/// What befalls somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// `kill`: its process is killed; its host refuses connections.
    Kill,
    /// `power`: its machine loses power; nobody answers.
    Power,
    /// `fill`: a sync of its disk fails, and it ends itself.
    Fill,
    /// `start`: its process starts again.
    Start,
    /// `pause`: its process is stopped (SIGSTOP).
    Pause,
    /// `resume`: its process goes on.
    Resume,
    /// `isolate`: nothing comes from it or gets to it.
    Isolate,
    /// `mute`: nothing comes from it.
    Mute,
    /// `deafen`: nothing gets to it.
    Deafen,
    /// `heal`: its ways are free again, and quick.
    Heal,
    /// `slow`: whatever comes from it takes so much longer.
    Slow(Time),
    /// `stall`: every sync of its disk takes so much longer.
    Stall(Time),
    /// `load`: it does everything so much later, and says so in its vitals; pongs come late.
    Load(Time),
    /// `jump`: its clock jumps ahead by so much.
    Jump(Time),
}

/// What befalls somebody, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Act {
    /// Since the cluster serves.
    pub at: Time,
    /// What.
    pub deed: Deed,
    /// Whom.
    pub who: Who,
}

/// A scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Who has to be failed over.
    pub fails: Vec<Who>,
    /// Of whom it is no matter.
    pub may_fail: Vec<Who>,
    /// What befalls whom, in its order.
    pub acts: Vec<Act>,
    /// When everything is made good.
    pub until: Time,
}

/// A line that is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScenarioError {
    /// Which line, from 1; 0 for the whole.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let mut scenario = Self {
            name: name.to_owned(),
            about: String::new(),
            fails: Vec::new(),
            may_fail: Vec::new(),
            acts: Vec::new(),
            until: 0,
        };
        let whole = |what: &str| ScenarioError { line: 0, what: what.to_owned() };
        if text.lines().count() > LINES_MAX {
            return Err(whole(&format!("it has more than {LINES_MAX} lines")));
        }
        let mut begun = false;
        for (number, line) in text.lines().enumerate() {
            if let Some(comment) = line.strip_prefix('#').filter(|_| !begun) {
                let gap = if scenario.about.is_empty() { "" } else { " " };
                scenario.about.push_str(&format!("{gap}{}", comment.trim()));
                continue;
            }
            let code = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = code.split_whitespace().collect();
            begun |= !words.is_empty();
            scenario.take(&words).map_err(|what| ScenarioError { line: number + 1, what })?;
        }
        if scenario.until == 0 {
            return Err(whole("it does not end: the last line is `until TIME`"));
        }
        Ok(scenario)
    }

    fn take(&mut self, words: &[&str]) -> Result<(), String> {
        if self.until > 0 && !words.is_empty() {
            return Err("nothing comes after `until`".to_owned());
        }
        match words {
            [] => {}
            ["fails", names @ ..] if !names.is_empty() => {
                for name in names {
                    self.fails.push(who(name)?);
                }
            }
            ["may", "fail", names @ ..] if !names.is_empty() => {
                for name in names {
                    self.may_fail.push(who(name)?);
                }
            }
            ["at", at, deed, name, rest @ ..] => {
                let at = time(at)?;
                if self.acts.last().is_some_and(|last| last.at > at) {
                    return Err("times do not go back".to_owned());
                }
                self.acts.push(Act { at, deed: deed_of(deed, rest)?, who: who(name)? });
            }
            ["until", until] => {
                self.until = time(until)?;
                if self.acts.last().is_some_and(|last| last.at > self.until) || self.until == 0 {
                    return Err("it ends before its last deed".to_owned());
                }
            }
            _ => {
                let line = words.join(" ");
                return Err(format!(
                    "'{line}' is none of `fails WHO`, `may fail WHO`, `at TIME DEED WHO [TIME]` and `until TIME`"
                ));
            }
        }
        Ok(())
    }
}

fn who(name: &str) -> Result<Who, String> {
    Who::NAMES.iter().find(|(known, _)| *known == name).map(|(_, who)| *who).ok_or_else(|| {
        let known: Vec<&str> = Who::NAMES.iter().map(|(known, _)| *known).collect();
        format!("'{name}' is nobody; there are {}", known.join(", "))
    })
}

fn time(text: &str) -> Result<Time, String> {
    let bad = || format!("'{text}' is no time up to an hour: write 250ms or 12s");
    let (digits, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, MS),
        (None, Some(digits)) => (digits, S),
        (None, None) => return Err(bad()),
    };
    let number = u64::from_str(digits).map_err(|_| bad())?;
    number.checked_mul(unit).filter(|time| *time <= LENGTH_MAX).ok_or_else(bad)
}

fn deed_of(name: &str, rest: &[&str]) -> Result<Deed, String> {
    let by = match rest {
        [] => None,
        [by] => Some(time(by)?),
        _ => return Err(format!("'{}' is too much", rest.join(" "))),
    };
    if ["slow", "stall", "load"].contains(&name) && by.is_some_and(|by| by > SLOWER_MAX) {
        return Err(format!("`{name}` takes {} s at most", SLOWER_MAX / S));
    }
    let deed = match (name, by) {
        ("kill", None) => Deed::Kill,
        ("power", None) => Deed::Power,
        ("fill", None) => Deed::Fill,
        ("start", None) => Deed::Start,
        ("pause", None) => Deed::Pause,
        ("resume", None) => Deed::Resume,
        ("isolate", None) => Deed::Isolate,
        ("mute", None) => Deed::Mute,
        ("deafen", None) => Deed::Deafen,
        ("heal", None) => Deed::Heal,
        ("slow", Some(by)) => Deed::Slow(by),
        ("stall", Some(by)) => Deed::Stall(by),
        ("load", Some(by)) => Deed::Load(by),
        ("jump", Some(by)) => Deed::Jump(by),
        ("slow" | "stall" | "load" | "jump", None) => return Err(format!("`{name} WHO` needs a time")),
        _ => {
            return Err(format!(
                "'{name}' is no deed, or takes no time; there are kill, power, fill, start, pause, resume, isolate, mute, \
                 deafen, heal, and with a time slow, stall, load, jump"
            ));
        }
    };
    Ok(deed)
}

macro_rules! scenarios {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("library/", $name, ".scenario")))),+]
    };
}

/// What comes with Baton.
const LIBRARY: [(&str, &str); 17] = scenarios![
    "calm",
    "refused",
    "crash",
    "silent",
    "slow",
    "one-way",
    "even-split",
    "flapping",
    "stalled-disk",
    "full-disk",
    "overload",
    "clock-jump",
    "master",
    "master-silent",
    "master-and-leaf",
    "rolling-restart",
    "blink",
];

/// The scenarios that come with Baton, in the order in which they are shown.
///
/// # Errors
/// Never: a test reads all of them.
pub fn library() -> Result<Vec<Scenario>, ScenarioError> {
    LIBRARY.iter().map(|(name, text)| Scenario::parse(name, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_can_be_read_and_says_what_it_is() {
        for scenario in library().unwrap() {
            assert!(scenario.about.ends_with('.'), "{}: {}", scenario.name, scenario.about);
        }
    }

    #[test]
    fn a_scenario_is_read() {
        let text = "# It dies.\n# It comes back.\n\nfails leaf\nmay fail pair\nat 0s kill leaf # now\nat 1500ms start leaf\nuntil 3s\n";
        let scenario = Scenario::parse("dies", text).unwrap();
        assert_eq!(scenario.about, "It dies. It comes back.");
        assert_eq!((scenario.fails, scenario.may_fail), (vec![Who::Leaf], vec![Who::Pair]));
        let (kill, start) = (Act { at: 0, deed: Deed::Kill, who: Who::Leaf }, 1_500 * MS);
        assert_eq!(scenario.acts, [kill, Act { at: start, deed: Deed::Start, who: Who::Leaf }]);
        assert_eq!(scenario.until, 3 * S);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (text, line, what) in [
            ("fails leaf\n", 0, "does not end"),
            ("at 0s kill leef\nuntil 1s", 1, "'leef' is nobody"),
            ("\nat 0s slay leaf\nuntil 1s", 2, "'slay' is no deed"),
            ("at 0s slow leaf\nuntil 1s", 1, "needs a time"),
            ("at 0s kill leaf 3s\nuntil 1s", 1, "takes no time"),
            ("at 0s stall leaf 11s\nuntil 20s", 1, "takes 10 s at most"),
            ("at 5s kill leaf\nat 4s start leaf\nuntil 9s", 2, "do not go back"),
            ("at 5s kill leaf\nuntil 4s", 2, "before its last deed"),
            ("until 4 s", 1, "is none of"),
            ("until 2h", 1, "is no time"),
            ("until 99999999999999999999s", 1, "is no time"),
            ("until 18446744073709551615s", 1, "is no time"),
            ("until 1s\nat 2s kill leaf", 2, "nothing comes after"),
        ] {
            let error = Scenario::parse("x", text).unwrap_err();
            assert_eq!((error.line, error.what.contains(what)), (line, true), "{text}: {error}");
        }
    }
}
