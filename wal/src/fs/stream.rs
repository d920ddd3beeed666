//! [`Read`] and [`Write`] for files.

use std::io::{self, Read, Write};

use super::file::FsFile;

/// Reads a file sequentially from its first byte. Not buffered.
#[derive(Debug)]
pub(super) struct FileReader<'f, F> {
    file: &'f F,
    at: u64,
}

impl<'f, F: FsFile> FileReader<'f, F> {
    /// Reads `file` from its first byte.
    pub(super) fn new(file: &'f F) -> Self {
        Self { file, at: 0 }
    }
}

impl<F: FsFile> Read for FileReader<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Writes a file sequentially from its first byte. Not buffered.
///
/// After the first write, it reserves space 16 MiB ahead.
#[derive(Debug)]
pub struct FileWriter<F> {
    file: F,
    at: u64,
    /// End of the reserved space. `None` if the file system reserves none.
    reserved: Option<u64>,
}

/// How far ahead space is reserved. For a merge that copies with writes of 1 MiB, this saves a sixth of its
/// CPU time on ext4.
const RESERVED_BYTES: u64 = 16 << 20;

impl<F: FsFile> FileWriter<F> {
    /// Writes to `file` from its first byte.
    pub fn new(file: F) -> Self {
        Self { file, at: 0, reserved: Some(0) }
    }

    /// Releases unused reserved space and returns the file, for [`Fs::publish`](super::Fs::publish).
    pub fn finish(self) -> io::Result<F> {
        if self.reserved.is_some_and(|reserved| reserved > self.at) {
            self.file.set_len(self.at)?;
        }
        Ok(self.file)
    }

    /// Not before the first write, because many files are small.
    fn reserve_until(&mut self, end: u64) {
        if self.at > 0 && self.reserved.is_some_and(|reserved| end > reserved) {
            let ahead = self.at..end.saturating_add(RESERVED_BYTES);
            self.reserved = self.file.reserve(ahead.clone()).then_some(ahead.end);
        }
    }
}

impl<F: FsFile> Write for FileWriter<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let end = self.at + buf.len() as u64;
        self.reserve_until(end);
        self.file.write_all_at(buf, self.at)?;
        self.at = end;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
