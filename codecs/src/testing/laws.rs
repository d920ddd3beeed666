//! The laws. Each is a function that takes any encoder and panics if the encoder breaks the law.

#![expect(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use super::naive;
use super::shapes::{self, Random};
use crate::column::{Column, ColumnRef, FieldType, Values, ValuesRef};
use crate::error::ErrorKind;
use crate::model::TimeRange;
use crate::{BLOCK_VALUES_MAX, BlockEncoder, DynEncoder, Span};

/// The most bytes that a block may take beyond the raw column: tag, type, count, method and the like.
const OVERHEAD_BYTES: usize = 64;

/// Encodes a column. Returns `None` if the encoder refuses one of its values with its index.
fn block_of<E: BlockEncoder>(encoder: &mut E, column: ColumnRef<'_>) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    match encoder.encode(column, &mut block) {
        Ok(()) => Some(block),
        Err(error) => {
            let ErrorKind::Unsupported { index, .. } = error.kind() else { panic!("cannot encode: {error}") };
            assert!(*index < column.len(), "{error}, of {} values", column.len());
            assert!(block.is_empty(), "a refused column left bytes");
            None
        }
    }
}

/// A column that differs from every expected result.
fn stale() -> Column {
    Column::from_parts(vec![7; 9], Values::Boolean(vec![true; 9])).expect("equal lengths")
}

/// Law: a column round-trips bit for bit, or the encoder refuses it with an error that names a value.
///
/// Story: an encoder compared floats with `==` and turned -0.0 into 0.0.
pub fn round_trip<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    let mut back = stale();
    let mut held = 0;
    for column in shapes::all() {
        if let Some(block) = block_of(&mut encoder, column.as_ref()) {
            encoder.decode(&block, column.len(), &mut back).expect("decodes");
            assert!(back == column, "{} {}s differ", column.len(), column.field_type());
            held += 1;
        }
    }
    assert!(held > 300, "only {held} columns were held");
}

/// Law: an encoder that holds every value holds every column, including every kind of NaN.
///
/// Story: one NaN became another NaN, so the file changed with each compaction.
pub fn every_value_is_held<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    let nan = (0..5).map(shapes::with_nan);
    for column in shapes::all().into_iter().chain(nan) {
        let block = block_of(&mut encoder, column.as_ref()).expect("refuses no value");
        let mut back = stale();
        encoder.decode(&block, column.len(), &mut back).expect("decodes");
        assert!(back == column, "{} {}s differ", column.len(), column.field_type());
    }
}

/// Law: the existing content of the buffer stays unchanged and does not affect the appended bytes, even if the column
/// is refused.
///
/// Story: an encoder aligned its words to the buffer instead of to its block.
pub fn append_only<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for (at, column) in shapes::short().into_iter().chain([shapes::with_nan(2)]).enumerate() {
        let before = vec![0xa5; at % 13];
        let mut out = before.clone();
        let block = block_of(&mut encoder, column.as_ref());
        assert_eq!(encoder.encode(column.as_ref(), &mut out).is_ok(), block.is_some());
        assert_eq!(out, [before, block.unwrap_or_default()].concat());
    }
}

/// Law: equal columns give equal bytes, whatever the encoder did before.
///
/// Story: a compressor kept a table from one block to the next, so snapshots of the same data differed between
/// machines.
pub fn equal_columns_equal_bytes<E: BlockEncoder + Default>() {
    let mut used = E::default();
    let columns = shapes::all();
    for column in columns.iter().rev() {
        if let Some(block) = block_of(&mut used, column.as_ref()) {
            let _ = used.decode(&block[..block.len() / 2], BLOCK_VALUES_MAX, &mut stale());
        }
    }
    for column in &columns {
        let fresh = block_of(&mut E::default(), column.as_ref());
        assert_eq!(fresh, block_of(&mut used, column.as_ref()));
        // A slice of a longer column equals a separate column.
        let mut longer = column.clone();
        longer.extend(column.as_ref()).expect("one type");
        let slice = longer.as_ref().slice(column.len()..2 * column.len());
        assert_eq!(fresh, block_of(&mut used, slice));
    }
}

/// Law: a truncated block is an error.
///
/// Story: a truncated block of packed integers decoded to the values before the cut, and a query returned too few
/// values.
pub fn a_cut_block_is_an_error<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::short() {
        let Some(block) = block_of(&mut encoder, column.as_ref()) else { continue };
        for len in (0..block.len()).filter(|len| len % (1 + block.len() / 500) == 0) {
            let done = encoder.decode(&block[..len], BLOCK_VALUES_MAX, &mut stale());
            assert!(done.is_err(), "{len} of {} bytes of a {} block", block.len(), column.field_type());
        }
        let mut longer = block.clone();
        longer.push(0);
        let done = encoder.decode(&longer, BLOCK_VALUES_MAX, &mut stale());
        assert!(done.is_err(), "a {} block and a byte", column.field_type());
    }
}

/// Law: a block with a flipped bit gives an error, or a column within the limit that matches its claims. Nothing
/// panics.
///
/// Story: a flipped bit in the width of a window caused a shift by more than 64 bits, and the reader panicked.
pub fn a_flipped_bit_never_panics<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::short() {
        let Some(mut block) = block_of(&mut encoder, column.as_ref()) else { continue };
        let bits = 8 * block.len();
        for bit in (0..bits).filter(|bit| bits < 20_000 || bit % 61 == 0) {
            block[bit / 8] ^= 1 << (bit % 8);
            survives(&mut encoder, &block);
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Law: random bytes give an error or a column within the limit. Nothing panics.
///
/// Story: twelve bytes claimed 2^60 timestamps, and the process tried to allocate that memory.
pub fn noise_never_panics<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    let tags = encoder.tags();
    let mut random = Random::new(3);
    for round in 0..4000 {
        let len = random.below(64) as usize;
        let mut block: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
        if round % 2 == 0 {
            // Half of the blocks contain long numbers, as counts and lengths are.
            for byte in &mut block {
                *byte |= 0x80;
            }
        }
        for (to, from) in block.iter_mut().zip([tags[round % tags.len()], random.below(6) as u8]) {
            *to = from;
        }
        survives(&mut encoder, &block);
    }
}

/// Decodes bytes that may be corrupt, with a small limit.
fn survives<E: BlockEncoder>(encoder: &mut E, block: &[u8]) {
    const LIMIT: usize = 40;
    let mut out = stale();
    match encoder.decode(block, LIMIT, &mut out) {
        Ok(()) => {
            assert!(out.len() <= LIMIT);
            assert_eq!(out.len(), out.values().len());
            assert_eq!(encoder.count(block), Ok((out.field_type(), out.len() as u64)));
            assert!(encoder.string_bytes(block).is_ok_and(|claimed| claimed >= out.as_ref().string_bytes()));
        }
        Err(_) => assert!(out.is_empty()),
    }
    // The limit, and the slack of a growing vector.
    let capacity = match out.values() {
        Values::Float(v) => v.capacity(),
        Values::Integer(v) => v.capacity(),
        Values::Unsigned(v) => v.capacity(),
        Values::Boolean(v) => v.capacity(),
        Values::String(_) => 0,
    };
    assert!(capacity <= 4 * LIMIT + 64, "capacity for {capacity} values with a limit of {LIMIT}");
}

/// Law: a block with more values than the limit is refused with both numbers. A block with exactly the limit is not.
///
/// Story: the limit was applied to differences, so the last value of a full block was refused.
pub fn the_limit_is_kept<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::short() {
        let Some(block) = block_of(&mut encoder, column.as_ref()) else { continue };
        let (len, mut out) = (column.len(), stale());
        encoder.decode(&block, len, &mut out).expect("as many as allowed");
        let error = encoder.decode(&block, len - 1, &mut out).expect_err("one too many");
        assert_eq!(error.kind(), &ErrorKind::TooManyValues { claimed: len as u64, limit: len - 1 });
        assert!(out.is_empty());
    }
}

/// Law: after an error the column is empty and the encoder works as before.
///
/// Story: a query kept the values before the corrupt byte and returned half a block.
pub fn an_error_leaves_the_column_empty<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::short() {
        let Some(block) = block_of(&mut encoder, column.as_ref()) else { continue };
        let mut out = stale();
        for broken in [&[][..], &block[..1], &block[..block.len() - 1]] {
            encoder.decode(broken, BLOCK_VALUES_MAX, &mut out).expect_err("is cut");
            assert!(out.is_empty());
            encoder.decode(&block, BLOCK_VALUES_MAX, &mut out).expect("is intact");
            assert!(out == column);
        }
    }
}

/// Law: the first byte of every block is one of the encoder's tags. A block with another tag is an error.
///
/// Story: a file was opened with the wrong encoder, and its bytes happened to decode.
pub fn the_first_byte_is_a_tag<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    let tags = encoder.tags();
    for column in shapes::short() {
        let Some(mut block) = block_of(&mut encoder, column.as_ref()) else { continue };
        assert!(tags.contains(&block[0]), "tag {:#04x} is not one of {tags:?}", block[0]);
        for tag in (0..=255).filter(|tag| !tags.contains(tag)) {
            block[0] = tag;
            let error = encoder
                .decode(&block, BLOCK_VALUES_MAX, &mut stale())
                .expect_err("another encoder owns the tag");
            assert_eq!(error.kind(), &ErrorKind::UnknownTag { tag });
        }
    }
}

/// Law: `count` returns the number of values in the column, whether it reads the header or decodes.
///
/// Story: an index used the number of differences as the number of values, so a range ended one value early.
pub fn count_agrees_with_the_column<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::all() {
        if let Some(block) = block_of(&mut encoder, column.as_ref()) {
            assert_eq!(encoder.count(&block), Ok((column.field_type(), column.len() as u64)));
        }
    }
}

/// Law: the claimed string bytes are at least those of the column, and not many more.
///
/// Story: the strings of a thousand values were joined into a block of half a gigabyte.
pub fn string_bytes_agree_with_the_column<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::all() {
        if let Some(block) = block_of(&mut encoder, column.as_ref()) {
            let bytes = column.as_ref().string_bytes();
            let most = if column.field_type() == FieldType::String { 10 * column.len() as u64 } else { 0 };
            let claimed = encoder.string_bytes(&block).expect("is intact");
            assert!(
                (bytes..=bytes + most).contains(&claimed),
                "{claimed} bytes claimed, {bytes} in the column"
            );
        }
    }
}

/// Law: `decode_within` returns at least the points inside the range, as consecutive points, and the span of all
/// times. It returns all points of a column that does not ascend.
///
/// Story: a decoder that stopped early had read one bit of the next value and reported corruption.
pub fn a_range_has_the_same_points<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    let mut back = stale();
    for column in shapes::all().iter().filter(|column| !column.is_empty()) {
        let Some(block) = block_of(&mut encoder, column.as_ref()) else { continue };
        let times = column.times();
        let places = [0, times.len() / 3, times.len() / 2, times.len() - 1];
        let near = places.iter().flat_map(|&at| [-1, 0, 1].map(|by| times[at].saturating_add(by)));
        let ends: Vec<i64> = near.chain([i64::MIN, i64::MAX]).collect();
        for range in ends.iter().flat_map(|&min| ends.iter().map(move |&max| TimeRange::new(min, max))) {
            let span = encoder.decode_within(&block, column.len(), range, &mut back).expect("decodes");
            assert_eq!(span, Span::of(times));
            let inside = |&time: &i64| range.contains(time);
            if !column.as_ref().is_strictly_ascending() {
                assert!(back == *column, "points were left out within {range:?}");
            } else if let Some(&first) = back.times().first() {
                let from = times.partition_point(|&time| time < first);
                let to = from + back.len();
                assert!(back.as_ref() == column.as_ref().slice(from..to), "other points within {range:?}");
                let left_out = times[..from].iter().chain(&times[to..]);
                assert_eq!(left_out.filter(|time| inside(time)).count(), 0, "too few within {range:?}");
            } else {
                assert!(!times.iter().any(inside), "none within {range:?}");
            }
        }
    }
}

/// Law: an encoder behaves the same behind a virtual call.
///
/// Story: the erased encoder used the provided `decode_within`, so every read decoded complete blocks.
pub fn type_erasure_changes_nothing<E: BlockEncoder + Default>() {
    let (mut encoder, mut erased) = (E::default(), Box::new(E::default()) as DynEncoder);
    let about =
        |encoder: &dyn BlockEncoder| (encoder.tags(), encoder.is_influx_readable(), encoder.same_blocks_as());
    assert_eq!(about(&encoder), about(&erased));
    let (mut part, mut erased_part) = (stale(), stale());
    for column in shapes::short() {
        let block = block_of(&mut encoder, column.as_ref());
        assert_eq!(block, block_of(&mut erased, column.as_ref()));
        let (Some(block), Some(&time)) = (block, column.times().get(column.len() / 2)) else { continue };
        let range = TimeRange::new(time, time);
        let span = encoder.decode_within(&block, column.len(), range, &mut part);
        assert_eq!(span, erased.decode_within(&block, column.len(), range, &mut erased_part));
        assert!(part == erased_part);
        assert_eq!(encoder.count(&block), erased.count(&block));
        assert_eq!(encoder.string_bytes(&block), erased.string_bytes(&block));
    }
}

/// Law: no block is much larger than its raw column. Data that cannot be compressed is stored raw.
///
/// Story: compressed noise was a tenth larger than the noise, so a compaction made the files grow.
pub fn never_much_larger_than_raw<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::all() {
        let raw = column.len() * 8
            + match column.as_ref().values() {
                ValuesRef::Boolean(values) => values.len(),
                ValuesRef::String(values) => values.bytes().len() + 4 * values.len(),
                values => 8 * values.len(),
            };
        if let Some(block) = block_of(&mut encoder, column.as_ref()) {
            // Gorilla takes up to 77 bits for a float, and the byte-compatible encoder cannot store raw floats.
            let raw = if encoder.is_influx_readable() { raw + raw / 7 } else { raw };
            let (len, ours) = (column.len(), block.len());
            assert!(ours <= raw + OVERHEAD_BYTES, "{ours} bytes for {len} {}s", column.field_type());
        }
    }
}

/// Law: blocks that InfluxDB reads begin with one of its five types.
///
/// Story: the type numbers of the log, which start at one, were written to a file.
pub fn influx_tags<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    assert!(encoder.is_influx_readable());
    for (field_type, tag) in FieldType::ALL.into_iter().zip([0, 1, 4, 2, 3]) {
        let column = shapes::short().into_iter().find(|column| column.field_type() == field_type);
        let block = block_of(&mut encoder, column.expect("one of each type").as_ref()).expect("no NaN");
        assert_eq!(block[0], tag);
    }
}

/// Law: Gorilla's end mark is a NaN, so every NaN is refused with its index. All other values are held.
pub fn nan_is_refused_with_its_index<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::all().into_iter().chain((0..5).map(shapes::with_nan)) {
        let done = encoder.encode(column.as_ref(), &mut Vec::new());
        match shapes::first_nan(&column) {
            None => done.expect("holds all but NaN"),
            Some(at) => {
                let error = done.expect_err("refuses NaN");
                assert_eq!(error.kind(), &ErrorKind::Unsupported { index: at, what: "NaN" });
            }
        }
    }
}

/// Law: a decoder that follows the format bit by bit returns the same column.
pub fn the_naive_decoder_agrees<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::all() {
        if let Some(block) = block_of(&mut encoder, column.as_ref()) {
            assert!(
                naive::decode(&block).as_ref() == Some(&column),
                "{} {}s",
                column.len(),
                column.field_type()
            );
        }
    }
}

/// Law: an encoder that follows the format bit by bit writes the same bytes.
pub fn the_naive_encoder_agrees<E: BlockEncoder + Default>() {
    let mut encoder = E::default();
    for column in shapes::all() {
        assert!(block_of(&mut encoder, column.as_ref()) == naive::encode(column.as_ref()));
    }
}
