//! Shows etcd's log and snapshot files.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_wal::etcd::{
    ConfState, Entry, HardState, Message, RawRecord, SEGMENT_BYTES_MAX, SNAPSHOT_BYTES_MAX, SnapshotRecord,
    Tail, is_segment, records,
};

use crate::etcd::{self, AfterEnd};
use crate::exit::{Failure, Result};
use crate::output::{Out, count};
use crate::place::list;
use crate::problem::Problem;
use crate::read;

/// The content of a log.
#[derive(Serialize)]
pub(super) struct Log {
    segments: Vec<Segment>,
    /// The first corruption that a reader reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
    /// Where the last write is incomplete, as a crash leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    torn: Option<Problem>,
    /// Intact records of that write after the end of the log. Opening drops them.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_end: Option<Problem>,
}

#[derive(Serialize)]
struct Segment {
    name: String,
    bytes: u64,
    /// The end of the last record.
    used_bytes: u64,
    records: Vec<Record>,
    /// Why reading stopped there, if it is not the end of the records.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the report")]
struct Record {
    offset: u64,
    record_bytes: u64,
    padding: u8,
    crc: u32,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(tag = "record", rename_all = "lowercase")]
enum Content {
    Crc,
    Metadata { bytes: Option<usize> },
    Entry { entry_type: i32, term: u64, index: u64, bytes: Option<usize> },
    State { term: u64, vote: u64, commit: u64 },
    Snapshot { index: u64, term: u64 },
    Unknown { number: i64 },
}

/// The content of a snapshot file.
#[derive(Serialize)]
pub(super) struct Snapshot {
    bytes: u64,
    #[serde(flatten)]
    found: Option<Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
struct Found {
    index: u64,
    term: u64,
    data_bytes: Option<usize>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    voters_outgoing: Vec<u64>,
    learners_next: Vec<u64>,
    auto_leave: bool,
}

/// Reads all segments of a directory, or a single segment.
pub(super) fn log(path: &Path) -> Result<Log> {
    let mut log = Log { segments: Vec::new(), error: None, torn: None, after_end: None };
    if path.is_dir() {
        for (name, _) in list(path)?.iter().filter(|(name, _)| is_segment(name)) {
            log.segments.push(segment(&path.join(name))?);
        }
    } else if path.exists() {
        log.segments.push(segment(path)?);
    }
    match etcd::check(path) {
        Ok(found) => {
            match etcd::after_end(&found) {
                Some(AfterEnd::Lost(problem)) => log.error = Some(problem),
                Some(AfterEnd::OfLastWrite(problem)) => log.after_end = Some(problem),
                None => {}
            }
            let torn = |at: Tail| Problem::at(at.offset, "an incomplete record").in_segment(&at.path);
            // A crash does not leave corruption, so a corrupt log has no torn tail.
            log.torn = found.tail.filter(|tail| tail.is_torn && log.error.is_none()).map(torn);
        }
        Err(problem) => log.error = Some(problem),
    }
    Ok(log)
}

fn segment(path: &Path) -> Result<Segment> {
    let (bytes, len) = read::segment(path, SEGMENT_BYTES_MAX).map_err(|error| Failure::io(path, &error))?;
    let (mut shown, mut used_bytes, mut error) = (Vec::new(), 0, None);
    for found in records(&bytes) {
        match found.and_then(|raw| Ok((record(&raw)?, raw.end()))) {
            Ok((record, end)) => {
                shown.push(record);
                used_bytes = end;
            }
            // Whether this is a torn tail or corruption depends on what follows, in this segment and others.
            Err(problem) if problem.is_torn() => {
                error = Some(Problem::at(used_bytes, "the record is incomplete"));
            }
            Err(problem) => error = Some(Problem::at(used_bytes, problem)),
        }
        if error.is_some() {
            break;
        }
    }
    Ok(Segment {
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: len,
        used_bytes,
        records: shown,
        error,
    })
}

fn record(raw: &RawRecord<'_>) -> Result<Record, tsmith_wal::etcd::EtcdError> {
    let content = match raw.message()? {
        Message::Metadata(data) => Content::Metadata { bytes: data.map(<[u8]>::len) },
        Message::Entry(Entry { kind, term, index, data }) => {
            Content::Entry { entry_type: kind.0, term, index, bytes: data.map(|data| data.len()) }
        }
        Message::State(HardState { term, vote, commit }) => Content::State { term, vote, commit },
        Message::Checksum => Content::Crc,
        Message::Snapshot(SnapshotRecord { index, term, .. }) => Content::Snapshot { index, term },
        Message::Unknown(number) => Content::Unknown { number },
    };
    let RawRecord { offset, record_bytes, padding, crc, .. } = *raw;
    Ok(Record { offset, record_bytes, padding, crc, content })
}

/// Reads a snapshot file.
pub(super) fn snapshot(path: &Path) -> Result<Snapshot> {
    let bytes = read::within(path, SNAPSHOT_BYTES_MAX).map_err(|error| Failure::io(path, &error))?;
    let (found, error) = match tsmith_wal::etcd::Snapshot::from_file(&bytes) {
        Ok(snapshot) => {
            let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave } =
                snapshot.conf_state;
            let (index, term) = (snapshot.index, snapshot.term);
            let data_bytes = snapshot.data.map(|data| data.len());
            let found = Found {
                index,
                term,
                data_bytes,
                voters,
                learners,
                voters_outgoing,
                learners_next,
                auto_leave,
            };
            (Some(found), None)
        }
        Err(problem) => (None, Some(Problem::new(problem))),
    };
    Ok(Snapshot { bytes: bytes.len() as u64, found, error })
}

impl Log {
    pub(super) fn is_corrupt(&self) -> bool {
        self.error.is_some() || (self.torn.is_none() && self.segments.iter().any(|at| at.error.is_some()))
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let mut written = Ok(());
        for Segment { name, bytes, used_bytes, records, error } in &self.segments {
            let number = count(records.len() as u64, "record");
            written = written
                .and_then(|()| writeln!(out.text(), "  {name}: {bytes} bytes, {used_bytes} used, {number}"));
            for record in records {
                written = written.and_then(|()| record.print(out.text()));
                out.spill()?;
            }
            if let Some(error) = error {
                written = written.and_then(|()| writeln!(out.text(), "    reading stops here: {error}"));
            }
        }
        if let Some(torn) = &self.torn {
            written = written.and_then(|()| writeln!(out.text(), "  torn tail, left by a crash: {torn}"));
        }
        if let Some(after_end) = &self.after_end {
            written = written.and_then(|()| writeln!(out.text(), "  {after_end}"));
        }
        if let Some(error) = &self.error {
            written = written.and_then(|()| writeln!(out.text(), "  ERROR {error}"));
        }
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.spill()
    }
}

impl Record {
    fn print(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        write!(text, "    offset {:>9}  crc {:08x}  ", self.offset, self.crc)?;
        let size = |bytes: &Option<usize>| bytes.map_or("none".to_owned(), |bytes| format!("{bytes} bytes"));
        match &self.content {
            Content::Crc => writeln!(text, "checksum of all previous records"),
            Content::Metadata { bytes } => writeln!(text, "metadata: {}", size(bytes)),
            Content::Entry { entry_type, term, index, bytes } => {
                writeln!(text, "entry {index}: term {term}, type {entry_type}, {}", size(bytes))
            }
            Content::State { term, vote, commit } => {
                writeln!(text, "state: term {term}, vote {vote:x}, commit {commit}")
            }
            Content::Snapshot { index, term } => writeln!(text, "snapshot: index {index}, term {term}"),
            Content::Unknown { number } => writeln!(text, "ERROR unknown kind {number}"),
        }
    }
}

impl Snapshot {
    pub(super) fn is_corrupt(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let bytes = self.bytes;
        let mut written = Ok(());
        if let Some(Found { index, term, data_bytes, voters, learners, .. }) = &self.found {
            let data = data_bytes.unwrap_or(0);
            written = writeln!(
                out.text(),
                "  snapshot, {bytes} bytes: index {index}, term {term}, voters {voters:x?}, learners {learners:x?}, {data} bytes of data"
            );
        }
        if let Some(error) = &self.error {
            written = written.and_then(|()| writeln!(out.text(), "  ERROR {error}"));
        }
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.spill()
    }
}
