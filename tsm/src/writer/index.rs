//! The index of a file while it is written: in memory, or in a scratch file except for its end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// The most memory that is reserved in advance.
const EXPECTED_BYTES_MAX: usize = 64 << 20;

/// Stores an index that is too large for memory until the blocks of a [`Writer`](super::Writer) are written. The
/// writer appends bytes and later reads them once from the beginning. The caller creates and removes the file. The
/// file need not be synced.
pub trait Scratch: Send {
    /// Appends bytes.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills `bytes` with what was appended at `offset`.
    fn read_back(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

impl Scratch for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn read_back(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.read_exact(bytes)
    }
}

/// The bytes of an index. The last key is always in memory, because its count changes.
pub(super) struct IndexBytes {
    /// The end of the index.
    pub(super) tail: Vec<u8>,
    spilled: u64,
    scratch: Option<(Box<dyn Scratch>, usize)>,
    crc: crc32fast::Hasher,
}

impl IndexBytes {
    pub(super) fn new() -> Self {
        Self { tail: Vec::new(), spilled: 0, scratch: None, crc: crc32fast::Hasher::new() }
    }

    /// Keeps about `memory_bytes` in memory, and the rest in `scratch`.
    pub(super) fn spill_to(&mut self, scratch: Box<dyn Scratch>, memory_bytes: usize) {
        self.scratch = Some((scratch, memory_bytes));
    }

    /// Reserves memory for an index of this many bytes, or for the part that stays in memory.
    pub(super) fn expect(&mut self, bytes: usize) {
        let kept = self.scratch.as_ref().map_or(usize::MAX, |(_, memory_bytes)| *memory_bytes);
        self.tail.reserve(bytes.min(kept).min(EXPECTED_BYTES_MAX));
    }

    pub(super) fn len(&self) -> u64 {
        self.spilled + self.tail.len() as u64
    }

    /// Makes room in memory. Call it only between two keys. If it returns true, the tail is empty.
    pub(super) fn spill(&mut self) -> io::Result<()> {
        if let Some((scratch, memory_bytes)) = &mut self.scratch
            && self.tail.len() >= *memory_bytes
        {
            scratch.append(&self.tail)?;
            self.crc.update(&self.tail);
            self.spilled += self.tail.len() as u64;
            self.tail.clear();
        }
        Ok(())
    }

    /// Writes the index to `out`. Returns the checksum of the index and of `offset`, where the index begins.
    pub(super) fn write_to(&mut self, out: &mut impl Write, offset: u64) -> io::Result<u32> {
        if let Some((scratch, _)) = &mut self.scratch {
            let mut buffer = vec![0; COPY_BYTES.min(self.spilled as usize)];
            let mut at = 0;
            while at < self.spilled {
                let len = (self.spilled - at).min(COPY_BYTES as u64) as usize;
                scratch.read_back(at, &mut buffer[..len])?;
                out.write_all(&buffer[..len])?;
                at += len as u64;
            }
        }
        out.write_all(&self.tail)?;
        self.crc.update(&self.tail);
        self.crc.update(&offset.to_be_bytes());
        Ok(self.crc.clone().finalize())
    }
}

impl fmt::Debug for IndexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexBytes")
            .field("spilled", &self.spilled)
            .field("tail", &self.tail.len())
            .finish_non_exhaustive()
    }
}
