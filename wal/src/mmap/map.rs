//! Stores into a file map.
//!
//! Neither this module nor its caller ever creates a reference to the mapped memory. Another process that
//! changes the file can corrupt bytes, or terminate this process with a signal by shortening the file. It
//! cannot cause undefined behaviour.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::MmapRaw;

use crate::fs::FsMap;

/// A writable map of an entire file.
#[derive(Debug)]
pub(crate) struct SegmentMap {
    map: MmapRaw,
}

impl SegmentMap {
    /// Maps `file`, whose space must be allocated.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        Ok(Self { map: MmapRaw::map_raw(file)? })
    }
}

impl FsMap for SegmentMap {
    fn store(&mut self, bytes: &[u8], at: usize) {
        let end = at.checked_add(bytes.len()).expect("offsets are below 2^32");
        assert!(end <= self.map.len(), "a group is written within the space of its segment");
        let base = self.map.as_mut_ptr();
        // SAFETY: `at` is within the map (checked above). The map is one allocation and lives as long as
        // `self`.
        let to = unsafe { base.add(at) };
        // SAFETY: `end` is within the map (checked above). `bytes` is a reference and the map is never
        // borrowed, so the two do not overlap. `&mut self` excludes other stores of this process.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    fn sync(&self, range: Range<usize>) -> io::Result<()> {
        loop {
            match self.map.flush_range(range.start, range.len()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}
