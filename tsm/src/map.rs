//! Memory-mapped files. This is the only unsafe code of this crate.

use std::fs::File;
use std::io;

use bytes::Bytes;

/// Maps a whole file for reading. The map lives as long as any slice of the result.
///
/// # Safety
/// Until the last clone and slice of the result is dropped, no process may write to the file or truncate it.
/// Unlinking it is fine. If you cannot guarantee this, read the file: `Bytes::from(std::fs::read(path)?)`.
pub unsafe fn map_readonly(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new()); // mmap(2) refuses a length of zero
    }
    // SAFETY: the caller guarantees that the file does not change; see `# Safety`.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

/// Prefetches the beginning of `bytes` into the caches of the processor. It changes nothing.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(LINE_BYTES).take(LINES_MAX) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch accepts any address, and this one is inside a slice.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
        // Other processors rely on their hardware prefetchers.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// The size of a cache line.
const LINE_BYTES: usize = 64;
/// For longer blocks, the hardware prefetcher takes over.
const LINES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_map_outlives_its_file() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        // SAFETY: no one else has the file.
        assert!(unsafe { map_readonly(&file) }.expect("maps").is_empty());
        file.write_all(b"still here").expect("writes");
        // SAFETY: no one else has the file, and it is not written from here on.
        let bytes = unsafe { map_readonly(&file) }.expect("maps");
        drop(file);
        assert_eq!(bytes.slice(6..), &b"here"[..]);
    }
}
