//! Segments whose length says nothing: space that was taken ahead, and files that are longer than what is in them.
//!
//! A sparse file has gigabytes of zeros for nothing, and a segment of a log may have any number of them at its end. So they
//! are not kept in memory, beyond those that could belong to a record, nor anywhere else: in the middle no log has so many.

use std::io::{self, Read};

use super::error::TooLong;
use crate::ENTRY_BYTES_MAX;

/// No record is so long, however it is compressed.
pub const ZEROS_MAX: u64 = ENTRY_BYTES_MAX as u64 / 2 * 3;

const PIECE_BYTES: usize = 1 << 20;

/// More than [`ZEROS_MAX`] zeros, and then other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} zeros from byte {offset} on, and others behind them: no log writes so many. Nothing was changed. Restore the \
     file from a copy, or cut it at byte {offset}, and what is behind is lost"
)]
pub struct Hole {
    /// The first of them.
    pub offset: u64,
    /// How many there are, to the mebibyte.
    pub bytes: u64,
}

/// Reads a segment of `len` bytes. Of the zeros behind the last other byte [`ZEROS_MAX`] are kept.
///
/// # Errors
/// It is longer than `limit` ([`TooLong`]), has a [`Hole`], or cannot be read.
pub fn read(file: impl Read, len: u64, limit: u64) -> io::Result<Vec<u8>> {
    TooLong::check(len, limit)?;
    // Somebody may lengthen it meanwhile.
    let mut file = file.take(limit.saturating_add(1));
    let (mut bytes, mut piece) = (Vec::new(), Vec::with_capacity(PIECE_BYTES));
    // Compared with as a whole, zeros are passed over at the speed of memory.
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
    fn zeros_at_the_end_are_as_many_as_a_record_could_have() {
        for (len, kept) in
            [(0, 0), (5, 5), (ZEROS_MAX, ZEROS_MAX), (ZEROS_MAX + 1, ZEROS_MAX), (LIMIT / 2, ZEROS_MAX)]
        {
            let bytes = read(zeros(3).chain(&b"abc"[..]).chain(zeros(len)), 6 + len, LIMIT).expect("reads");
            assert_eq!((&bytes[..6], bytes.len() as u64), (&b"\0\0\0abc"[..], 6 + kept));
        }
        assert_eq!(read(zeros(7), 7, LIMIT).expect("reads"), [0; 7]);
    }

    #[test]
    fn zeros_in_the_middle_are_as_many_as_there_are_or_refused() {
        let with = |len| read((&b"a"[..]).chain(zeros(len)).chain(&b"b"[..]), len + 2, LIMIT);
        let bytes = with(5 << 20).expect("reads");
        assert_eq!((bytes[0], bytes[(5 << 20) + 1], bytes.len()), (b'a', b'b', (5 << 20) + 2));
        let told = with(ZEROS_MAX + (2 << 20)).expect_err("a hole").to_string();
        assert!(told.contains("zeros from byte 1 on"), "{told}");
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_refused() {
        for said in [11, 3] {
            let error = read(zeros(11), said, 10).expect_err("too long");
            assert_eq!(TooLong::of(&error), Some(TooLong { bytes: 11, limit: 10 }));
        }
    }
}
