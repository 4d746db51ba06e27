//! What an operator can tell a policy: names and values, as text.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The settings of a binding, by name. A setting that is not there has its default.
pub type Settings = BTreeMap<String, String>;

/// One setting that a policy understands, as its manifest lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SettingDoc {
    /// Its name: lower case words joined by `_`, the unit last.
    pub name: String,
    /// The value it has when it is not set.
    pub default: String,
    /// What it does, in one sentence.
    pub doc: String,
}

/// A setting that is a whole number: declared once, documented, checked and read from that declaration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberSetting {
    /// Its name.
    pub name: &'static str,
    /// The value it has when it is not set, and when what is set is no number in the range.
    pub default: u32,
    /// The values it can take.
    pub range: RangeInclusive<u32>,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

impl NumberSetting {
    fn parse(&self, text: &str) -> Option<u32> {
        text.trim().parse().ok().filter(|value| self.range.contains(value))
    }

    /// The value to use.
    #[must_use]
    pub fn read(&self, settings: &Settings) -> u32 {
        settings.get(self.name).and_then(|text| self.parse(text)).unwrap_or(self.default)
    }

    /// Whether what is set, if anything, is a number in the range.
    ///
    /// # Errors
    /// A sentence for the operator who set it.
    pub fn check(&self, settings: &Settings) -> Result<(), String> {
        match settings.get(self.name) {
            Some(text) if self.parse(text).is_none() => Err(format!(
                "{} = '{text}' is not a whole number from {} to {}",
                self.name,
                self.range.start(),
                self.range.end()
            )),
            _ => Ok(()),
        }
    }

    /// Its line in the manifest.
    #[must_use]
    pub fn doc(&self) -> SettingDoc {
        SettingDoc { name: self.name.to_owned(), default: self.default.to_string(), doc: self.doc.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: NumberSetting = NumberSetting { name: "limit", default: 7, range: 1..=9, doc: "A limit." };

    #[test]
    fn a_bad_value_is_reported_and_never_used() {
        for (text, value, good) in [("3", 3, true), (" 9 ", 9, true), ("0", 7, false), ("x", 7, false)] {
            let settings = Settings::from([("limit".to_owned(), text.to_owned())]);
            assert_eq!((LIMIT.read(&settings), LIMIT.check(&settings).is_ok()), (value, good), "{text}");
        }
        assert_eq!(LIMIT.read(&Settings::new()), 7);
    }
}
