//! What happened, in the house notation, if anybody wants to know.
//!
//! A line is made only when somebody listens: most worlds are told to nobody.

use std::fmt::Write as _;
use std::io::Write as _;

use baton_catalog::Command;

use crate::kernel::Time;

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Detail {
    /// Nothing.
    #[default]
    Nothing,
    /// What a person wants to know.
    Story,
    /// Every message and every effect.
    Everything,
}

/// The story so far.
#[derive(Debug, Default)]
pub struct Story {
    detail: Detail,
    text: String,
    /// Where it is printed as it happens.
    prints: bool,
}

impl Story {
    /// A story with so much detail, kept or printed at once.
    #[must_use]
    pub fn new(detail: Detail, prints: bool) -> Self {
        Self { detail, text: String::new(), prints }
    }

    /// Whether anything is told.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.detail >= Detail::Story
    }

    /// Whether everything is told.
    #[must_use]
    pub fn details(&self) -> bool {
        self.detail >= Detail::Everything
    }

    /// Tells something.
    pub fn tell(&mut self, now: Time, what: impl FnOnce() -> String) {
        if self.listens() {
            let _ = writeln!(self.text, "{:>4}.{:06} {}", now / 1_000_000, now % 1_000_000, what());
            if self.prints {
                // Whoever listened may have gone.
                let _ = std::io::stdout().write_all(self.text.as_bytes());
                self.text.clear();
            }
        }
    }

    /// Tells something that matters only to whoever looks closely.
    pub fn detail(&mut self, now: Time, what: impl FnOnce() -> String) {
        if self.details() {
            self.tell(now, what);
        }
    }

    /// What was told and not printed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A command, in a few words.
#[must_use]
pub fn command(command: &Command) -> String {
    match command {
        Command::Batch(commands) => commands.iter().map(self::command).collect::<Vec<_>>().join("; "),
        Command::SetSyncState { partition, epoch, version, replica, state, reason } => {
            format!("sets {replica} of {partition} {state} at {epoch} v{version}: {reason}")
        }
        Command::PromoteInstance { partition, epoch, to, reason } => {
            format!("promotes {to} of {partition} after {epoch}: {reason}")
        }
        Command::SetNodeOffline { node, incarnation, reason } => {
            format!("says {node} is offline as {incarnation}: {reason}")
        }
        Command::SetNodeOnline { node, incarnation, store, .. } => {
            format!("says {node} is online as {incarnation} on {store}")
        }
        Command::NotePartitionOffline { partition, reason } => format!("notes {partition} offline: {reason}"),
        other => format!("{other:?}"),
    }
}
