//! The report of a repair: what each file kept and lost.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::TimeRange;
use tsmith_tsm::CorruptKey;

use crate::clock::rfc3339_text;
use crate::exit::{Failure, Result};
use crate::output::{Out, count};
use crate::place::{NoLog, Skipped};
use crate::problem::Problem;

/// The result for one file. The text report uses the same words as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// The file ends in a torn tail, which a crash leaves. The next opening of the directory cuts it.
    Torn,
    Repaired,
    /// Corrupt, and a run without `--dry-run` would repair it.
    Corrupt,
    /// Corrupt, and cannot be repaired. The file is unchanged.
    Unrepaired,
    /// Not corrupt, but this build lacks a part that the file needs. The file is unchanged.
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Torn => "torn",
            Self::Repaired => "repaired",
            Self::Corrupt => "corrupt",
            Self::Unrepaired => "unrepaired",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) dry_run: bool,
    /// The number of files that are neither ok nor torn.
    pub(super) problems: u64,
    pub(super) files: Vec<File>,
    pub(super) skipped: Vec<Skipped>,
    /// Directories whose log was not found. Only their other files are repaired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) no_log: Vec<NoLog>,
}

impl Report {
    /// The number of files of each state, as in `3 files: 2 ok, 1 torn`.
    pub(super) fn totals(&self) -> String {
        let states =
            [State::Ok, State::Torn, State::Corrupt, State::Repaired, State::Unrepaired, State::Unknown];
        let totals = states.into_iter().filter_map(|state| {
            let number = self.files.iter().filter(|file| file.state == state).count();
            (number > 0).then(|| format!("{number} {}", state.word()))
        });
        let totals = totals.collect::<Vec<_>>().join(", ");
        let files = count(self.files.len(), "file");
        if totals.is_empty() { files } else { format!("{files}: {totals}") }
    }
}

/// One file.
#[derive(Debug, Serialize)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) kind: &'static str,
    pub(super) state: State,
    pub(super) kept: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) dropped: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quarantined: Option<String>,
    /// The file with the valid blocks of a quarantined file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rescued: Option<String>,
    /// The corruption in header, footer or index of a TSM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<Index>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<Key>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) gaps: Vec<Gap>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) refused: Vec<Refused>,
    /// Where `--cut` cuts an etcd log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<Cut>,
    /// Remarks on what is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The operating system refused to read or write it.
    #[serde(skip)]
    pub(super) is_unread: bool,
}

/// The part of an etcd log that is cut off.
#[derive(Debug, Serialize)]
pub(super) struct Cut {
    pub(super) segment: String,
    pub(super) offset: u64,
    /// The first lost record, counted from 1 in the segment.
    pub(super) record: u64,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_entry: Option<u64>,
}

/// A corrupt header, footer or index.
#[derive(Debug, Serialize)]
pub(super) struct Index {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    pub(super) reason: String,
    /// Bytes of blocks whose index entry cannot be read.
    pub(super) orphan_bytes: u64,
}

/// One key of a TSM file with corrupt blocks or index entries.
#[derive(Debug, Serialize)]
pub(super) struct Key {
    #[serde(rename = "key")]
    pub(super) name: String,
    pub(super) kept_blocks: u64,
    pub(super) kept_values: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept_min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept_max: Option<i64>,
    pub(super) dropped: Vec<Block>,
    /// Valid blocks whose index entry is rebuilt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rebuilt: Vec<Block>,
}

#[derive(Debug, Serialize)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) reason: String,
}

/// A part of a log or tombstone file that cannot be read.
#[derive(Debug, Serialize)]
pub(super) struct Gap {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) reason: String,
}

/// A record of a log that passes its checks but cannot be replayed.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) offset: u64,
    /// Whether the other part of the record is kept.
    pub(super) partial: bool,
    pub(super) reason: String,
}

impl Key {
    pub(super) fn of(key: &CorruptKey) -> Self {
        let block = |bad: &tsmith_tsm::BadBlock| Block {
            offset: bad.entry.offset,
            min: bad.entry.range.min,
            max: bad.entry.range.max,
            reason: bad.error.kind().to_string(),
        };
        Self {
            name: to_text(&key.key).into_owned(),
            kept_blocks: key.kept_blocks,
            kept_values: key.kept_values,
            kept_min: key.kept_range.map(|range| range.min),
            kept_max: key.kept_range.map(|range| range.max),
            dropped: key.dropped.iter().map(block).collect(),
            rebuilt: key.repaired.iter().map(block).collect(),
        }
    }
}

impl File {
    pub(super) fn new(path: &Path, kind: &'static str, state: State) -> Self {
        let path = path.display().to_string();
        let (kept, dropped) = (String::new(), String::new());
        Self {
            path,
            kind,
            state,
            kept,
            dropped,
            quarantined: None,
            rescued: None,
            index: None,
            keys: Vec::new(),
            gaps: Vec::new(),
            refused: Vec::new(),
            cut: None,
            notes: Vec::new(),
            error: None,
            is_unread: false,
        }
    }

    /// A file that could not be repaired, and why.
    pub(super) fn failed(path: &Path, kind: &'static str, why: &Failure) -> Self {
        let file = Self::new(path, kind, State::Unrepaired).because(why.text());
        Self { is_unread: matches!(why, Failure::Io(_)), ..file }
    }

    pub(super) fn because(mut self, reason: &str) -> Self {
        self.error = Some(reason.to_owned());
        self
    }

    /// Whether the file has a torn tail that the repair did not cut.
    fn is_cut_later(&self) -> bool {
        self.state == State::Torn && self.quarantined.is_none()
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let written = self.put(out.text());
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.spill()
    }

    fn put(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        write!(text, "{} {}", self.state.word(), printable(&self.path))?;
        if !self.kept.is_empty() {
            let kept = if self.state == State::Ok { "" } else { "kept " };
            write!(text, ": {kept}{}", self.kept)?;
        }
        if !self.dropped.is_empty() {
            let dropped = if self.is_cut_later() { "" } else { "dropped " };
            let separator = if self.kept.is_empty() { ':' } else { ';' };
            write!(text, "{separator} {dropped}{}", self.dropped)?;
        }
        if let Some(error) = &self.error {
            // The line begins with the path already.
            let error = error.strip_prefix(&format!("{}: ", self.path)).unwrap_or(error);
            write!(text, ": {}", printable(error))?;
        }
        writeln!(text)?;
        if let Some(Index { offset, reason, .. }) = &self.index {
            writeln!(
                text,
                "  corrupt header, index or footer: {}",
                Problem { offset: *offset, ..Problem::new(reason) }
            )?;
        }
        for key in &self.keys {
            key.put(text)?;
        }
        let gap = match self.state {
            State::Unrepaired => "corrupt",
            State::Torn if self.is_cut_later() => "torn",
            _ => "dropped",
        };
        for Gap { offset, bytes, reason } in &self.gaps {
            match bytes {
                0 => writeln!(text, "  {reason}")?,
                &bytes => {
                    let problem = Problem::at(*offset, format!("{}: {reason}", count(bytes, "byte")));
                    writeln!(text, "  {gap} {problem}")?;
                }
            }
        }
        for Refused { offset, partial, reason } in &self.refused {
            let what = if *partial { "part of the record" } else { "the record" };
            writeln!(text, "  {gap} {}", Problem::at(*offset, format!("{what}: {}", printable(reason))))?;
        }
        if let Some(rescued) = &self.rescued {
            let are = if self.state == State::Corrupt { "would go to" } else { "are in" };
            writeln!(text, "  the kept blocks {are} {}", printable(rescued))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(text, "  note {note}"))?;
        match &self.quarantined {
            Some(path) if self.state == State::Corrupt => writeln!(text, "  the original would go to {path}"),
            Some(path) => writeln!(text, "  the original is in {path}"),
            None => Ok(()),
        }
    }
}

impl Key {
    fn put(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        let name = printable(&self.name);
        write!(
            text,
            "  {name}: kept {}, {}",
            count(self.kept_blocks, "block"),
            count(self.kept_values, "value")
        )?;
        if let (Some(min), Some(max)) = (self.kept_min, self.kept_max) {
            write!(text, ", {}", times(TimeRange::new(min, max)))?;
        }
        writeln!(text)?;
        for (what, blocks) in [("dropped", &self.dropped), ("rebuilt", &self.rebuilt)] {
            for Block { offset, min, max, reason } in blocks {
                let times = times(TimeRange::new(*min, *max));
                writeln!(text, "    {what} {}", Problem::at(*offset, format!("{times}: {reason}")))?;
            }
        }
        Ok(())
    }
}

fn times(range: TimeRange) -> String {
    format!("{} to {}", rfc3339_text(range.min), rfc3339_text(range.max))
}
