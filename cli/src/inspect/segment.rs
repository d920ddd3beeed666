//! Shows segments of a log: group marks and records.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_wal::entry::{self, Entry};
use tsmith_wal::segment::{GroupMark, group_marks};
use tsmith_wal::{GapKind, RecordKind, SEGMENT_FILE_BYTES_MAX, SegmentRecord};

use crate::clock::rfc3339_text;
use crate::exit::{Failure, Result};
use crate::output::{Out, count};
use crate::problem::Problem;
use crate::read;

/// The content of a segment.
#[derive(Serialize)]
pub(super) struct Content {
    bytes: u64,
    /// The length without the zeros at the end.
    used_bytes: u64,
    units: Vec<Shown>,
    /// Why reading stopped before the last byte that is not zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
    /// Whether the error is only the torn tail that a crash leaves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    torn: bool,
    /// Where the records begin that influxd accepted after a crash. No checksum covers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    unverified: Option<Problem>,
}

#[derive(Serialize)]
#[serde(tag = "unit", rename_all = "lowercase")]
enum Shown {
    Mark { offset: u64, durable: u32, length: u32 },
    Record(Record),
}

#[derive(Serialize)]
struct Record {
    offset: u64,
    /// write, delete or delete-range.
    kind: &'static str,
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
    let (bytes, len) =
        read::segment(path, SEGMENT_FILE_BYTES_MAX).map_err(|error| Failure::io(path, &error))?;
    let used_bytes = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
    let mut content = Content::new(len, used_bytes);
    let mut at = 0;
    let replayed = read::records(path, |found| {
        content.add_marks(&bytes, at..found.offset);
        content.units.push(Shown::Record(shown(found)));
        at = found.end;
        Ok(())
    });
    match replayed {
        Ok(recovery) => {
            let gap = recovery.gaps.first();
            content.add_marks(&bytes, at..gap.map_or(bytes.len() as u64, |gap| gap.offset));
            content.torn = gap.is_some_and(|gap| gap.kind == GapKind::TornTail);
            content.error = gap.map(|gap| Problem::at(gap.offset, gap.found));
            content.unverified =
                recovery.unverified.first().map(|found| Problem::at(found.offset, found.reason()));
        }
        Err(error) => content.error = Some(Problem::from(&error)),
    }
    Ok(content)
}

fn shown(SegmentRecord { record, offset, stored_bytes, .. }: SegmentRecord<'_>) -> Record {
    let mut shown = Record {
        offset,
        kind: match record.kind {
            RecordKind::Write => "write",
            RecordKind::Delete => "delete",
            RecordKind::DeleteRange => "delete-range",
        },
        compressed_bytes: stored_bytes,
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
            shown.keys = batch
                .columns()
                .map(|(key, column)| Key {
                    field_type: Some(column.field_type().name()),
                    count: Some(column.len() as u64),
                    ..named(key)
                })
                .collect();
            let times = || batch.columns().flat_map(|(_, column)| column.times().iter().copied());
            (shown.min, shown.max) = (times().min(), times().max());
        }
        Ok(Entry::Delete(keys)) => shown.keys = keys.into_iter().map(named).collect(),
        Ok(Entry::DeleteRange { range, keys }) => {
            shown.keys = keys.into_iter().map(named).collect();
            (shown.min, shown.max) = (Some(range.min), Some(range.max));
        }
        Err(error) => shown.error = Some(Problem::at(offset, format!("payload: {error}"))),
    }
    shown
}

impl Content {
    fn new(bytes: u64, used_bytes: u64) -> Self {
        Self { bytes, used_bytes, units: Vec::new(), error: None, torn: false, unverified: None }
    }

    /// Adds the marks in `range`, which contains no record.
    fn add_marks(&mut self, bytes: &[u8], range: Range<u64>) {
        let shown =
            |mark: GroupMark| Shown::Mark { offset: mark.offset, durable: mark.durable, length: mark.len };
        self.units.extend(group_marks(bytes, range).map(shown));
    }

    pub(super) fn is_corrupt(&self) -> bool {
        let is_bad = |unit: &Shown| matches!(unit, Shown::Record(Record { error: Some(_), .. }));
        self.error.is_some() && !self.torn || self.units.iter().any(is_bad)
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let records = self.units.iter().filter(|unit| matches!(unit, Shown::Record(_))).count() as u64;
        let marks = self.units.len() as u64 - records;
        let Self { bytes, used_bytes, .. } = self;
        let written = writeln!(
            out.text(),
            "  segment, {}, {used_bytes} used, {}, {}",
            count(*bytes, "byte"),
            count(records, "record"),
            count(marks, "mark")
        );
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        for unit in &self.units {
            let written = match unit {
                Shown::Mark { offset: 0, durable, length: 0 } => {
                    let before = durable.checked_sub(1).filter(|&before| before > 0);
                    let before =
                        before.map_or_else(String::new, |before| format!(", after segment {before}"));
                    writeln!(out.text(), "    offset         0  mark: start of the segment{before}")
                }
                Shown::Mark { offset, durable, length } => {
                    writeln!(
                        out.text(),
                        "    offset {offset:>9}  mark: durable up to offset {durable}, group of {length} bytes"
                    )
                }
                Shown::Record(record) => record.print(out.text()),
            };
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
            out.spill()?;
        }
        if let Some(unverified) = &self.unverified {
            let written = writeln!(out.text(), "  note {unverified}");
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        }
        if let Some(error) = &self.error {
            let what = if self.torn { "torn tail, left by a crash:" } else { "ERROR" };
            let written = writeln!(out.text(), "  {what} {error}");
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        }
        Ok(())
    }
}

impl Record {
    fn print(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        let Self { offset, kind, compressed_bytes, payload_bytes, keys, .. } = self;
        write!(
            text,
            "    offset {offset:>9}  {kind}: {payload_bytes} bytes, {compressed_bytes} compressed, {}",
            count(keys.len() as u64, "key")
        )?;
        if *kind == "write" {
            let values: u64 = keys.iter().filter_map(|key| key.count).sum();
            write!(text, ", {}", count(values, "value"))?;
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
