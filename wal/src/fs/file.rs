//! An open file.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;

/// An open file, shared between threads. Every access names its offset.
///
/// Implement six methods; all others have default implementations.
pub trait FsFile: Debug + Send + Sync + 'static {
    /// Reads at `offset`. May return fewer bytes than requested; returns none at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, and extends the file if necessary.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Truncates the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Locks the entire file until this handle is dropped. Does not wait: fails with
    /// [`io::ErrorKind::WouldBlock`] if another handle, in this process or another, has the lock.
    fn try_lock(&self, kind: LockKind) -> io::Result<()>;

    /// The current length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset` on. Returns the number of bytes read, which is less than requested only at
    /// the end of the file.
    fn read_full_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut len = 0;
        while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + len as u64)? {
                0 => break,
                read => len += read,
            }
        }
        Ok(len)
    }

    /// The first `limit` bytes, or the entire file if it is shorter.
    fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        let len = self.len()?.min(limit);
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        let len = self.read_full_at(&mut bytes, 0)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Writes all `pieces` one after the other at `offset`, in one write if the system supports it.
    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.write_all_at(&joined, offset)
    }

    /// Allocates disk space for `bytes`, so that a later write there cannot fail with a full disk. Extends a
    /// shorter file with zeros. If the file system cannot allocate space, this writes the zeros.
    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        write_zeros(self, bytes.end)
    }

    /// Reserves space ahead of later writes, which makes them cheaper and keeps them contiguous. The length
    /// does not change. Returns true if the space was reserved; [`FsFile::set_len`] releases it. This is only
    /// a hint.
    fn reserve(&self, bytes: Range<u64>) -> bool {
        let _ = bytes;
        false
    }

    /// Makes content, length and all other attributes durable. The name is durable once the directory is
    /// synced.
    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    /// Maps the entire file for writing. Its space must be allocated, and the file must not be shortened
    /// while the map exists.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the file system has no memory maps. Then [`MmapLog`](crate::MmapLog) does not open.
    fn map(&self) -> io::Result<Box<dyn FsMap>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The operating system's file, for mapping it read-only. `None` if there is none.
    fn os_file(&self) -> Option<&File> {
        None
    }
}

/// A memory map for writing a file.
pub trait FsMap: Debug + Send {
    /// Copies `bytes` to offset `at`.
    ///
    /// # Panics
    ///
    /// If they reach beyond the map.
    fn store(&mut self, bytes: &[u8], at: usize);

    /// Blocks until the pages in `range` are on stable storage.
    fn sync(&self, range: Range<usize>) -> io::Result<()>;
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// One owner: [`Fs::lock`](super::Fs::lock).
    Exclusive,
    /// Several owners that share it: [`Fs::lock_shared`](super::Fs::lock_shared).
    Shared,
    /// One owner, in the way etcd locks its segments. On Linux this is an open-file-description lock, which
    /// ignores the other two kinds.
    Etcd,
}

/// Extends a file to `len` bytes by writing zeros.
pub(super) fn write_zeros<F: FsFile + ?Sized>(file: &F, len: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = file.len()?;
    while at < len {
        let part = (len - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..part as usize], at)?;
        at += part;
    }
    Ok(())
}
