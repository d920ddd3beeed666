//! A log in its own directory, and states, entries and snapshots for it.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tsmith_wal::etcd::{
    Contents, Entry, EntryKind, EtcdError, HardState, Snapshot, SnapshotRecord, Wal, WalOptions,
};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{Error, ErrorKind, Result};

pub(crate) const ZERO: SnapshotRecord = SnapshotRecord { index: 0, term: 0, conf_state: None };

pub(crate) struct Scratch {
    pub(crate) root: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.root.path().join("wal")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.wal()).expect("a directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| Path::new(name).extension() != Some("tmp".as_ref()));
        names.sort();
        names
    }

    pub(crate) fn create(&self) -> Wal {
        Wal::create(OsFs, &self.wal(), Some(b"metadata"), options()).expect("creates")
    }

    pub(crate) fn open(&self, start: &SnapshotRecord) -> Result<(Wal, Contents)> {
        Wal::open(OsFs, &self.wal(), start, options())
    }

    pub(crate) fn last(&self) -> PathBuf {
        self.wal().join(
            self.names()
                .into_iter()
                .rfind(|name| Path::new(name).extension() == Some("wal".as_ref()))
                .expect("a segment"),
        )
    }
}

pub(crate) fn options() -> WalOptions {
    WalOptions { segment_bytes: 64 << 10, ..WalOptions::default() }
}

pub(crate) fn entry(index: u64, len: usize) -> Entry {
    let data = Bytes::from(vec![index as u8 | 1; len]);
    Entry { kind: EntryKind::NORMAL, term: 1, index, data: Some(data) }
}

pub(crate) fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| entry(index, 20)).collect()
}

pub(crate) fn state(commit: u64) -> HardState {
    HardState { term: 1, vote: 1, commit }
}

pub(crate) fn etcd_error(error: &Error) -> &EtcdError {
    match error.kind() {
        ErrorKind::Etcd(error) => error,
        other => panic!("not an error of etcd's files: {other}"),
    }
}

pub(crate) fn snapshot(term: u64, index: u64) -> Snapshot {
    Snapshot { data: Some(Bytes::from_static(b"some snapshot")), index, term, ..Snapshot::default() }
}
