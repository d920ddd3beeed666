//! Opens the input as a segment of InfluxDB's log, in every mode.
#![no_main]

use tsmith_wal::FileLog;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::any_bytes_are_segments_or_refused::<FileLog<SimFs>>(&[("_00001.wal", data)]);
});
