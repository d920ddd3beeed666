//! An open file.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;

/// An open file. Shared between threads; every access names its offset.
///
/// An implementation provides six methods. Everything else is made of these.
pub trait FsFile: Debug + Send + Sync + 'static {
    /// Reads at `offset`; fewer bytes than asked at any time, none at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, and lengthens the file if need be.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Truncates, or lengthens with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Locks the whole file for this handle, until the handle is dropped. Does not wait: [`io::ErrorKind::WouldBlock`] if
    /// another handle has the lock, in this process or another.
    fn try_lock(&self, kind: LockKind) -> io::Result<()>;

    /// The present length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset` on. Gives how many bytes it read: fewer only where the file ends.
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

    /// The first `limit` bytes, or the whole file if it has fewer.
    fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        let len = self.len()?.min(limit);
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        let len = self.read_full_at(&mut bytes, 0)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Writes all of `pieces`, one behind the other, at `offset`, as one write if the system can.
    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.write_all_at(&joined, offset)
    }

    /// Reserves space on the disk for these bytes, so that a later write there cannot find the disk full. A shorter file is
    /// lengthened to their end, with zeros. A file system that cannot reserve space writes the zeros.
    fn allocate(&self, bytes: Range<u64>) -> io::Result<()> {
        write_zeros(self, bytes.end)
    }

    /// Asks for space ahead of later writes, which are then cheaper and lie closer together. The length stays. True if the
    /// space was reserved; [`FsFile::set_len`] gives it back. A hint: nothing depends on it.
    fn reserve(&self, bytes: Range<u64>) -> bool {
        let _ = bytes;
        false
    }

    /// Makes content, length and the other attributes durable. The name is durable once the directory is synced.
    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    /// Maps the whole file, whose space is allocated, for writing. The file must not be shortened while the map lives.
    ///
    /// # Errors
    /// A file system without maps is `Unsupported`: [`MmapLog`](crate::MmapLog) does not open on it.
    fn map(&self) -> io::Result<Box<dyn FsMap>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The file of the operating system, for mapping it read-only; `None` if there is none.
    fn os_file(&self) -> Option<&File> {
        None
    }
}

/// A file in memory, for writing.
pub trait FsMap: Debug + Send {
    /// Copies `bytes` to offset `at`.
    ///
    /// # Panics
    /// When they reach beyond the map.
    fn store(&mut self, bytes: &[u8], at: usize);

    /// Blocks until the pages of `range` are on stable storage.
    fn sync(&self, range: Range<usize>) -> io::Result<()>;
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// For one owner: [`Fs::lock`](super::Fs::lock).
    Exclusive,
    /// Beside other owners that share it: [`Fs::lock_shared`](super::Fs::lock_shared).
    Shared,
    /// For one owner, as etcd locks its segments. On Linux this is an open-file-description lock, which does not see the
    /// other two kinds.
    Etcd,
}

/// Lengthens a file to `len` bytes by writing zeros.
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
