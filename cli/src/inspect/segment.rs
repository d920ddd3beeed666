//! Segments of a log: marks, frames and what is in them.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_wal::entry::{self, Entry};
use tsmith_wal::fs::OsFs;
use tsmith_wal::native::{HEAD_BYTES, RECORD_BYTES};
use tsmith_wal::segment::{FRAME_HEADER_BYTES, Scan, Stop, Unit, Verdict};
use tsmith_wal::{GapKind, Record, RecordKind, ReplayMode, SEGMENT_FILE_BYTES_MAX, Unverified, following};

use crate::clock::rfc3339_text;
use crate::exit::{Failure, Result};
use crate::output::Out;
use crate::problem::Problem;
use crate::read;

/// What a segment holds.
#[derive(Serialize)]
pub(super) struct Content {
    bytes: u64,
    /// Without the zeros at the end.
    used_bytes: u64,
    units: Vec<Shown>,
    /// Why reading ended before the last byte that is not zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
    /// Whether that is what a crash leaves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    torn: bool,
    /// From here on no checksum covers the records: influxd accepted them after a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    unverified: Option<Problem>,
}

#[derive(Serialize)]
#[serde(tag = "unit", rename_all = "lowercase")]
enum Shown {
    Mark { offset: u64, durable: u32, length: u32 },
    Frame(Frame),
}

#[derive(Serialize)]
struct Frame {
    offset: u64,
    /// write, delete or delete-range.
    record: &'static str,
    compressed_bytes: u64,
    payload_bytes: u64,
    keys: Vec<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
struct Key {
    #[serde(rename = "key")]
    name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    field_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// Reads a file.
pub(super) fn inspect(path: &Path) -> Result<Content> {
    if path.extension().is_some_and(|extension| extension == "tlog") {
        return inspect_native(path);
    }
    let (bytes, len) =
        read::segment(path, SEGMENT_FILE_BYTES_MAX).map_err(|error| Failure::io(path, &error))?;
    let number = number(path);
    let mut scan = Scan::new(number, &bytes);
    let used_bytes = scan.used_len();
    let mut content = Content::new(len, used_bytes);
    // A scan that was stopped gives the same again; its last good place is where the next unit would begin.
    let mut at = 0;
    loop {
        match scan.next() {
            Ok(None) => return Ok(content),
            Ok(Some(Unit::Mark(mark))) => {
                content.units.push(Shown::Mark { offset: at, durable: mark.durable, length: mark.len });
                at += tsmith_wal::segment::MARK_BYTES as u64;
            }
            Ok(Some(Unit::Frame { record, offset, end })) => {
                content.units.push(Shown::Frame(frame(
                    record,
                    offset,
                    end - offset - FRAME_HEADER_BYTES as u64,
                )));
                at = end;
            }
            Err(Stop::Refused(error)) => {
                content.error = Some(Problem::from(&error));
                return Ok(content);
            }
            Err(Stop::Invalid(invalid)) => {
                let later = following(&OsFs, path).map_err(|error| Failure::Io(error.to_string()))?;
                match scan.judge(invalid, later) {
                    Verdict::End => return Ok(content),
                    Verdict::Accepted { records } => {
                        content.unverified = unverified(path, invalid.offset, records);
                        continue;
                    }
                    Verdict::TornTail => content.torn = true,
                    Verdict::Corruption => {}
                }
                content.error = Some(Problem::at(invalid.offset, invalid.found));
                return Ok(content);
            }
        }
    }
}

/// Reads a segment of the log `native`.
fn inspect_native(path: &Path) -> Result<Content> {
    let (_, bytes) =
        read::segment(path, SEGMENT_FILE_BYTES_MAX).map_err(|error| Failure::io(path, &error))?;
    let mut content = Content::new(bytes, bytes);
    let mut offset = HEAD_BYTES as u64;
    let replayed = tsmith_wal::replay_segment(&OsFs, path, ReplayMode::InfluxDb, |at, record| {
        let end = at.0 & u64::from(u32::MAX);
        content.units.push(Shown::Frame(frame(record, offset, end - offset - RECORD_BYTES as u64)));
        offset = end;
        Ok(())
    });
    match replayed {
        Ok(recovery) => {
            if let Some(gap) = recovery.gaps.first() {
                content.torn = gap.kind == GapKind::TornTail;
                content.error = Some(Problem::at(gap.offset, gap.found));
            }
        }
        Err(error) => content.error = Some(Problem::from(&error)),
    }
    Ok(content)
}

/// The number in a segment's name; our marks hold it too. Copies may be named `x_00002.wal`.
pub(crate) fn number(path: &Path) -> u32 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.rsplit('_').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn frame(record: Record<'_>, offset: u64, compressed_bytes: u64) -> Frame {
    let mut frame = Frame {
        offset,
        record: match record.kind {
            RecordKind::Write => "write",
            RecordKind::Delete => "delete",
            RecordKind::DeleteRange => "delete-range",
        },
        compressed_bytes,
        payload_bytes: record.payload.len() as u64,
        keys: Vec::new(),
        min: None,
        max: None,
        error: None,
    };
    let named = |key: tsmith_engine::FieldKey<'_>| Key {
        name: to_text(&key.to_composite()).into_owned(),
        field_type: None,
        count: None,
    };
    match entry::decode(record.kind, record.payload) {
        Ok(Entry::Write(batch)) => {
            frame.keys = batch
                .columns()
                .map(|(key, column)| Key {
                    field_type: Some(column.field_type().name()),
                    count: Some(column.len() as u64),
                    ..named(key)
                })
                .collect();
            let times = || batch.columns().flat_map(|(_, column)| column.times().iter().copied());
            (frame.min, frame.max) = (times().min(), times().max());
        }
        Ok(Entry::Delete(keys)) => frame.keys = keys.into_iter().map(named).collect(),
        Ok(Entry::DeleteRange { range, keys }) => {
            frame.keys = keys.into_iter().map(named).collect();
            (frame.min, frame.max) = (Some(range.min), Some(range.max));
        }
        Err(error) => frame.error = Some(Problem::at(offset, format!("payload: {error}"))),
    }
    frame
}

/// The note about records that influxd accepted.
pub(crate) fn unverified(path: &Path, offset: u64, records: u64) -> Option<Problem> {
    let found = Unverified { path: path.to_owned(), offset, records };
    (records > 0).then(|| Problem::at(offset, found.reason()))
}

impl Content {
    fn new(bytes: u64, used_bytes: u64) -> Self {
        Self { bytes, used_bytes, units: Vec::new(), error: None, torn: false, unverified: None }
    }

    pub(super) fn is_corrupt(&self) -> bool {
        let bad_frame = |unit: &Shown| matches!(unit, Shown::Frame(Frame { error: Some(_), .. }));
        self.error.is_some() && !self.torn || self.units.iter().any(bad_frame)
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let frames = self.units.iter().filter(|unit| matches!(unit, Shown::Frame(_))).count();
        let marks = self.units.len() - frames;
        let Self { bytes, used_bytes, .. } = self;
        let written = writeln!(
            out.text(),
            "  segment, {bytes} bytes, {used_bytes} used, {frames} frames, {marks} marks"
        );
        debug_assert!(written.is_ok(), "vectors take all");
        for unit in &self.units {
            let written = match unit {
                Shown::Mark { offset: 0, durable, length: 0 } => {
                    let before = durable.checked_sub(1).filter(|&before| before > 0);
                    let before =
                        before.map_or_else(String::new, |before| format!(", after segment {before}"));
                    writeln!(out.text(), "    offset         0  mark: the segment begins{before}")
                }
                Shown::Mark { offset, durable, length } => {
                    writeln!(
                        out.text(),
                        "    offset {offset:>9}  mark: durable below {durable}, group of {length} bytes"
                    )
                }
                Shown::Frame(frame) => frame.print(out.text()),
            };
            debug_assert!(written.is_ok(), "vectors take all");
            out.spill()?;
        }
        if let Some(unverified) = &self.unverified {
            let written = writeln!(out.text(), "  note {unverified}");
            debug_assert!(written.is_ok(), "vectors take all");
        }
        if let Some(error) = &self.error {
            let what = if self.torn { "torn, as a crash leaves it:" } else { "ERROR" };
            let written = writeln!(out.text(), "  {what} {error}");
            debug_assert!(written.is_ok(), "vectors take all");
        }
        Ok(())
    }
}

impl Frame {
    fn print(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        let Self { offset, record, compressed_bytes, payload_bytes, keys, .. } = self;
        let count: u64 = keys.iter().filter_map(|key| key.count).sum();
        write!(
            text,
            "    offset {offset:>9}  {record}: {compressed_bytes} of {payload_bytes} bytes, {} keys",
            keys.len()
        )?;
        if *record == "write" {
            write!(text, ", {count} values")?;
        }
        if let (Some(min), Some(max)) = (self.min, self.max) {
            write!(text, ", {} to {}", rfc3339_text(min), rfc3339_text(max))?;
        }
        writeln!(text)?;
        for key in keys {
            write!(text, "      {}", printable(&key.name))?;
            if let (Some(field_type), Some(count)) = (key.field_type, key.count) {
                write!(text, " ({field_type}, {count})")?;
            }
            writeln!(text)?;
        }
        if let Some(error) = &self.error {
            writeln!(text, "    ERROR {error}")?;
        }
        Ok(())
    }
}
