//! Packed columns: the payload of a log whose records only Tsmith reads.
//!
//! ```text
//! payload ┌──────────┬─────────────────┬──────────┐
//!         │ tag <1B> │ values <varint> │ runs ... │
//!         └──────────┴─────────────────┴──────────┘
//! run     ┌─────────────────┬─────────────────┬───────────────────────┬──────────┬────────────┬────────┬───────┬───────┐
//!         │ series <varint> │ fields <varint> │ { name, type <1B> } * │ keys *   │ flags <1B> │ counts │ times │ lanes │
//!         └─────────────────┴─────────────────┴───────────────────────┴──────────┴────────────┴────────┴───────┴───────┘
//! key       number of tokens <varint>, then the tokens: the parts of the series key between its commas
//! token     one of three forms; a form that stores bytes adds the text to the list of texts
//!   complete  4 x len <varint>, then `len` bytes
//!   suffix    4 x len + 2 <varint>, shared <varint>, then `len` bytes: the text is the first `shared` bytes of the text
//!             that was listed last, followed by these bytes
//!   repeat    2 x index + 1 <varint>: a text of the list
//! flags     sum of: 1 if the columns of each series have equal times; 2 if all series have equal times too; and for the
//!           unit of the times in nanoseconds 0 (1), 4 (1 000), 8 (1 000 000) or 12 (1 000 000 000)
//! lane      the values of one field, for all series of the run in order
//!   floats    for every 256 values (or the rest):
//!             code <1B> from 0 to 18, then the block of the integers `value x 10^code`; or
//!             code + 32 <1B>, number of exceptions <1B>, exceptions { place <1B>, bits <8B> } *, then that block; or
//!             255 <1B>, then the block of the bits of the floats, or for a single value its bits <8B>
//!   integers, booleans   blocks
//!   strings   blocks of their lengths, then their bytes
//! ```
//!
//! The private module `words` defines blocks: integers packed relative to a common base, or their differences.
//!
//! A run contains neighbouring series with the same fields. So the points of a hundred hosts store their field names once
//! and most tags as one byte, and the values of a field are together for all series. If each column has one point, most
//! of the payload is names. Names of fields and hosts often differ only in their last bytes, so the form `suffix` is
//! short.
//!
//! A float with few decimals is stored as a small integer `n = round(v x 10^e)` if `n / 10^e` has exactly the bits of `v`.
//! NaN, infinities, -0.0 and floats with more digits are stored as exceptions or as bits.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod decode;
mod floats;
mod tokens;

use memchr::memchr_iter;
use tsmith_codecs::{Batch, BatchField, BatchSeries, ColumnRef, FieldType, KEY_SEPARATOR, ValuesRef};

use super::encode::check_key_len;
use super::{type_byte, words};
use crate::{ENTRY_BYTES_MAX, Error, Result};

pub(super) use decode::decode_write;
use tokens::TokenWriter;

/// The first byte of a payload. No payload of InfluxDB begins with it.
pub(super) const TAG: u8 = 0xc2;
/// Maximum bytes of all keys and names of one payload. Without a limit, a short payload could repeat a long text very
/// often.
pub(super) const TEXT_MAX: usize = ENTRY_BYTES_MAX;
/// Maximum number of values per byte of a payload: 256 equal values take two bytes.
pub(super) const VALUES_PER_BYTE_MAX: usize = 128;
/// Maximum number of values in one payload.
pub(super) const VALUES_MAX: usize = ENTRY_BYTES_MAX / 8;

const SHARED: u8 = 1;
const SAME: u8 = 2;
/// The units of times in nanoseconds, indexed by the number in the flags.
const SCALES: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];
const SCALE_SHIFT: u32 = 2;

/// Appends the payload of `batch` to `out`.
///
/// # Errors
/// The batch has more than [`VALUES_MAX`] values, more than [`TEXT_MAX`] bytes of keys, or a key that is too long for
/// InfluxDB's formats. `out` is then unchanged.
pub(super) fn encode_write(batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<()> {
    let values = batch.value_count();
    if values > VALUES_MAX {
        return Err(Error::too_large("the values of a batch", values as u64, VALUES_MAX as u64));
    }
    let begin = out.len();
    let encoded = put_batch(batch, values, out);
    if encoded.is_err() {
        out.truncate(begin);
    }
    encoded
}

fn put_batch(batch: &Batch<'_>, values: usize, out: &mut Vec<u8>) -> Result<()> {
    out.push(TAG);
    words::put_varint(values as u64, out);
    let mut tokens = TokenWriter::new(batch.series_count());
    let mut scratch = Scratch::default();
    let mut series = batch.series().filter(|series| series.columns().len() > 0).peekable();
    let mut run = Run { columns: Vec::with_capacity(batch.column_count()), ..Run::default() };
    while let Some(first) = series.next() {
        run.begin(first);
        while let Some(next) = series.next_if(|next| run.fits(*next)) {
            run.add(next);
        }
        // The reader refuses longer keys, so they must not be acknowledged.
        let field = run.fields.iter().map(|(field, _)| field.len()).max().unwrap_or(0);
        let series = run.keys.iter().map(|key| key.len()).max().unwrap_or(0);
        check_key_len(series + KEY_SEPARATOR.len() + field)?;
        run.put(&mut tokens, &mut scratch, out);
    }
    if tokens.text() > TEXT_MAX {
        return Err(Error::too_large("the keys of a batch", tokens.text() as u64, TEXT_MAX as u64));
    }
    Ok(())
}

/// Reused buffers for the values of one run.
#[derive(Default)]
struct Scratch {
    numbers: Vec<i64>,
    times: Vec<i64>,
    floats: Vec<f64>,
}

/// At least one series; neighbouring series with the same fields.
#[derive(Default)]
struct Run<'b> {
    fields: Vec<(&'b [u8], FieldType)>,
    keys: Vec<&'b [u8]>,
    /// The columns of each series, in the order of the fields.
    columns: Vec<ColumnRef<'b>>,
}

impl<'b> Run<'b> {
    fn begin(&mut self, first: BatchSeries<'b>) {
        self.fields.clear();
        self.keys.clear();
        self.columns.clear();
        self.fields.extend(first.columns().map(|column| (column.field(), column.field_type())));
        self.add(first);
    }

    fn fits(&self, next: BatchSeries<'_>) -> bool {
        let mut both = next.columns().zip(&self.fields);
        next.columns().len() == self.fields.len()
            && both.all(|(column, (field, kind))| column.field_type() == *kind && column.field() == *field)
    }

    fn add(&mut self, next: BatchSeries<'b>) {
        self.keys.push(next.key().0);
        self.columns.extend(next.columns().map(BatchField::data));
    }

    /// The columns of a field.
    fn lane(&self, field: usize) -> impl Iterator<Item = ColumnRef<'b>> + Clone {
        self.columns.iter().skip(field).step_by(self.fields.len()).copied()
    }

    fn put(&self, tokens: &mut TokenWriter<'b>, scratch: &mut Scratch, out: &mut Vec<u8>) {
        words::put_varint(self.keys.len() as u64, out);
        words::put_varint(self.fields.len() as u64, out);
        for (field, kind) in &self.fields {
            tokens.put(field, out);
            out.push(type_byte(*kind));
        }
        for key in &self.keys {
            words::put_varint(memchr_iter(b',', key).count() as u64 + 1, out);
            let mut from = 0;
            for to in memchr_iter(b',', key).chain([key.len()]) {
                tokens.put(key.get(from..to).unwrap_or_default(), out);
                from = to + 1;
            }
        }
        self.put_times(scratch, out);
        for field in 0..self.fields.len() {
            put_lane(self.lane(field), scratch, out);
        }
    }

    fn put_times(&self, Scratch { numbers: counts, times, .. }: &mut Scratch, out: &mut Vec<u8>) {
        // The columns of one line usually share one slice of times.
        let alike = |a: &[i64], b: &[i64]| std::ptr::eq(a, b) || a == b;
        let mut rows = self.columns.chunks_exact(self.fields.len());
        let shared =
            rows.all(|row| row.windows(2).all(|pair| matches!(pair, [a, b] if alike(a.times(), b.times()))));
        let firsts = self.lane(0).map(ColumnRef::times);
        let same = shared && firsts.clone().zip(firsts.skip(1)).all(|(a, b)| alike(a, b));
        counts.clear();
        times.clear();
        // If each column has its own times, they are in the order of the lanes: field by field.
        for field in 0..if shared { 1 } else { self.fields.len() } {
            for (at, column) in self.lane(field).enumerate() {
                counts.push(column.len() as i64);
                if !same || at == 0 {
                    times.extend_from_slice(column.times());
                }
            }
        }
        let fits = |scale: &&i64| times.iter().all(|time| time % **scale == 0);
        let scale = SCALES.iter().rev().find(fits).copied().unwrap_or(1);
        let power = SCALES.iter().position(|known| *known == scale).unwrap_or(0) as u8;
        let flag = |set, bit: u8| if set { bit } else { 0 };
        out.push(flag(shared, SHARED) | flag(same, SAME) | (power << SCALE_SHIFT));
        words::put(counts, out);
        if scale > 1 {
            for time in times.iter_mut() {
                *time /= scale;
            }
        }
        words::put(times, out);
    }
}

fn put_lane<'b>(
    columns: impl Iterator<Item = ColumnRef<'b>> + Clone,
    Scratch { numbers, floats, .. }: &mut Scratch,
    out: &mut Vec<u8>,
) {
    numbers.clear();
    floats.clear();
    for column in columns.clone() {
        match column.values() {
            ValuesRef::Float(values) => floats.extend_from_slice(values),
            ValuesRef::Integer(values) => numbers.extend_from_slice(values),
            ValuesRef::Unsigned(values) => numbers.extend(values.iter().map(|value| value.cast_signed())),
            ValuesRef::Boolean(values) => numbers.extend(values.iter().map(|&value| i64::from(value))),
            ValuesRef::String(values) => numbers.extend(values.iter().map(|value| value.len() as i64)),
        }
    }
    if floats.is_empty() {
        words::put(numbers, out);
    } else {
        floats::put(floats, numbers, out);
    }
    for column in columns {
        if let ValuesRef::String(values) = column.values() {
            out.extend_from_slice(values.bytes());
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::panic, reason = "a failed test panics")]
mod tests;
