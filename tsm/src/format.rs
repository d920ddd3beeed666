//! The layout of a TSM file, and its constants. All integers are big-endian, and keys ascend.
//!
//! ```text
//! header  ┌────────────────────────┬──────────────┐
//!         │ magic 16 d1 16 d1 <4B> │ version <1B> │
//!         └────────────────────────┴──────────────┘
//! blocks  ┌──────────┬──────────────────┬────────────────┐
//!         │ crc <4B> │ block <size - 4> │ ... next block │  of the first key in order of time, then of the next key
//!         └──────────┴──────────────────┴────────────────┘
//! index   ┌──────────────┬───────────┬───────────┬────────────┬─────────────────────┬──────────────┐
//!         │ key len <2B> │ key <len> │ type <1B> │ count <2B> │ entry <28B> x count │ ... next key │
//!         └──────────────┴───────────┴───────────┴────────────┴─────────────────────┴──────────────┘
//! entry   ┌───────────────┬───────────────┬─────────────┬───────────┐
//!         │ min time <8B> │ max time <8B> │ offset <8B> │ size <4B> │  offset of the crc; size with the crc
//!         └───────────────┴───────────────┴─────────────┴───────────┘
//! footer  ┌───────────────────────────────────┬───────────────────┐
//!         │ index crc <4B>, only in version T │ index offset <8B> │
//!         └───────────────────────────────────┴───────────────────┘
//! ```
//!
//! The crc is CRC-32 (IEEE) over the block alone. InfluxDB's index has no checksum. The index of version `T` has one,
//! over the index and the eight bytes of its offset.

use tsmith_codecs::{BlockEncoder, FieldType};

/// The first bytes of every TSM file.
pub const MAGIC: [u8; 4] = [0x16, 0xd1, 0x16, 0xd1];
/// Magic and version.
pub const HEADER_BYTES: usize = 5;
/// The checksum before each block.
pub const CRC_BYTES: usize = 4;
/// The length of a key in the index.
pub(crate) const KEY_LEN_BYTES: usize = 2;
/// The type of a key's values in the index.
pub(crate) const TYPE_BYTES: usize = 1;
/// The number of a key's entries in the index.
pub(crate) const COUNT_BYTES: usize = 2;
/// An index entry, which describes one block.
pub const INDEX_ENTRY_BYTES: usize = 28;
/// The offset of the index, at the end of the file.
pub(crate) const INDEX_OFFSET_BYTES: usize = 8;
/// The most blocks that one key may have in a file.
pub const BLOCKS_PER_KEY_MAX: u16 = u16::MAX;
/// A file above this size takes no more blocks. As in InfluxDB, the type bytes of the index do not count, and the
/// last block may exceed the limit.
pub const FILE_BYTES_MAX: u64 = 1 << 31;
/// The longest index. InfluxDB's reader counts its bytes in 31 bits.
pub const INDEX_BYTES_MAX: usize = i32::MAX as usize;
/// The smallest block, with its checksum.
pub(crate) const BLOCK_SIZE_MIN: usize = CRC_BYTES + 1;
/// The smallest index: one key of one byte with one block.
pub(crate) const INDEX_BYTES_MIN: usize = KEY_LEN_BYTES + 1 + TYPE_BYTES + COUNT_BYTES + INDEX_ENTRY_BYTES;

const _: () = assert!(HEADER_BYTES == MAGIC.len() + 1);
const _: () = assert!(INDEX_ENTRY_BYTES == 8 + 8 + 8 + 4);
// A file that is not full cannot have an index that is too long. The index exceeds its estimate by one byte per key.
// Each key has at least one block, and the smallest block is longer than that.
const _: () = assert!(TYPE_BYTES < BLOCK_SIZE_MIN && FILE_BYTES_MAX == INDEX_BYTES_MAX as u64 + 1);

/// A file with fewer bytes has no block with an index entry. A file with this many bytes may still lack the footer.
pub const FILE_BYTES_MIN: usize = HEADER_BYTES + BLOCK_SIZE_MIN + INDEX_BYTES_MIN;

/// The version byte of a file. It says what kind of blocks the file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 1: blocks of InfluxDB 1.x. InfluxDB can read the file.
    Influx,
    /// Version `T`: blocks of any encoder. The first byte of each block names the encoder. The index has a checksum.
    /// InfluxDB refuses the file because of its version.
    Tagged,
}

impl Version {
    /// The version of files that may hold the blocks of this encoder.
    pub fn of(encoder: &impl BlockEncoder) -> Self {
        if encoder.is_influx_readable() { Self::Influx } else { Self::Tagged }
    }

    /// The byte after the magic number.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Influx => 1,
            Self::Tagged => b'T',
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Influx, Self::Tagged].into_iter().find(|version| version.byte() == byte)
    }

    pub(crate) const fn footer_bytes(self) -> usize {
        match self {
            Self::Influx => INDEX_OFFSET_BYTES,
            Self::Tagged => CRC_BYTES + INDEX_OFFSET_BYTES,
        }
    }

    /// The length of the shortest file: one block of one byte.
    pub(crate) const fn file_bytes_min(self) -> usize {
        FILE_BYTES_MIN + self.footer_bytes()
    }
}

/// The byte for a type in the index. It is also the first byte of an InfluxDB block.
pub const fn type_byte(field_type: FieldType) -> u8 {
    match field_type {
        FieldType::Float => 0,
        FieldType::Integer => 1,
        FieldType::Boolean => 2,
        FieldType::String => 3,
        FieldType::Unsigned => 4,
    }
}

/// The type for a [`type_byte`].
pub const fn field_type(byte: u8) -> Option<FieldType> {
    match byte {
        0 => Some(FieldType::Float),
        1 => Some(FieldType::Integer),
        2 => Some(FieldType::Boolean),
        3 => Some(FieldType::String),
        4 => Some(FieldType::Unsigned),
        _ => None,
    }
}

/// The checksum in the footer of version `T`.
pub(crate) fn index_crc(index: &[u8], index_offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(index);
    crc.update(&index_offset.to_be_bytes());
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_bytes_round_trip() {
        for t in FieldType::ALL {
            assert_eq!(field_type(type_byte(t)), Some(t));
            assert_eq!(type_byte(t), tsmith_codecs::influx::tag(t));
        }
        assert_eq!(field_type(5), None);
    }
}
