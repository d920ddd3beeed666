//! Reads segments that are much longer than their content: with preallocated space, or sparse.
//!
//! A sparse file can have gigabytes of trailing zeros that take no disk space. Only as many trailing zeros
//! are kept in memory as a record could contain. More zeros in the middle are an error, because no log writes
//! that many.

use std::io::{self, Read};

use super::error::TooLong;
use crate::ENTRY_BYTES_MAX;

/// More bytes than any record has, compressed or not.
pub(super) const ZEROS_MAX: u64 = ENTRY_BYTES_MAX as u64 / 2 * 3;

const PIECE_BYTES: usize = 1 << 20;

/// A segment contains 96 MiB of zeros or more, followed by other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "offset {offset}: {bytes} zeros, followed by other bytes. No log writes so many zeros. Nothing was changed. Restore the \
     file from a copy, or truncate it at byte {offset}, which loses everything after it"
)]
pub struct Hole {
    /// Offset of the first zero.
    pub offset: u64,
    /// Number of zeros, rounded to a mebibyte.
    pub bytes: u64,
}

/// Reads a segment of `len` bytes. Keeps at most [`ZEROS_MAX`] trailing zeros.
///
/// # Errors
///
/// The segment is longer than `limit` ([`TooLong`]), contains a [`Hole`], or cannot be read.
pub(super) fn read(file: impl Read, len: u64, limit: u64) -> io::Result<Vec<u8>> {
    TooLong::check(len, limit)?;
    // Another process may extend the file.
    let mut file = file.take(limit.saturating_add(1));
    let (mut bytes, mut piece) = (Vec::new(), Vec::with_capacity(PIECE_BYTES));
    // Comparing with a block of zeros skips them at memory speed.
    let nothing = vec![0; PIECE_BYTES];
    let mut zeros = 0;
    loop {
        piece.clear();
        if file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)? == 0 {
            break;
        }
        let last = || piece.iter().rposition(|&byte| byte != 0);
        let used = if nothing.starts_with(&piece) { 0 } else { last().map_or(0, |last| last + 1) };
        if used > 0 {
            if zeros > ZEROS_MAX {
                let hole = Hole { offset: bytes.len() as u64, bytes: zeros };
                return Err(io::Error::new(io::ErrorKind::InvalidData, hole));
            }
            bytes.resize(bytes.len() + zeros as usize, 0);
            bytes.extend_from_slice(piece.get(..used).unwrap_or_default());
            zeros = 0;
        }
        zeros += (piece.len() - used) as u64;
    }
    TooLong::check(bytes.len() as u64 + zeros, limit)?;
    bytes.resize(bytes.len() + zeros.min(ZEROS_MAX) as usize, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 30;

    fn zeros(len: u64) -> impl Read {
        io::repeat(0).take(len)
    }

    #[test]
    fn trailing_zeros_are_limited() {
        for (len, kept) in
            [(0, 0), (5, 5), (ZEROS_MAX, ZEROS_MAX), (ZEROS_MAX + 1, ZEROS_MAX), (LIMIT / 2, ZEROS_MAX)]
        {
            let bytes = read(zeros(3).chain(&b"abc"[..]).chain(zeros(len)), 6 + len, LIMIT).expect("reads");
            assert_eq!((&bytes[..6], bytes.len() as u64), (&b"\0\0\0abc"[..], 6 + kept));
        }
        assert_eq!(read(zeros(7), 7, LIMIT).expect("reads"), [0; 7]);
    }

    #[test]
    fn many_zeros_in_the_middle_are_refused() {
        let with = |len| read((&b"a"[..]).chain(zeros(len)).chain(&b"b"[..]), len + 2, LIMIT);
        let bytes = with(5 << 20).expect("reads");
        assert_eq!((bytes[0], bytes[(5 << 20) + 1], bytes.len()), (b'a', b'b', (5 << 20) + 2));
        let error = with(ZEROS_MAX + (2 << 20)).expect_err("a hole");
        let hole = error.get_ref().and_then(|error| error.downcast_ref::<Hole>());
        assert_eq!(hole, Some(&Hole { offset: 1, bytes: ZEROS_MAX + (2 << 20) - 1 }));
    }

    #[test]
    fn too_long_a_segment_is_refused() {
        for said in [11, 3] {
            let error = read(zeros(11), said, 10).expect_err("too long");
            assert_eq!(TooLong::of(&error), Some(TooLong { bytes: 11, limit: 10 }));
        }
    }
}
