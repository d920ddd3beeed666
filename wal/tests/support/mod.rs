//! Helpers that several integration tests share.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::{SimFs, noise, open_keeping};
use tsmith_wal::{Log, LogOptions, Record, Recovery, Result};

/// Paths and contents.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A simulated disk that holds these files durably.
pub(crate) fn disk_with<P: AsRef<Path>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, B)>) -> SimFs {
    let sim = SimFs::default();
    for (path, bytes) in files {
        put_file(&sim, path.as_ref(), bytes.as_ref());
    }
    sim
}

/// Creates a file and its directory, and syncs both.
pub(crate) fn put_file(sim: &SimFs, path: &Path, bytes: &[u8]) {
    let dir = path.parent().expect("a directory");
    sim.create_dir_all(dir).expect("creates");
    let file = sim.create_new(path).expect("creates");
    file.write_all_at(bytes, 0).and_then(|()| file.sync_all()).expect("writes");
    sim.sync_dir(dir).expect("syncs");
}

/// The files of a disk whose name has one of these extensions.
pub(crate) fn files_with(sim: &SimFs, extensions: &[&str]) -> Files {
    let matches = |path: &PathBuf| {
        path.extension().is_some_and(|end| extensions.iter().any(|extension| end == *extension))
    };
    sim.snapshot().into_iter().filter(|(path, _)| matches(path)).collect()
}

/// A payload that begins with its number.
pub(crate) fn numbered(number: u64) -> Vec<u8> {
    [&number.to_le_bytes()[..], &noise(number, 40)].concat()
}

/// Appends a numbered record and syncs it.
pub(crate) fn put_numbered<L: Log>(log: &L, number: u64) -> Result<()> {
    let at = log.append(Record::write(&numbered(number)))?;
    log.sync(at).map(drop)
}

/// Opens a log of numbered records. Returns the numbers that it replayed.
pub(crate) fn open_numbered<L: Log<Fs = SimFs>>(
    sim: &SimFs,
    dir: &Path,
    options: LogOptions,
) -> Result<(L, Vec<u64>, Recovery)> {
    let (log, seen, recovery) = open_keeping(sim.clone(), dir, options)?;
    let number = |(.., payload): (_, _, Vec<u8>)| {
        let (head, _) = payload.split_first_chunk().expect("a number");
        u64::from_le_bytes(*head)
    };
    Ok((log, seen.into_iter().map(number).collect(), recovery))
}

/// A number, then bytes that snappy cannot shorten: a lost sector stays valid snappy. Lengths are on both sides of a sector.
pub(crate) fn mixed_payload(number: u32) -> Vec<u8> {
    let len = [3, 40, 700, 1300, 0, 150, 2600][number as usize % 7];
    [&number.to_be_bytes()[..], &noise(number.into(), len)].concat()
}

/// Whether an operation of the simulated disk makes something durable.
pub(crate) fn is_sync(operation: &str) -> bool {
    ["sync_data", "sync_all", "sync_dir", "msync"].contains(&operation)
}

/// A segment that InfluxDB wrote.
pub(crate) fn influxdb_segment() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1/wal/normal/_00002.wal");
    std::fs::read(path).expect("the vector")
}

/// Random numbers, the same for a seed each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
