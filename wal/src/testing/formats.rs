//! Names, sizes and frames of the segment formats, for tests that read or change bytes.

/// InfluxDB's segments.
pub mod influx {
    use std::ffi::OsStr;

    use tsmith_codecs::Batch;

    use crate::encoder::FrameEncoder;
    use crate::segment::{self, InfluxEncoder, Mark};
    use crate::{Record, Result};

    /// Bytes of a group mark.
    pub const MARK_BYTES: usize = segment::MARK_BYTES;

    /// The file name of segment `number`.
    pub fn file_name(number: u32) -> String {
        segment::file_name(number)
    }

    /// The number of a segment's file. `None` if the name is not in the exact form we write.
    pub fn parse_name(name: &OsStr) -> Option<u32> {
        segment::parse_name(name)
    }

    /// Bytes of the frames under the mark at the beginning of `bytes`.
    pub fn mark_len(bytes: &[u8]) -> Option<usize> {
        Mark::read(bytes).map(|mark| mark.len as usize)
    }

    /// Encodes records as frames.
    #[derive(Debug, Default)]
    pub struct Frames(InfluxEncoder);

    impl Frames {
        /// The frame of a record.
        pub fn record(&mut self, record: Record<'_>) -> Result<&[u8]> {
            self.0.encode(record)
        }

        /// The frame of a write.
        pub fn write(&mut self, batch: &Batch<'_>) -> Result<&[u8]> {
            self.0.encode_write(batch)
        }
    }
}

/// Our own segments.
pub mod native {
    /// Bytes of a segment's head.
    pub const HEAD_BYTES: usize = crate::native::HEAD_BYTES;
    /// Bytes of a record's header.
    pub const RECORD_BYTES: usize = crate::native::RECORD_BYTES;
}

/// The files of an etcd member.
pub mod etcd {
    use std::ffi::OsStr;
    use std::path::Path;

    use crate::etcd::{
        ConfState, Contents, SegmentName, Snapshot, SnapshotRecord, Wal, encode_snapshot, read_prefix,
    };
    use crate::fs::Fs;
    use crate::{Error, Result};

    /// The file name of a segment.
    pub fn segment_name(seq: u64, index: u64) -> String {
        SegmentName { seq, index }.file_name()
    }

    /// The two numbers in a segment's file name.
    pub fn segment_numbers(name: &OsStr) -> Option<(u64, u64)> {
        SegmentName::parse(name).map(|name| (name.seq, name.index))
    }

    /// The numbers of the segments that an open log holds, oldest first.
    pub fn held<F: Fs>(wal: &Wal<F>) -> Vec<(u64, u64)> {
        wal.held().map(|name| (name.seq, name.index)).collect()
    }

    /// The content of a log up to the place where etcd would fail, and the error.
    pub fn read_until_error<F: Fs>(
        fs: &F,
        dir: &Path,
        start: &SnapshotRecord,
    ) -> Result<(Contents, Option<Error>)> {
        read_prefix(fs, dir, start)
    }

    /// A membership as a protobuf message.
    pub fn conf_state(conf_state: &ConfState) -> Vec<u8> {
        conf_state.encode()
    }

    /// The content of a snapshot's file.
    pub fn snapshot_file(snapshot: &Snapshot) -> Vec<u8> {
        encode_snapshot(snapshot)
    }
}
