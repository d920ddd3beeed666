//! Files as memory: the only unsafe code of this crate.

use std::fs::File;
use std::io;

use bytes::Bytes;

/// Maps a whole file for reading. The map lives as long as any slice of the result.
///
/// # Safety
/// Until the last clone and slice of the result is gone, nobody may write or shorten the file, in this process or
/// another. Unlinking it is fine. Without that promise, read the file: `Bytes::from(std::fs::read(path)?)`.
pub unsafe fn map_readonly(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new()); // mmap(2) refuses a length of zero
    }
    // SAFETY: the caller keeps the file still; see `# Safety`.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

/// Asks for the beginning of `bytes`, which will be read soon: what is not in the processor's caches is fetched meanwhile.
/// Changes nothing.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(LINE_BYTES).take(LINES_MAX) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: any address may be asked for; this one is inside a slice.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
        // Other processors are left to see it by themselves.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// What memory is fetched by.
const LINE_BYTES: usize = 64;
/// The processor sees by itself that what is longer is read on and on.
const LINES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_map_outlives_its_file() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        // SAFETY: nobody else knows the file.
        assert!(unsafe { map_readonly(&file) }.expect("maps").is_empty());
        file.write_all(b"still here").expect("writes");
        // SAFETY: nobody else knows the file, and nothing writes it from here on.
        let bytes = unsafe { map_readonly(&file) }.expect("maps");
        drop(file);
        assert_eq!(bytes.slice(6..), &b"here"[..]);
    }
}
