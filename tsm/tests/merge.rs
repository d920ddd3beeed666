//! Compactions of real InfluxDB, made again from the same files to the byte.

mod support;

use std::ops::ControlFlow;

use support::vector;
use tsmith_tsm::codecs::Tsm1;
use tsmith_tsm::{
    Bytes, Deletions, Filled, Merge, MergeInput, MergeMode, POINTS_PER_BLOCK, Reader, TombstoneFile, Version,
    Writer,
};

/// The four generations of a directory, with their tombstones.
fn inputs(directory: &str) -> Vec<(Reader, Deletions)> {
    let one = |generation| {
        let name = format!("tsm/{directory}/{generation:09}-000000001");
        let reader = Reader::new(Bytes::from(vector(&format!("{name}.tsm")))).expect("opens");
        let deletions = if directory == "overlap" {
            Deletions::new()
        } else {
            let file = TombstoneFile::read(&vector(&format!("{name}.tombstone"))).expect("reads");
            assert_eq!(file.torn_bytes(), 0);
            file.deletions().clone()
        };
        (reader, deletions)
    };
    (1..=4).map(one).collect()
}

fn merged(directory: &str, mode: MergeMode) -> Vec<u8> {
    let files = inputs(directory);
    let inputs = files.iter().map(|(reader, deletions)| MergeInput { reader, deletions }).collect();
    let mut writer = Writer::new(Vec::new(), Version::Influx);
    let mut merge = Merge::<Tsm1>::new(inputs, mode, POINTS_PER_BLOCK);
    let filled = merge.fill(&mut writer, &mut |_| ControlFlow::Continue(())).expect("merges");
    assert_eq!(filled, Filled::All);
    writer.finish().expect("finishes").0
}

#[test]
fn compactions_equal_those_of_influxdb() {
    for directory in ["overlap", "overlap-tombstoned"] {
        for (mode, name) in [(MergeMode::Full, "full"), (MergeMode::Fast, "fast")] {
            let written = vector(&format!("tsm/{directory}-compacted-{name}/000000004-000000002.tsm"));
            assert!(merged(directory, mode) == written, "{directory}, {name}");
        }
    }
}
