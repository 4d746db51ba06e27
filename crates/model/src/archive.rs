//! Where a backup is written to or read from, as a statement names it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that nobody but its addressee may see. It travels, and it does not print.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// This text, from now on a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A place for backups. Each backup is a folder in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ArchivePlace {
    /// A folder, by its absolute path, which is the same one on every node.
    Folder(String),
    /// A bucket of S3, or of what speaks like it.
    S3 {
        /// `bucket/path`.
        path: String,
        /// A JSON object: `region`, `endpoint_url`.
        config: String,
        /// A JSON object: `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`.
        credentials: Secret,
    },
}

/// Without what is secret, or might be.
impl fmt::Display for ArchivePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "'{path}'"),
            Self::S3 { path, .. } => write!(f, "S3 '{path}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let credentials = Secret::new(r#"{"aws_secret_access_key": "hush"}"#);
        let place = ArchivePlace::S3 { path: "bucket/db".into(), config: "{}".into(), credentials };
        assert!(!format!("{place} {place:?} {place:#?}").contains("hush"));
        assert_eq!(place.to_string(), "S3 'bucket/db'");
    }
}
