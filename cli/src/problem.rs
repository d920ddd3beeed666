//! What is wrong with a file, and where: for reports of `inspect` and `verify`.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::Error;
use tsmith_wal::fs::TooLong;
use tsmith_wal::{ErrorKind, GapKind, Recovery};

use crate::advice::log_corruption;
use crate::exit::{Outcome, complain};

/// One thing that is wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Problem {
    /// The segment, where a log is reported as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<String>,
    /// The byte of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    /// The composite key it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) reason: String,
    /// The operating system refused to read it.
    #[serde(skip)]
    pub(crate) is_unread: bool,
}

impl Problem {
    /// At this byte.
    pub(crate) fn at(offset: u64, reason: impl fmt::Display) -> Self {
        Self { offset: Some(offset), ..Self::new(reason) }
    }

    /// Of a file as a whole.
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), ..Self::default() }
    }

    /// The answer of the operating system to a read of the file.
    pub(crate) fn io(error: &io::Error) -> Self {
        Self { is_unread: TooLong::of(error).is_none(), ..Self::new(error) }
    }

    /// An error of the engine about a file.
    pub(crate) fn of_engine(error: &Error) -> Self {
        Self { is_unread: error.is_io(), ..Self::new(error.detail()) }
    }

    /// In this file of a log.
    pub(crate) fn in_segment(mut self, path: &Path) -> Self {
        self.segment = path.file_name().map(|name| name.to_string_lossy().into_owned());
        self
    }

    /// What stands between the path of the report and this.
    pub(crate) fn colon(&self) -> &'static str {
        if self.offset.is_some() && self.segment.is_none() { "" } else { ":" }
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

/// Reports what of a log was left out when it was opened, and what was read without a checksum. Neither a torn tail nor
/// unverified records are a problem.
pub(crate) fn report_recovery(recovery: &Recovery) -> Outcome {
    recovery.gaps.iter().for_each(|gap| complain(&gap.to_string()));
    recovery.unverified.iter().for_each(|records| complain(&records.to_string()));
    recovery.refused.iter().for_each(|refused| complain(&refused.to_string()));
    Outcome::of(recovery.gaps.iter().any(|gap| gap.kind != GapKind::TornTail) || !recovery.refused.is_empty())
}

/// `00001.wal offset 5: cpu#!~#v: reason`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.segment {
            Some(segment) if self.offset.is_some() => write!(f, "{segment} ")?,
            Some(segment) => write!(f, "{segment}: ")?,
            None => {}
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
