//! Reads the input as a segment of etcd's log, with its messages and the records after a corrupt one, and as a snapshot file.
#![no_main]

use std::path::Path;

use tsmith_wal::etcd::{Snapshot, check_segment, records};
use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::SimFs;

const SEGMENT: &str = "/0000000000000000-0000000000000000.wal";

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for record in records(data).map_while(Result::ok) {
        drop(record.message());
    }
    drop(Snapshot::from_file(data));
    let (fs, path) = (SimFs::default(), Path::new(SEGMENT));
    fs.create_new(path).and_then(|file| file.write_all_at(data, 0)).expect("a file");
    drop(check_segment(&fs, path));
});
