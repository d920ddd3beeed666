//! Where the points of a key are split into blocks: after a number of points, as in InfluxDB, or a number of string
//! bytes.
//!
//! InfluxDB has no limit on bytes. With a limit, a reader or a merge needs memory for only a few blocks, however long
//! the strings are. If no string is longer than 16 KiB, the blocks are the same as InfluxDB's.

use tsmith_codecs::{BlockDecoder, ColumnRef, FieldType, ValuesRef};

/// Points per block, InfluxDB's default.
pub const POINTS_PER_BLOCK: usize = 1000;

/// Bytes of strings per block. The string that reaches this number ends the block.
pub const STRING_BYTES_PER_BLOCK: u64 = 16 << 20;

/// The number of leading points of `points` that form a block of at most `most` points. 0 only if there are no
/// points.
pub fn first_block(points: ColumnRef<'_>, most: usize) -> usize {
    match points.values() {
        ValuesRef::String(strings) if points.string_bytes() >= STRING_BYTES_PER_BLOCK => {
            until_full(strings.iter(), most)
        }
        _ => points.len().min(most),
    }
}

/// Like [`first_block`], but for the last points.
pub(crate) fn last_block(points: ColumnRef<'_>, most: usize) -> usize {
    match points.values() {
        ValuesRef::String(strings) if points.string_bytes() >= STRING_BYTES_PER_BLOCK => {
            until_full((0..strings.len()).rev().map(|at| strings.get(at)), most)
        }
        _ => points.len().min(most),
    }
}

/// The number of these strings that fit into a block.
fn until_full<'s>(strings: impl Iterator<Item = &'s [u8]>, most: usize) -> usize {
    let mut bytes = 0;
    let not_full = |string: &&[u8]| {
        let before = bytes;
        bytes += string.len() as u64;
        before < STRING_BYTES_PER_BLOCK
    };
    strings.take(most).take_while(not_full).count()
}

/// Whether these points fill a block of at most `most` points.
pub(crate) fn fill_block(points: ColumnRef<'_>, most: usize) -> bool {
    points.len() >= most || points.string_bytes() >= STRING_BYTES_PER_BLOCK
}

/// Whether `block` is as full as a block of at most `most` points gets. A merge does not join a full block with the
/// next.
///
/// # Errors
/// The count or the strings of the block cannot be read.
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

    /// Strings with these lengths in MiB.
    fn strings(lengths: &[usize]) -> Column {
        let mut strings = StringColumn::default();
        for mib in lengths {
            strings.push(&vec![b'x'; mib << 20]);
        }
        Column::from_parts((0..lengths.len() as i64).collect(), Values::String(strings))
            .expect("equal lengths")
    }

    #[test]
    fn the_string_that_fills_a_block_ends_it() {
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

    /// Law: every block that was split off as full counts as full later. So no merge rewrites it.
    #[test]
    fn a_split_off_block_is_full() {
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
