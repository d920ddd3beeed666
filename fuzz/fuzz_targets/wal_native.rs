//! Opens the input as a segment of the native log, in every mode, and as a record with valid checksums.
#![no_main]

use tsmith_wal::NativeLog;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::any_bytes_are_segments_or_refused::<NativeLog<SimFs>>(&[("00000001.tlog", data)]);
    hostile::any_sealed_bytes_are_a_record_or_refused(data);
});
