//! The write buffer: bytes of our own, and between them contents that stay where they are.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::fs::FsFile;

/// A content of this size and above is not copied: below it the copy costs less than one more piece of a write does.
pub(super) const SHARED_BYTES: usize = 2 << 10;

/// Bytes for the file, in their order.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    /// Frames, without what is shared.
    pub(super) own: Vec<u8>,
    /// Each stands before the byte of `own` with this number; the numbers rise.
    shared: Vec<(usize, Bytes)>,
    /// Bytes of all that is shared.
    shared_bytes: usize,
}

impl WriteBuffer {
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    /// Puts `content`, which is not empty, behind what is there.
    pub(super) fn share(&mut self, content: Bytes) {
        self.shared_bytes += content.len();
        self.shared.push((self.own.len(), content));
    }

    /// Writes the first `len` bytes at `offset` of `file`, in one go.
    pub(super) fn write<F: FsFile>(&self, file: &F, len: usize, offset: u64) -> std::io::Result<()> {
        if self.shared.is_empty() {
            return file.write_all_at(&self.own[..len], offset);
        }
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let (mut at, mut left) = (0, len);
        let mut take = |bytes: &[u8]| {
            let piece = bytes.len().min(left);
            left -= piece;
            piece
        };
        for (before, content) in &self.shared {
            let own = &self.own[at..*before];
            pieces.push(IoSlice::new(&own[..take(own)]));
            pieces.push(IoSlice::new(&content[..take(content)]));
            at = *before;
        }
        let own = &self.own[at..];
        pieces.push(IoSlice::new(&own[..take(own)]));
        file.write_pieces_at(&mut pieces, offset)
    }

    /// Removes the first `len` bytes.
    pub(super) fn advance(&mut self, len: usize) {
        let (mut own, mut left, mut gone) = (0, len, 0);
        for (before, content) in &mut self.shared {
            let of_own = left.min(*before - own);
            own += of_own;
            left -= of_own;
            let of_content = left.min(content.len());
            content.advance(of_content);
            self.shared_bytes -= of_content;
            left -= of_content;
            if content.is_empty() {
                gone += 1;
            }
        }
        own += left;
        self.own.drain(..own);
        self.shared.drain(..gone);
        for (before, _) in &mut self.shared {
            *before -= own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Fs;
    use crate::testing::SimFs;
    use std::path::Path;

    /// However it is cut into writes, the file has all bytes in their order.
    #[test]
    fn any_two_writes_make_the_same_file() {
        let contents = [&b"abc"[..], b"d", b"efghij"];
        let filled = || {
            let mut buffer = WriteBuffer::default();
            for (own, content) in [&b"01"[..], b"", b"2345"].into_iter().zip(contents) {
                buffer.own.extend_from_slice(own);
                buffer.share(Bytes::from_static(content));
            }
            buffer.own.extend_from_slice(b"6789");
            buffer
        };
        let expected = b"01abcd2345efghij6789";
        for first in 0..=expected.len() {
            let fs = SimFs::default();
            let file = fs.create_new(Path::new("/f")).expect("a file");
            let mut buffer = filled();
            buffer.write(&file, first, 0).expect("writes");
            buffer.advance(first);
            assert_eq!(buffer.len(), expected.len() - first);
            buffer.write(&file, buffer.len(), first as u64).expect("writes");
            buffer.advance(buffer.len());
            assert!(buffer.len() == 0 && buffer.shared.is_empty());
            assert_eq!(fs.read(Path::new("/f")).expect("reads"), expected, "{first}");
        }
    }
}
