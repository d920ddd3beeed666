//! Where the points of a key are cut into blocks: after so many, as InfluxDB has it, or so many bytes of strings.
//!
//! InfluxDB knows no limit of bytes. With one, whoever reads or merges blocks needs memory for a few of them and no more,
//! however wide the strings are; with strings of less than 16 KiB the blocks are InfluxDB's.

use tsmith_codecs::{BlockDecoder, ColumnRef, FieldType, ValuesRef};

/// Points of a block, as InfluxDB has them by default.
pub const POINTS_PER_BLOCK: usize = 1000;

/// Strings of a block: with the one that reaches this many bytes it ends.
pub const STRING_BYTES_PER_BLOCK: u64 = 16 << 20;

/// How many of the first points of `points` make a block of at most `most` points. Not 0, unless there is none.
pub fn first_block(points: ColumnRef<'_>, most: usize) -> usize {
    match points.values() {
        ValuesRef::String(strings) if points.string_bytes() >= STRING_BYTES_PER_BLOCK => {
            until_full(strings.iter(), most)
        }
        _ => points.len().min(most),
    }
}

/// As [`first_block`], of the last points.
pub(crate) fn last_block(points: ColumnRef<'_>, most: usize) -> usize {
    match points.values() {
        ValuesRef::String(strings) if points.string_bytes() >= STRING_BYTES_PER_BLOCK => {
            until_full((0..strings.len()).rev().map(|at| strings.get(at)), most)
        }
        _ => points.len().min(most),
    }
}

/// How many of these strings are in a block.
fn until_full<'s>(strings: impl Iterator<Item = &'s [u8]>, most: usize) -> usize {
    let mut bytes = 0;
    let not_full = |string: &&[u8]| {
        let before = bytes;
        bytes += string.len() as u64;
        before < STRING_BYTES_PER_BLOCK
    };
    strings.take(most).take_while(not_full).count()
}

/// Whether these points are as many as a block of at most `most` holds, or more.
pub(crate) fn fill_block(points: ColumnRef<'_>, most: usize) -> bool {
    points.len() >= most || points.string_bytes() >= STRING_BYTES_PER_BLOCK
}

/// Whether `block` is as full as a block of at most `most` points gets, so that no merge joins it with the next.
///
/// # Errors
/// The block does not tell.
pub fn is_full_block<D: BlockDecoder>(
    decoder: &mut D,
    block: &[u8],
    most: usize,
) -> tsmith_codecs::Result<bool> {
    let (field_type, count) = decoder.count(block)?;
    Ok(count >= most as u64
        || field_type == FieldType::String && decoder.string_bytes(block)? >= STRING_BYTES_PER_BLOCK)
}

#[cfg(test)]
mod tests {
    use tsmith_codecs::{BlockEncoder, Column, StringColumn, Tsm1, Values};

    use super::*;

    /// Strings of so many MiB.
    fn strings(lengths: &[usize]) -> Column {
        let mut strings = StringColumn::default();
        for mib in lengths {
            strings.push(&vec![b'x'; mib << 20]);
        }
        Column::from_parts((0..lengths.len() as i64).collect(), Values::String(strings))
            .expect("equal lengths")
    }

    #[test]
    fn a_block_ends_with_the_string_that_fills_it() {
        for (lengths, first, last) in [
            (&[][..], 0, 0),
            (&[1, 2, 3], 3, 3),
            (&[8, 8, 8], 2, 2),
            (&[8, 7, 2, 9], 3, 3),
            (&[30, 1], 1, 2),
            (&[0, 15, 1, 0], 3, 3),
        ] {
            let column = strings(lengths);
            assert_eq!(first_block(column.as_ref(), 1000), first, "{lengths:?}");
            assert_eq!(last_block(column.as_ref(), 1000), last, "{lengths:?}");
            assert_eq!(first_block(column.as_ref(), 1), lengths.len().min(1));
            assert_eq!(last_block(column.as_ref(), 1), lengths.len().min(1));
        }
        let numbers =
            Column::from_parts(vec![1, 2, 3], Values::Integer(vec![4, 5, 6])).expect("equal lengths");
        assert_eq!(first_block(numbers.as_ref(), 2), 2);
        assert_eq!(first_block(numbers.as_ref(), 4), 3);
    }

    /// Law: what is cut off as a full block is one for whoever meets it again, so that no merge writes it a second time.
    #[test]
    fn a_block_that_was_cut_is_full() {
        let column = strings(&[5, 7, 6, 1]);
        let cut = first_block(column.as_ref(), 1000);
        for (to, full) in [(cut, true), (cut - 1, false)] {
            let part = column.as_ref().slice(0..to);
            let (mut encoder, mut block) = (Tsm1::default(), Vec::new());
            encoder.encode(part, &mut block).expect("encodes");
            assert_eq!(fill_block(part, 1000), full);
            assert_eq!(is_full_block(&mut encoder, &block, 1000), Ok(full));
            assert_eq!(is_full_block(&mut encoder, &block, to), Ok(true));
        }
    }
}
