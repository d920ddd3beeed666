//! CRC-32C (Castagnoli), the checksum of etcd's files and of the native log.
//!
//! `crc-fast` folds with carry-less multiplications: 8 KiB took a quarter of the time of the three interleaved CRC
//! instructions of `crc32c`, 130 bytes as long.

use crc_fast::{CrcAlgorithm, Digest};

/// Of these bytes.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Of what had the checksum `crc`, followed by these bytes.
#[inline]
pub(crate) fn append(crc: u32, bytes: &[u8]) -> u32 {
    append_all(crc, [bytes])
}

/// The same with several pieces.
#[inline]
pub(crate) fn append_all<'a>(crc: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    pieces.into_iter().for_each(|piece| digest.update(piece));
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator, without its highest power, bits reversed.
    const GENERATOR: u32 = 0x82f6_3b78;

    #[test]
    fn the_check_value_of_the_catalogue_also_in_two_parts() {
        let check = b"123456789";
        assert_eq!(hash(check), 0xe306_9283);
        for at in 0..=check.len() {
            let (front, rest) = check.split_at(at);
            assert_eq!(append(hash(front), rest), 0xe306_9283, "cut at {at}");
        }
    }

    /// The kernels change with the length; bit by bit there is one.
    #[test]
    fn every_length_as_bit_by_bit() {
        let bytes: Vec<u8> = (0..2000_u32).map(|at| ((at * 167) >> 3) as u8).collect();
        let mut slow = !7_u32;
        for len in 0..=bytes.len() {
            assert_eq!(append(7, &bytes[..len]), !slow, "{len} bytes");
            let Some(&byte) = bytes.get(len) else { break };
            slow ^= u32::from(byte);
            for _ in 0..8 {
                slow = (slow >> 1) ^ (GENERATOR & (slow & 1).wrapping_neg());
            }
        }
    }
}
