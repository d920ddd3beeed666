//! What is wrong with a file, and where: for reports of `inspect` and `verify`.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flaw {
    /// The byte of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    /// The composite key it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) reason: String,
}

impl Flaw {
    /// At this byte.
    pub(crate) fn at(offset: u64, reason: impl fmt::Display) -> Self {
        Self { offset: Some(offset), key: None, reason: reason.to_string() }
    }
}

impl From<&tsmith_tsm::Error> for Flaw {
    fn from(error: &tsmith_tsm::Error) -> Self {
        let key = error.key().map(|key| String::from_utf8_lossy(key).into_owned());
        Self { offset: error.offset(), key, reason: error.kind().to_string() }
    }
}

impl From<&tsmith_wal::Error> for Flaw {
    fn from(error: &tsmith_wal::Error) -> Self {
        Self { offset: error.offset(), key: None, reason: error.kind().to_string() }
    }
}

/// `offset 5: cpu#!~#v: reason`.
impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset {
            write!(f, "offset {offset}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)
    }
}
