//! The index of a file being written, spilled to disk because it exceeds the memory limit.

use std::io;
use std::path::PathBuf;

use tsmith_tsm::Scratch;
use tsmith_wal::fs::{Fs, FsFile};

/// A temporary file that is created on first use and removed on drop. After a crash, opening the directory
/// removes it.
#[derive(Debug)]
pub(super) struct IndexFile<F: Fs> {
    fs: F,
    path: PathBuf,
    file: Option<F::File>,
    bytes: u64,
}

impl<F: Fs> IndexFile<F> {
    pub(super) fn new(fs: F, path: PathBuf) -> Self {
        Self { fs, path, file: None, bytes: 0 }
    }
}

impl<F: Fs> Scratch for IndexFile<F> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.fs.create_new(&self.path)?),
        };
        file.write_all_at(bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn read_back(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if file.read_full_at(bytes, offset)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<F: Fs> Drop for IndexFile<F> {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = self.fs.remove(&self.path)
        {
            // Opening the directory removes it.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a temporary file");
        }
    }
}
