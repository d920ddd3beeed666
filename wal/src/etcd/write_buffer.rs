//! The write buffer: encoded bytes, interleaved with shared contents that are not copied.

use std::io::IoSlice;

use bytes::Bytes;

use crate::fs::FsFile;

/// Contents of this size or more are not copied. For smaller ones a copy costs less than another piece in the
/// write.
pub(super) const SHARED_BYTES: usize = 2 << 10;

/// Bytes for the file, in order.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    /// Encoded bytes, without the shared contents.
    pub(super) own: Vec<u8>,
    /// Shared contents, each with its offset in `own`, in ascending order.
    shared: Vec<(usize, Bytes)>,
    /// Total bytes of the shared contents.
    shared_bytes: usize,
}

impl WriteBuffer {
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    /// Appends `content`, which is not empty.
    pub(super) fn share(&mut self, content: Bytes) {
        self.shared_bytes += content.len();
        self.shared.push((self.own.len(), content));
    }

    /// Writes all bytes at `offset` of `file` in one call.
    pub(super) fn write<F: FsFile>(&self, file: &F, offset: u64) -> std::io::Result<()> {
        if self.shared.is_empty() {
            return file.write_all_at(&self.own, offset);
        }
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut at = 0;
        for (before, content) in &self.shared {
            pieces.extend([IoSlice::new(&self.own[at..*before]), IoSlice::new(content)]);
            at = *before;
        }
        pieces.push(IoSlice::new(&self.own[at..]));
        file.write_pieces_at(&mut pieces, offset)
    }

    pub(super) fn clear(&mut self) {
        self.own.clear();
        self.shared.clear();
        self.shared_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Fs;
    use crate::testing::SimFs;
    use std::path::Path;

    #[test]
    fn the_file_has_all_bytes_in_order() {
        let fs = SimFs::default();
        let file = fs.create_new(Path::new("/f")).expect("a file");
        let mut buffer = WriteBuffer::default();
        for (own, content) in [(&b"01"[..], &b"abc"[..]), (b"", b"d"), (b"2345", b"efghij")] {
            buffer.own.extend_from_slice(own);
            buffer.share(Bytes::from_static(content));
        }
        buffer.own.extend_from_slice(b"6789");
        let expected = b"01abcd2345efghij6789";
        assert_eq!(buffer.len(), expected.len());
        buffer.write(&file, 0).expect("writes");
        assert_eq!(fs.read(Path::new("/f")).expect("reads"), expected);
        buffer.clear();
        assert!(buffer.len() == 0 && buffer.shared.is_empty());
    }
}
