//! Stores into a file map.
//!
//! No reference to the mapped memory is ever made, here or in the caller: what another process does to the file can
//! spoil bytes or, by shortening it, end this process with a signal, but it cannot make the program undefined.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::MmapRaw;

use crate::fs::FsMap;

/// A writable map of a whole file.
#[derive(Debug)]
pub(crate) struct SegmentMap {
    map: MmapRaw,
}

impl SegmentMap {
    /// Maps all of `file`, whose space is allocated.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        Ok(Self { map: MmapRaw::map_raw(file)? })
    }
}

impl FsMap for SegmentMap {
    fn store(&mut self, bytes: &[u8], at: usize) {
        let end = at.checked_add(bytes.len()).expect("offsets are below 2^32");
        assert!(end <= self.map.len(), "a group is written within the space of its segment");
        let base = self.map.as_mut_ptr();
        // SAFETY: `at` was checked to be within the map, which is one allocation and lives as long as `self`.
        let to = unsafe { base.add(at) };
        // SAFETY: `end` was checked to be within the map. `bytes` is a reference and the map is never borrowed, so the
        // two do not overlap; `&mut self` keeps other stores of this process away.
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
