//! A dataset that is ready to write: its points, parsed once, in one file that the processes of all cells read.
//!
//! ```text
//! file    ┌──────────────────┬────────────────┬────────────────────────────┬───────────────────────────┬────────┐
//!         │ "TSPOINT1" <8B>  │ points <8B>    │ series <8B>, { key } *     │ shapes <8B>, { shape } *  │ points │
//!         └──────────────────┴────────────────┴────────────────────────────┴───────────────────────────┴────────┘
//! key     len <4B> │ bytes
//! shape   fields <4B> │ { type <1B> │ len <4B> │ name } *          the fields of a point, in its order
//! point   series <4B> │ shape <4B> │ time <8B> │ values           8 bytes each; a boolean 1; a string its len <4B> and bytes
//! ```
//! Integers are little-endian. The file belongs to one run, so it has no checksum.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use tsmith_codecs::{Batch, BatchBuilder, FieldType, Value};

use crate::error::Result;

const MAGIC: &[u8; 8] = b"TSPOINT1";

/// Collects points and writes the file.
#[derive(Debug, Default)]
pub(crate) struct PointWriter {
    points: u64,
    series: Table,
    shapes: Table,
    bytes: Vec<u8>,
    shape: Vec<u8>,
}

/// Texts in order of first appearance.
#[derive(Debug, Default)]
struct Table {
    ids: HashMap<Vec<u8>, u32>,
    bytes: Vec<u8>,
}

impl Table {
    fn id(&mut self, entry: &[u8]) -> u32 {
        if let Some(&id) = self.ids.get(entry) {
            return id;
        }
        let id = u32::try_from(self.ids.len()).expect("a dataset has fewer than 2^32 series");
        self.ids.insert(entry.to_vec(), id);
        self.bytes.extend_from_slice(entry);
        id
    }
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(text.len()).expect("a name or string is shorter than 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text);
}

impl PointWriter {
    /// Appends a point.
    pub(crate) fn point(&mut self, series: &[u8], time: i64, fields: &[(&[u8], Value<'_>)]) {
        self.shape.clear();
        put_text(series, &mut self.shape);
        let series = self.series.id(&self.shape);
        self.shape.clear();
        let count = u32::try_from(fields.len()).expect("a point has few fields");
        self.shape.extend_from_slice(&count.to_le_bytes());
        for (name, value) in fields {
            let at = FieldType::ALL.iter().position(|known| *known == value.field_type());
            self.shape.push(at.expect("every type is listed") as u8);
            put_text(name, &mut self.shape);
        }
        let shape = self.shapes.id(&self.shape);
        self.bytes.extend_from_slice(&series.to_le_bytes());
        self.bytes.extend_from_slice(&shape.to_le_bytes());
        self.bytes.extend_from_slice(&time.to_le_bytes());
        for (_, value) in fields {
            match value {
                Value::Float(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                Value::Integer(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                Value::Unsigned(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                Value::Boolean(value) => self.bytes.push(u8::from(*value)),
                Value::String(value) => put_text(value, &mut self.bytes),
            }
        }
        self.points += 1;
    }

    pub(crate) fn series_count(&self) -> usize {
        self.series.ids.len()
    }

    pub(crate) fn point_count(&self) -> usize {
        self.points as usize
    }

    pub(crate) fn write_to(&self, path: &Path) -> std::io::Result<()> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.series.bytes.len() + 4096);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.points.to_le_bytes());
        for table in [&self.series, &self.shapes] {
            out.extend_from_slice(&(table.ids.len() as u64).to_le_bytes());
            out.extend_from_slice(&table.bytes);
        }
        out.extend_from_slice(&self.bytes);
        fs::write(path, out)
    }
}

/// A file that [`PointWriter`] wrote, and how its points are divided. It is read when it is needed first.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    /// Points of a batch.
    pub(crate) per: usize,
    pub(crate) batches_max: usize,
    points: OnceCell<Points>,
}

impl Prepared {
    pub(crate) fn new(path: PathBuf, per: usize, batches_max: usize) -> Self {
        Self { path, per, batches_max, points: OnceCell::new() }
    }

    pub(crate) fn batches(&self) -> Result<Vec<Batch<'_>>> {
        self.points()?.batches(self.per, self.batches_max)
    }

    /// Exactly `batches_max` batches. If the dataset is shorter, it is repeated with later times.
    pub(crate) fn rounds(&self) -> Result<Vec<Batch<'_>>> {
        self.points()?.rounds(self.per, self.batches_max)
    }

    fn points(&self) -> Result<&Points> {
        if self.points.get().is_none() {
            let _ = self.points.set(Points::read(&self.path)?);
        }
        Ok(self.points.get().expect("just set"))
    }
}

/// The bytes of such a file.
#[derive(Debug)]
pub(crate) struct Points {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Points {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.into(), bytes })
    }

    /// Batches of `per` points, made as the parser of line protocol makes them. At most `batches_max`.
    pub(crate) fn batches(&self, per: usize, batches_max: usize) -> Result<Vec<Batch<'_>>> {
        let parsed = Parsed::new(&self.bytes).ok_or_else(|| self.incomplete())?;
        let mut batches = Batches::new(per, batches_max);
        parsed.round(0, &mut batches).ok_or_else(|| self.incomplete())?;
        self.finish(batches)
    }

    /// Exactly `count` batches of `per` points. If the dataset is shorter, it is repeated with later times.
    pub(crate) fn rounds(&self, per: usize, count: usize) -> Result<Vec<Batch<'_>>> {
        let parsed = Parsed::new(&self.bytes).filter(|parsed| parsed.points > 0);
        let parsed = parsed.ok_or_else(|| self.incomplete())?;
        let (mut batches, mut offset) = (Batches::new(per, count), 0i64);
        loop {
            let (first, last) = parsed.round(offset, &mut batches).ok_or_else(|| self.incomplete())?;
            if batches.is_full() {
                return self.finish(batches);
            }
            // A typical step behind the last time.
            let span =
                last.checked_sub(first).and_then(|span| span.checked_add(span / parsed.points as i64 + 1));
            let end = span.and_then(|span| offset.checked_add(span).zip(last.checked_add(span)));
            let Some((next, _)) = end else {
                let what = "has too long a time range to be repeated as often as the rate needs. Give a lower --rate";
                return Err(format!("{}: {what}", self.path.display()).into());
            };
            offset = next;
        }
    }

    fn finish<'a>(&self, batches: Batches<'a>) -> Result<Vec<Batch<'a>>> {
        let done = batches.finish();
        if done.is_empty() {
            return Err(format!("{}: has no point", self.path.display()).into());
        }
        Ok(done)
    }

    fn incomplete(&self) -> String {
        format!(
            "{}: the prepared dataset is incomplete, or a field of the data has two types in one series",
            self.path.display()
        )
    }
}

/// The parts of a file.
struct Parsed<'a> {
    points: u64,
    series: Vec<&'a [u8]>,
    shapes: Vec<Vec<(FieldType, &'a [u8])>>,
    /// All points.
    body: &'a [u8],
}

impl<'a> Parsed<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let points = take_u64(&mut rest)?;
        let series = (0..take_u64(&mut rest)?).map(|_| take_text(&mut rest)).collect::<Option<_>>()?;
        let shapes = (0..take_u64(&mut rest)?).map(|_| take_shape(&mut rest)).collect::<Option<_>>()?;
        Some(Self { points, series, shapes, body: rest })
    }

    /// Adds the points, `offset` later, until there are enough batches. Returns their first and last time, or `None` if the
    /// file is incomplete.
    fn round(&self, offset: i64, to: &mut Batches<'a>) -> Option<(i64, i64)> {
        let (mut rest, mut times) = (self.body, (i64::MAX, i64::MIN));
        for _ in 0..self.points {
            if to.is_full() {
                break;
            }
            to.builder.begin((*self.series.get(take_u32(&mut rest)? as usize)?).into());
            let shape = self.shapes.get(take_u32(&mut rest)? as usize)?;
            let time = take_u64(&mut rest)?.cast_signed() + offset;
            for (field_type, name) in shape {
                let value = match field_type {
                    FieldType::Float => Value::Float(f64::from_bits(take_u64(&mut rest)?)),
                    FieldType::Integer => Value::Integer(take_u64(&mut rest)?.cast_signed()),
                    FieldType::Unsigned => Value::Unsigned(take_u64(&mut rest)?),
                    FieldType::Boolean => Value::Boolean(take::<1>(&mut rest)?[0] != 0),
                    FieldType::String => Value::String(take_text(&mut rest)?),
                };
                to.builder.field((*name).into(), value).ok()?;
            }
            to.commit(time);
            times = (times.0.min(time), times.1.max(time));
        }
        Some(times)
    }
}

/// Batches under construction.
struct Batches<'a> {
    per: usize,
    max: usize,
    done: Vec<Batch<'a>>,
    builder: BatchBuilder<'a>,
}

impl<'a> Batches<'a> {
    fn new(per: usize, max: usize) -> Self {
        Self { per, max, done: Vec::new(), builder: BatchBuilder::new() }
    }

    fn is_full(&self) -> bool {
        self.done.len() == self.max
    }

    fn commit(&mut self, time: i64) {
        self.builder.commit(time);
        if self.builder.point_count() == self.per {
            self.done.push(std::mem::take(&mut self.builder).finish());
        }
    }

    fn finish(mut self) -> Vec<Batch<'a>> {
        if self.builder.point_count() > 0 {
            self.done.push(self.builder.finish());
        }
        self.done
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_u32(rest)? as usize;
    let (text, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(text)
}

fn take_shape<'a>(rest: &mut &'a [u8]) -> Option<Vec<(FieldType, &'a [u8])>> {
    let fields = take_u32(rest)?;
    let mut field = || {
        let field_type = *FieldType::ALL.get(usize::from(take::<1>(rest)?[0]))?;
        Some((field_type, take_text(rest)?))
    };
    (0..fields).map(|_| field()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_back_in_batches() {
        let mut writer = PointWriter::default();
        for time in 0..5 {
            let text = format!("t{time}");
            let fields: &[(&[u8], Value<'_>)] = &[
                (b"f", Value::Float(-0.0)),
                (b"i", Value::Integer(-time)),
                (b"u", Value::Unsigned(7)),
                (b"b", Value::Boolean(time == 2)),
                (b"s", Value::String(text.as_bytes())),
            ];
            writer.point(if time % 2 == 0 { b"m,h=a" } else { b"m,h=b" }, time, fields);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.points");
        writer.write_to(&path).expect("writes");
        let points = Points::read(&path).expect("reads");
        let batches = points.batches(2, usize::MAX).expect("complete");
        assert_eq!(batches.iter().map(Batch::value_count).collect::<Vec<_>>(), [10, 10, 5]);
        assert!(batches[0].has_unique_keys(), "as a parsed batch");
        let (key, column) = batches[1].columns().nth(4).expect("the string of the first series");
        assert_eq!((key.series, key.field), (&b"m,h=a"[..], &b"s"[..]));
        assert_eq!(column.times(), [2]);
        assert_eq!(points.batches(2, 1).expect("one").len(), 1);
        let cut = Points { bytes: points.bytes[..points.bytes.len() - 1].to_vec(), path: path.clone() };
        let error = cut.batches(2, usize::MAX).expect_err("cut").to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    }

    #[test]
    fn a_short_dataset_is_repeated_with_later_times() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.points");
        let made = |times: [i64; 3]| {
            let mut writer = PointWriter::default();
            for time in times {
                writer.point(b"m", time, &[(b"f", Value::Boolean(true))]);
            }
            writer.write_to(&path).expect("writes");
            Points::read(&path).expect("reads")
        };
        let points = made([10, 20, 30]);
        let batches = points.rounds(2, 4).expect("short");
        let times = batches.iter().flat_map(|batch| {
            batch.columns().flat_map(|(_, column)| column.times().to_vec()).collect::<Vec<_>>()
        });
        // The span is 20, and a step of 20 / 3 + 1 follows.
        assert_eq!(times.collect::<Vec<_>>(), [10, 20, 30, 37, 47, 57, 64, 74]);
        let error = made([0, 1, i64::MAX / 3]).rounds(2, 99).expect_err("no more times").to_string();
        assert!(error.contains("lower --rate"), "{error}");
    }
}
