//! The cluster as its `SHOW` statements tell of it.

use anyhow::{Context, Result};

use crate::client::{Client, Record};
use crate::moment::Moment;

/// An instance of a partition, as `SHOW PARTITIONS EXTENDED` tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// The partition's number within its database.
    pub ordinal: u64,
    /// The id of its leaf.
    pub node: u64,
    /// `Master` or `Replica`.
    pub role: String,
    /// `async`, `ready` or `sync`; of a replica only.
    pub sync_state: Option<String>,
    /// Whether its leaf is online, and it can be used.
    pub usable: bool,
}

impl Instance {
    /// Whether it is the primary, usable or not.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.role == "Master"
    }

    /// Whether it is a primary that can be used.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.is_primary() && self.usable
    }

    /// Whether it is a replica that may be promoted.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.role == "Replica" && self.usable && self.sync_state.as_deref() == Some("sync")
    }
}

/// What happened, as `SHOW EVENTS` tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Goes up by one with every event.
    pub id: u64,
    /// When, by the master aggregator's clock.
    pub at: Moment,
    /// `NODE_OFFLINE`, `PARTITION_PROMOTED`, …
    pub kind: String,
    /// What happened, for people.
    pub details: String,
}

/// A verdict that was acted on, as `SHOW POLICY DECISIONS` tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// When, by the deciding node's clock.
    pub at: Moment,
    /// `detection`, `election`, `promotion`, `degrade`.
    pub point: String,
    /// What it was about.
    pub subject: String,
    /// The verdict.
    pub verdict: String,
    /// The policy's reason.
    pub reason: String,
    /// The name of the module.
    pub policy: String,
    /// Why the bound module did not decide; empty if it did.
    pub fallback: String,
    /// What the policy was shown, as JSON; empty if it is not told.
    pub input: String,
}

impl Client {
    /// `host:port` of the master aggregator, in the opinion of this node.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn master(&mut self) -> Result<Option<String>> {
        let rows = self.rows("SHOW AGGREGATORS").await?;
        let master = rows.iter().find(|row| row.text("Master_Aggregator").as_deref() == Some("1"));
        master.map(address_of).transpose()
    }

    /// `host:port` and state of every leaf.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn leaf_states(&mut self) -> Result<Vec<(String, String)>> {
        let rows = self.rows("SHOW LEAVES").await?;
        rows.iter().map(|row| Ok((address_of(row)?, row.required("State")?.to_lowercase()))).collect()
    }

    /// Every instance of every partition of a database.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn instances(&mut self, database: &str) -> Result<Vec<Instance>> {
        let rows = self.rows(&format!("SHOW PARTITIONS EXTENDED ON {database}")).await?;
        rows.iter()
            .map(|row| {
                Ok(Instance {
                    ordinal: row.number("Ordinal")?,
                    node: row.number("Node_Id")?,
                    role: row.required("Role")?,
                    sync_state: row.text("Sync_State"),
                    usable: row.text("Host").is_some(),
                })
            })
            .collect()
    }

    /// The events after a moment, oldest first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn events_since(&mut self, from: Moment) -> Result<Vec<Event>> {
        let rows = self.rows("SHOW EVENTS").await?;
        let mut events = rows
            .iter()
            .map(|row| {
                Ok(Event {
                    id: row.number("EVENT_ID")?,
                    at: moment_of(&row.required("EVENT_TIME")?)?,
                    kind: row.required("EVENT_TYPE")?,

                    details: row.text("DETAILS").unwrap_or_default(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        // Time stamps have whole milliseconds.
        events.retain(|event| event.at + std::time::Duration::from_millis(1) > from);
        events.sort_by_key(|event| event.id);
        Ok(events)
    }

    /// The decisions after a moment, oldest first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn decisions_since(&mut self, from: Moment) -> Result<Vec<Decision>> {
        let rows = self.rows("SHOW POLICY DECISIONS").await?;
        let mut decisions = rows
            .iter()
            .map(|row| {
                Ok(Decision {
                    at: moment_of(&row.required("DECISION_TIME")?)?,
                    point: row.required("DECISION_POINT")?,
                    subject: row.text("SUBJECT").unwrap_or_default(),
                    verdict: row.text("VERDICT").unwrap_or_default(),
                    reason: row.text("REASON").unwrap_or_default(),
                    policy: row.text("POLICY").unwrap_or_default(),
                    fallback: row.text("FALLBACK").unwrap_or_default(),
                    input: row.text("INPUT").unwrap_or_default(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        decisions.retain(|decision| decision.at + std::time::Duration::from_millis(1) > from);
        decisions.sort_by_key(|decision| decision.at);
        Ok(decisions)
    }
}

fn address_of(row: &Record) -> Result<String> {
    Ok(format!("{}:{}", row.required("Host")?, row.required("Port")?))
}

/// Reads `2026-01-02 03:04:05.678`, which is UTC.
fn moment_of(text: &str) -> Result<Moment> {
    let numbers: Vec<u64> = text
        .split(['-', ' ', ':', 'T', '.'])
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("no time stamp: {text}"))?;
    let [year, month, day, hour, minute, second, ref fraction @ ..] = numbers[..] else {
        anyhow::bail!("no time stamp: {text}");
    };
    let digits = text.rsplit_once('.').map_or(0, |(_, digits)| digits.len() as u32);
    let ms = match fraction {
        [] => 0,
        [fraction, ..] => fraction * 1000 / 10_u64.pow(digits.min(18)),
    };
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Ok(Moment::from_unix_ms(seconds * 1000 + ms))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, not before it.
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.)
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_are_read_to_the_millisecond() {
        for (text, ms) in [
            ("1970-01-01 00:00:00", 0),
            ("2000-03-01 00:00:00.5", 951_868_800_500),
            ("2024-02-29 12:34:56.789000", 1_709_210_096_789),
        ] {
            assert_eq!(moment_of(text).expect("it is one"), Moment::from_unix_ms(ms), "{text}");
        }
        assert!(moment_of("yesterday").is_err());
    }
}
