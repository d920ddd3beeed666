//! Entries and options for the crash and corruption tests of etcd's format.

use bytes::Bytes;
use tsmith_wal::etcd::{Entry, EntryKind, WalOptions};
use tsmith_wal::testing::noise;

pub(crate) const DIR: &str = "/m/wal";

/// Segments of one page.
pub(crate) fn options() -> WalOptions {
    WalOptions { segment_bytes: 4096, ..WalOptions::default() }
}

/// An entry whose content is a function of index and term, so that a test can check it after recovery.
pub(crate) fn entry(term: u64, index: u64) -> Entry {
    let len = [3, 40, 700, 1300, 0, 150, 2600][index as usize % 7];
    let data = (!index.is_multiple_of(11)).then(|| Bytes::from(noise(index * 31 + term, len)));
    Entry { kind: EntryKind::NORMAL, term, index, data }
}
