//! Decodes packed columns to a batch.

use tsmith_codecs::{Batch, FieldType, KEY_BYTES_MAX, Kept, RunBuilder, StringColumn, Values};

use super::tokens::{Texts, TokenReader};
use super::{SAME, SCALE_SHIFT, SCALES, SHARED, TAG, VALUES_MAX, VALUES_PER_BYTE_MAX, floats, words};
use crate::entry::field_type;
use crate::{Error, Result};

/// Reads a payload. The parent module shows its format.
pub(in crate::entry) fn decode_write<'a>(payload: &'a [u8], spare: Batch<'_>) -> Result<Batch<'a>> {
    let mut bytes = payload;
    match batch(&mut bytes, spare) {
        Ok(batch) => Ok(batch),
        Err(expected) => Err(Error::corrupt(payload.len() - bytes.len(), expected)),
    }
}

type Read<T> = std::result::Result<T, &'static str>;

fn batch<'a>(bytes: &mut &'a [u8], spare: Batch<'_>) -> Read<Batch<'a>> {
    let whole = bytes.len();
    *bytes = bytes.strip_prefix(&[TAG]).ok_or("the tag of packed columns")?;
    let values = length(bytes, "the number of values")?;
    if values > VALUES_MAX.min(whole.saturating_mul(VALUES_PER_BYTE_MAX)) {
        return Err("no more values than the bytes can hold");
    }
    let mut left = values;
    let mut runs = RunBuilder::reusing(spare);
    let mut tokens = TokenReader::new(whole);
    while !bytes.is_empty() {
        left = run(bytes, left, &mut tokens, &mut runs)?;
    }
    if left > 0 {
        return Err("as many values as were announced");
    }
    Ok(runs.finish())
}

fn length(bytes: &mut &[u8], expected: &'static str) -> Read<usize> {
    words::take_varint(bytes).and_then(|number| usize::try_from(number).ok()).ok_or(expected)
}

/// The values of one field in a run.
struct Lane {
    field: Kept,
    values: Values,
    /// How many values were already used.
    given: usize,
    /// How many times were already used, if each column has its own times.
    times: usize,
}

/// Reads one run. Returns how many of the `left` values remain.
fn run(bytes: &mut &[u8], left: usize, tokens: &mut TokenReader, runs: &mut RunBuilder<'_>) -> Read<usize> {
    let series = length(bytes, "the number of series")?;
    let fields = length(bytes, "the number of fields")?;
    // Every series takes at least one byte, and every column at least one value.
    let columns = series.checked_mul(fields).filter(|columns| *columns > 0 && *columns <= left);
    let columns = columns.filter(|_| series <= bytes.len() && fields <= bytes.len());
    let columns = columns.ok_or("no more columns than values")?;
    let mut lanes = Vec::with_capacity(fields);
    for _ in 0..fields {
        let field = runs.keep(tokens.take(bytes).ok_or("the name of a field")?);
        let (&byte, rest) = bytes.split_first().ok_or("the type of a field")?;
        *bytes = rest;
        let values = Values::new(field_type(byte).ok_or("a type from 1 to 5")?);
        lanes.push(Lane { field, values, given: 0, times: 0 });
    }
    let mut keys = Texts::default();
    for _ in 0..series {
        take_key(bytes, tokens, &mut keys)?;
    }
    let (&flags, rest) = bytes.split_first().ok_or("flags")?;
    *bytes = rest;
    let (shared, same) = (flags & SHARED != 0, flags & SAME != 0);
    let scale = *SCALES.get(usize::from(flags >> SCALE_SHIFT)).ok_or("a known scale")?;
    if same && !shared {
        return Err("times of all series only where columns share them");
    }
    let mut counts = Vec::new();
    words::take(bytes, if shared { series } else { columns }, &mut counts).ok_or("the numbers of points")?;
    let sum = counts.iter().try_fold(0_usize, |sum, &count| {
        sum.checked_add(usize::try_from(count).ok().filter(|&count| count > 0)?)
    });
    let per = if shared { fields } else { 1 };
    let used = sum.and_then(|sum| sum.checked_mul(per)).filter(|used| *used <= left);
    let used = used.ok_or("no more points than values")?;
    let first = counts.first().copied().unwrap_or(0);
    if same && counts.iter().any(|&count| count != first) {
        return Err("equal numbers of points where all series share their times");
    }
    let listed = if same { first as usize } else { used / per };
    let mut times = Vec::new();
    words::take(bytes, listed, &mut times).ok_or("the times")?;
    if scale > 1 {
        for time in &mut times {
            *time = time.wrapping_mul(scale);
        }
    }
    let mut before = 0;
    for (counts, lane) in counts.chunks(series).cycle().zip(&mut lanes) {
        let len: usize = counts.iter().map(|&count| count as usize).sum();
        lane.values = take_lane(bytes, lane.values.field_type(), len)?;
        lane.times = before;
        before += if shared { 0 } else { len };
    }
    let mut from = 0;
    for at in 0..series {
        runs.series(keys.get(at).unwrap_or_default());
        let mut len = 0;
        for (column, lane) in lanes.iter_mut().enumerate() {
            let place = if shared { at } else { column * series + at };
            len = counts.get(place).map_or(0, |&count| count as usize);
            let begin = if shared { from } else { lane.times };
            let times = times.get(begin..begin + len).unwrap_or_default();
            runs.kept_column(lane.field, lane.values.field_type());
            let values = lane.values.as_ref().slice(lane.given..lane.given + len);
            let fits = runs.extend(times, values);
            debug_assert!(fits, "the column was begun with this type");
            lane.given += len;
            lane.times += len;
        }
        from += if same { 0 } else { len };
    }
    Ok(left - used)
}

/// Reads the key of one series.
fn take_key(bytes: &mut &[u8], tokens: &mut TokenReader, keys: &mut Texts) -> Read<()> {
    let count = length(bytes, "the number of tokens")?;
    if count > bytes.len() {
        return Err("no more tokens than bytes");
    }
    let from = keys.bytes.len();
    for at in 0..count {
        if at > 0 {
            keys.bytes.push(b',');
        }
        keys.bytes.extend_from_slice(tokens.take(bytes).ok_or("a token")?);
        if keys.bytes.len() - from > KEY_BYTES_MAX {
            return Err("a key within the length limit");
        }
    }
    keys.end();
    Ok(())
}

fn take_lane(bytes: &mut &[u8], field_type: FieldType, len: usize) -> Read<Values> {
    let expected = "the values";
    if field_type == FieldType::Float {
        let mut out = Vec::with_capacity(len);
        floats::take(bytes, len, &mut out).ok_or(expected)?;
        return Ok(Values::Float(out));
    }
    let mut numbers = Vec::with_capacity(len);
    words::take(bytes, len, &mut numbers).ok_or(expected)?;
    Ok(match field_type {
        FieldType::Unsigned => Values::Unsigned(numbers.into_iter().map(i64::cast_unsigned).collect()),
        FieldType::Boolean if numbers.iter().any(|number| !(0..2).contains(number)) => {
            return Err("booleans of 0 or 1");
        }
        FieldType::Boolean => Values::Boolean(numbers.into_iter().map(|number| number == 1).collect()),
        FieldType::String => {
            let mut sum = 0_usize;
            let ends = numbers.into_iter().map(|len| {
                sum = sum.checked_add(usize::try_from(len).ok()?)?;
                Some(sum)
            });
            let ends = ends.collect::<Option<Vec<_>>>().ok_or("lengths of strings")?;
            let (text, rest) = bytes.split_at_checked(sum).ok_or("strings of the lengths given")?;
            *bytes = rest;
            let strings = StringColumn::from_parts(ends, text.to_vec());
            Values::String(strings.map_err(|_| "lengths that fit")?)
        }
        _ => Values::Integer(numbers),
    })
}
