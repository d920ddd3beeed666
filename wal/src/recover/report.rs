//! The report of opening a log.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold records.
    pub segments: u64,
    /// Records given to `replay`.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// What could not be read. At most one torn tail with `RecoveryMode::Strict`.
    pub gaps: Vec<Gap>,
    /// Records that pass their checks and that `replay` refused, with `RecoveryMode::Salvage`; in other modes the first one
    /// is an error.
    pub refused: Vec<NotReplayed>,
    /// Records that were given to `replay` although no checksum covers them, because InfluxDB went on behind them.
    pub unverified: Vec<Unverified>,
}

/// A record that passes its checks and that `replay` refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReplayed {
    /// The segment.
    pub path: PathBuf,
    /// Where it begins in the segment.
    pub offset: u64,
    /// What `replay` said.
    pub reason: String,
}

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, reason } = self;
        write!(
            f,
            "{}: offset {offset}: the record cannot be replayed and is left out: {reason}",
            path.display()
        )
    }
}

impl Recovery {
    /// The numbers of the missing records, of all gaps; see [`Gap::missing`].
    pub fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        self.gaps.iter().filter_map(|gap| gap.missing.clone())
    }
}

/// What a gap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// The unfinished last write before a crash. No record of it was acknowledged. Opening the log cuts it off.
    TornTail,
    /// Bytes that were valid once.
    Corruption,
    /// Records are missing between two segments, or before the first: a file is gone, or was emptied or shortened.
    MissingSegment,
}

/// A range of records that recovery could not read. Its `Display` gives all of it in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What it is.
    pub kind: GapKind,
    /// The segment; of a missing segment the one behind it.
    pub path: PathBuf,
    /// The first byte that was left out. After a torn tail the segment ends here now.
    pub offset: u64,
    /// Records of the segment that were replayed before it.
    pub kept_records: u64,
    /// How many bytes were left out, zeros at the end not counted.
    pub dropped_bytes: u64,
    /// Where the replay resumed in the same segment, with `RecoveryMode::Salvage`.
    pub resumed_at: Option<u64>,
    /// The numbers of the missing records, as far as they are known: where a log numbers its records through all segments,
    /// as [`native`](crate::native) and `etcd` do, and goes on behind the gap.
    pub missing: Option<Range<u64>>,
    /// What was found there.
    pub found: &'static str,
}

impl Gap {
    /// What was found there, and the numbers of the records that are missing.
    pub fn reason(&self) -> String {
        let found = self.found;
        match &self.missing {
            Some(missing) if missing.end - missing.start == 1 => format!("{found}: number {}", missing.start),
            Some(missing) => format!("{found}: numbers {} to {}", missing.start, missing.end - 1),
            None => found.to_owned(),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        // A missing segment is at no offset of this one.
        if self.dropped_bytes > 0 {
            write!(f, "offset {}: ", self.offset)?;
        }
        f.write_str(&self.reason())?;
        match (self.dropped_bytes, self.kind, self.resumed_at) {
            (0, ..) => Ok(()),
            (bytes, GapKind::TornTail, _) => write!(f, ": {bytes} bytes torn by a crash"),
            (bytes, _, None) => write!(f, ": {bytes} bytes left out"),
            (bytes, _, Some(at)) => write!(f, ": {bytes} bytes left out, resumed at {at}"),
        }
    }
}

/// Records of a segment that InfluxDB read from an incomplete group of ours, or appended behind it, after a crash. None of
/// them was acknowledged by our log; those that InfluxDB appended were acknowledged by InfluxDB. Opening the log for writing
/// puts them under checksums, so that it reports them once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// The segment.
    pub path: PathBuf,
    /// Where the incomplete group begins.
    pub offset: u64,
    /// How many records follow there.
    pub records: u64,
}

impl Unverified {
    /// What they are, without the place.
    pub fn reason(&self) -> String {
        let records = if self.records == 1 { "record is" } else { "records are" };
        format!(
            "{} {records} unverified, accepted by influxd: a crash left a write incomplete here, and influxd went on behind it",
            self.records
        )
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offset {}: {}", self.path.display(), self.offset, self.reason())
    }
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments that are done.
    pub segments: u64,
    /// Segments in all.
    pub segments_total: u64,
    /// Records so far.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}
