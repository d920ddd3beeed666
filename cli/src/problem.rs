//! A problem of a file and its place, for the reports of `inspect` and `verify`.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::{Error, Parts, Registry};
use tsmith_wal::fs::TooLong;
use tsmith_wal::{ErrorKind, GapKind, Recovery};

use crate::advice::log_corruption;
use crate::exit::{Outcome, complain};

/// One problem.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Problem {
    /// The segment, if the report is about an entire log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<String>,
    /// The offset in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    /// The composite key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) reason: String,
    /// The operating system refused to read it.
    #[serde(skip)]
    pub(crate) is_unread: bool,
}

impl Problem {
    /// A problem at this offset.
    pub(crate) fn at(offset: u64, reason: impl fmt::Display) -> Self {
        Self { offset: Some(offset), ..Self::new(reason) }
    }

    /// A problem of an entire file.
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), ..Self::default() }
    }

    /// An error of the operating system when reading the file.
    pub(crate) fn io(error: &io::Error) -> Self {
        Self { is_unread: TooLong::of(error).is_none(), ..Self::new(error) }
    }

    /// An error of the engine about a file.
    pub(crate) fn of_engine(error: &Error) -> Self {
        Self { is_unread: error.is_io(), ..Self::new(error.detail()) }
    }

    /// Adds the segment of the log.
    pub(crate) fn in_segment(mut self, path: &Path) -> Self {
        self.segment = path.file_name().map(|name| name.to_string_lossy().into_owned());
        self
    }
}

impl From<&tsmith_tsm::Error> for Problem {
    fn from(error: &tsmith_tsm::Error) -> Self {
        let key = error.key().map(|key| to_text(key).into_owned());
        Self { offset: error.offset(), key, ..Self::new(error.kind()) }
    }
}

impl From<&tsmith_wal::Error> for Problem {
    fn from(error: &tsmith_wal::Error) -> Self {
        let reason = log_corruption(error).unwrap_or(error.kind().to_string());
        let is_unread = matches!(error.kind(), ErrorKind::Io { .. });
        Self { offset: error.offset(), is_unread, ..Self::new(reason) }
    }
}

/// The error that names all parts of a manifest that this build does not have, if there are any.
pub(crate) fn missing_parts(parts: &Parts, registry: &Registry) -> Option<String> {
    let named = |error: &Error| match error.kind() {
        tsmith_engine::ErrorKind::UnknownPart { part, asked, .. } => format!("the {part} `{asked}`"),
        other => other.to_string(),
    };
    let missing: Vec<_> = registry.missing(parts).iter().map(named).collect();
    if missing.is_empty() {
        return None;
    }
    let them = if missing.len() == 1 { "it" } else { "them" };
    Some(format!("this build does not have {}: use one that has {them}", missing.join(", ")))
}

/// Reports which records of a log were left out when it was opened, and which were read without a checksum. A torn tail or
/// unverified records do not count as problems.
pub(crate) fn report_recovery(recovery: &Recovery) -> Outcome {
    recovery.gaps.iter().for_each(|gap| complain(&gap.to_string()));
    recovery.unverified.iter().for_each(|records| complain(&records.to_string()));
    recovery.refused.iter().for_each(|refused| complain(&refused.to_string()));
    Outcome::of(recovery.gaps.iter().any(|gap| gap.kind != GapKind::TornTail) || !recovery.refused.is_empty())
}

/// `00001.wal: offset 5: cpu#!~#v: reason`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(segment) = &self.segment {
            write!(f, "{segment}: ")?;
        }
        if let Some(offset) = self.offset {
            write!(f, "offset {offset}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{}: ", printable(key))?;
        }
        f.write_str(&printable(&self.reason))
    }
}
