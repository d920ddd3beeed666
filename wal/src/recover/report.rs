//! The report of an opened log.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments with records.
    pub segments: u64,
    /// Records passed to `replay`.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Ranges that could not be read. With `RecoveryMode::Strict`, at most one torn tail.
    pub gaps: Vec<Gap>,
    /// With `RecoveryMode::Salvage`, the valid records that `replay` refused. In other modes the first
    /// refusal is an error.
    pub refused: Vec<NotReplayed>,
    /// Records passed to `replay` although no checksum covers them, because InfluxDB accepted or appended
    /// them.
    pub unverified: Vec<Unverified>,
}

/// A valid record that `replay` refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReplayed {
    /// The segment.
    pub path: PathBuf,
    /// Its offset in the segment.
    pub offset: u64,
    /// The reason that `replay` gave.
    pub reason: String,
}

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, reason } = self;
        write!(
            f,
            "{}: offset {offset}: the record cannot be replayed and is skipped: {reason}",
            path.display()
        )
    }
}

impl Recovery {
    /// The numbers of the missing records of all gaps; see [`Gap::missing`].
    pub fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        self.gaps.iter().filter_map(|gap| gap.missing.clone())
    }
}

/// The kind of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// An unfinished last write before a crash. None of its records was acknowledged. Opening the log cuts it
    /// off.
    TornTail,
    /// Bytes that were valid once.
    Corruption,
    /// Records are missing between two segments, or before the first one: a file was lost, emptied or
    /// shortened.
    MissingSegment,
}

/// A range of records that recovery could not read. `Display` prints all of it in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The kind.
    pub kind: GapKind,
    /// The segment. For a missing segment, the one after it.
    pub path: PathBuf,
    /// The first byte that was skipped. After a torn tail was cut off, the segment ends here.
    pub offset: u64,
    /// Records of the segment replayed before the gap.
    pub kept_records: u64,
    /// Bytes skipped, without trailing zeros.
    pub dropped_bytes: u64,
    /// Where replay resumed in the same segment, with `RecoveryMode::Salvage`.
    pub resumed_at: Option<u64>,
    /// The numbers of the missing records, if known: if the log numbers its records across segments, as
    /// [`native`](crate::native) and `etcd` do, and has records after the gap.
    pub missing: Option<Range<u64>>,
    /// What was found at the offset.
    pub found: &'static str,
}

impl Gap {
    /// What was found, with the numbers of missing records.
    pub fn reason(&self) -> String {
        let found = self.found;
        match &self.missing {
            Some(missing) if missing.end - missing.start == 1 => {
                format!("{found}: lost record {}", missing.start)
            }
            Some(missing) => format!("{found}: lost records {} to {}", missing.start, missing.end - 1),
            None => found.to_owned(),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        // The offset means nothing for a missing segment.
        if self.dropped_bytes > 0 {
            write!(f, "offset {}: ", self.offset)?;
        }
        f.write_str(&self.reason())?;
        let bytes = self.dropped_bytes;
        let unit = if bytes == 1 { "byte" } else { "bytes" };
        match (bytes, self.kind, self.resumed_at) {
            (0, ..) => Ok(()),
            (_, GapKind::TornTail, _) => write!(f, ": torn tail of {bytes} {unit}, left by a crash"),
            (_, _, None) => write!(f, ": skipped {bytes} {unit}"),
            (_, _, Some(at)) => write!(f, ": skipped {bytes} {unit}, continued at offset {at}"),
        }
    }
}

/// Records without checksums after a crash: InfluxDB read them from an incomplete group of ours, or appended
/// them after it. Our log acknowledged none of them; InfluxDB acknowledged those that it appended. Opening
/// the log for writing adds checksums, so it reports them only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// The segment.
    pub path: PathBuf,
    /// The offset of the incomplete group.
    pub offset: u64,
    /// The number of records from there on.
    pub records: u64,
}

impl Unverified {
    /// A description without file and offset.
    pub fn reason(&self) -> String {
        let records = if self.records == 1 { "record is" } else { "records are" };
        format!(
            "{} {records} unverified: a crash left an incomplete write here, and influxd accepted it and appended to it",
            self.records
        )
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offset {}: {}", self.path.display(), self.offset, self.reason())
    }
}

/// Progress of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments done.
    pub segments: u64,
    /// Segments in total.
    pub segments_total: u64,
    /// Records so far.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}
