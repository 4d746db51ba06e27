//! A setting that is a list of voters: `2,3`.
//!
//! Not here: whether they are voters. Settings are checked when they are bound, and who votes may change later.

use baton_policy_sdk::{SettingDoc, Settings};

/// More names than any control group has voters are a mistake.
const VOTERS_MAX: usize = 16;

/// A setting that is a list of node ids: declared once, documented, checked and read from that declaration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VotersSetting {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

impl VotersSetting {
    /// The nodes named, by id; none if nothing is set, or what is set is no such list.
    pub fn read(&self, settings: &Settings) -> Vec<u64> {
        settings.get(self.name).and_then(|text| parse(text).ok()).unwrap_or_default()
    }

    /// Whether what is set, if anything, is such a list.
    ///
    /// # Errors
    /// A sentence for the operator who set it.
    pub fn check(&self, settings: &Settings) -> Result<(), String> {
        let Some(text) = settings.get(self.name) else { return Ok(()) };
        match parse(text) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!(
                "{} = '{text}' {why}; it takes ids as SHOW AGGREGATORS has them, such as '2,3'",
                self.name
            )),
        }
    }

    /// Its line in the manifest.
    pub fn doc(&self) -> SettingDoc {
        SettingDoc { name: self.name.to_owned(), default: String::new(), doc: self.doc.to_owned() }
    }
}

/// Ids between commas, each with or without the `n` that reasons write before them. Nothing at all is no voter.
fn parse(text: &str) -> Result<Vec<u64>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut voters = Vec::new();
    for word in text.split(',').map(str::trim) {
        let id = parse_id(word).ok_or_else(|| format!("names '{word}', which is no node"))?;
        if voters.contains(&id) {
            return Err(format!("names n{id} twice"));
        }
        voters.push(id);
    }
    if voters.len() > VOTERS_MAX {
        return Err(format!("names {} nodes, more than {VOTERS_MAX}", voters.len()));
    }
    voters.sort_unstable();
    Ok(voters)
}

/// Ids begin at 1.
fn parse_id(word: &str) -> Option<u64> {
    let digits = word.strip_prefix('n').unwrap_or(word);
    // `parse` would take a sign, too.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|id| plain && *id > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTERS: VotersSetting = VotersSetting { name: "voters", doc: "Voters." };

    fn set(text: &str) -> Settings {
        Settings::from([("voters".to_owned(), text.to_owned())])
    }

    #[test]
    fn a_list_is_read_as_it_is_meant() {
        assert!(VOTERS.read(&Settings::new()).is_empty());
        assert_eq!(VOTERS.check(&Settings::new()), Ok(()));
        for (text, voters) in [
            ("", &[][..]),
            ("  ", &[]),
            ("2", &[2]),
            ("n2", &[2]),
            ("3,2", &[2, 3]),
            (" n2 , 3 ", &[2, 3]),
            ("007", &[7]),
            ("18446744073709551615", &[u64::MAX]),
            (
                "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
                &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            ),
        ] {
            assert_eq!(VOTERS.check(&set(text)), Ok(()), "{text}");
            assert_eq!(VOTERS.read(&set(text)), voters, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_by_name_and_never_used() {
        for (text, why) in [
            ("x", "names 'x', which is no node"),
            ("2,", "names '', which is no node"),
            (",", "names '', which is no node"),
            ("2 3", "names '2 3', which is no node"),
            ("2;3", "names '2;3', which is no node"),
            ("0", "names '0', which is no node"),
            ("n", "names 'n', which is no node"),
            ("nn2", "names 'nn2', which is no node"),
            ("+2", "names '+2', which is no node"),
            ("-2", "names '-2', which is no node"),
            ("2.5", "names '2.5', which is no node"),
            ("٢", "names '٢', which is no node"),
            ("18446744073709551616", "names '18446744073709551616', which is no node"),
            ("2,n2", "names n2 twice"),
            ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "names 17 nodes, more than 16"),
        ] {
            let said =
                format!("voters = '{text}' {why}; it takes ids as SHOW AGGREGATORS has them, such as '2,3'");
            assert_eq!(VOTERS.check(&set(text)), Err(said));
            assert!(VOTERS.read(&set(text)).is_empty(), "{text}");
        }
    }
}
