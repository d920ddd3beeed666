//! Laws about arbitrary bytes as a segment or payload, for fuzzers and tests that mutate real files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Replayed, open_keeping};
use crate::entry::{self, Entry, Layout};
use crate::fs::{Fs, FsFile};
use crate::testing::SimFs;
use crate::{Log, LogOptions, Position, Record, RecordKind, RecoveryMode};

const DIR: &str = "/wal";

/// Law: a log whose segments have these names and bytes is opened or refused. If it is refused, nothing changes. If it is
/// opened, a second opening gives the same records. A more tolerant mode gives the same records and possibly others between
/// them.
pub fn any_bytes_are_segments_or_refused<L: Log<Fs = SimFs>>(files: &[(&str, &[u8])]) {
    let image = SimFs::default();
    image.create_dir_all(Path::new(DIR)).expect("a directory");
    for (name, bytes) in files {
        let file = image.create_new(&Path::new(DIR).join(name));
        file.and_then(|file| file.write_all_at(bytes, 0)).expect("a file");
    }
    let mut fewer: Vec<Replayed> = Vec::new();
    for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
        let fs = image.kill();
        let options = LogOptions { segment_bytes: 4096, recovery: mode, ..LogOptions::default() };
        let open = || open_keeping::<L>(fs.clone(), Path::new(DIR), options);
        let Ok((log, seen, recovery)) = open() else {
            assert_eq!(segments(&fs), segments(&image), "{mode:?}: refused, and changed");
            continue;
        };
        drop(log);
        assert!(mode != RecoveryMode::Strict || recovery.gaps.len() < 2, "{recovery:?}");
        assert_eq!(recovery.records, seen.len() as u64);
        let mut rest = seen.iter();
        let kept = fewer.iter().all(|one| rest.any(|other| one == other));
        assert!(kept, "{mode:?} gives {:?}, a stricter mode {:?}", positions(&seen), positions(&fewer));
        let (_, again, _) = open().expect("opens again");
        assert!(again == seen, "{mode:?}: {:?}, then {:?}", positions(&seen), positions(&again));
        let (log, ..) = open().expect("opens again");
        let at = log.append(Record::write(b"one more")).expect("appends");
        let _ = log.sync(at).expect("syncs");
        drop(log);
        let (_, more, _) = open().expect("opens again");
        let (last, before) = more.split_last().expect("a record");
        assert!(
            before == seen && last.2 == b"one more",
            "{mode:?}: {:?}, then {:?}",
            positions(&seen),
            positions(&more)
        );
        fewer = seen;
    }
}

fn positions(seen: &[Replayed]) -> Vec<Position> {
    seen.iter().map(|(at, ..)| *at).collect()
}

fn segments(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = fs.snapshot();
    files.retain(|path, _| path.extension().is_none_or(|extension| extension != "lock"));
    files
}

/// Law: the same for a [`native`](crate::native) segment with one record of these bytes (kind first) and valid checksums.
pub fn any_sealed_bytes_are_a_record_or_refused(bytes: &[u8]) {
    let Some((&kind, body)) = bytes.split_first() else { return };
    let segment = crate::native::sealed(kind, body);
    any_bytes_are_segments_or_refused::<crate::NativeLog<SimFs>>(&[("00000001.tlog", &segment)]);
}

/// Law: a payload (after a byte with its kind) is refused, or its batch survives a round trip through both layouts.
pub fn any_payload_is_an_entry_or_refused(bytes: &[u8]) {
    let Some((&tag, payload)) = bytes.split_first() else { return };
    let Some(kind) = RecordKind::from_tag(tag) else { return };
    let Ok(Entry::Write(batch)) = entry::decode(kind, payload) else { return };
    let mut again = Vec::new();
    for layout in [Layout::Influx, Layout::Columns] {
        again.clear();
        // The keys together may exceed the limit of the layout.
        if layout.encode_write(&batch, &mut again).is_err() {
            continue;
        }
        let decoded = entry::decode(RecordKind::Write, &again);
        let Ok(Entry::Write(second)) = decoded else { panic!("{layout:?}: {decoded:?}") };
        let mut third = Vec::new();
        layout.encode_write(&second, &mut third).expect("was just encoded");
        assert_eq!(third, again, "{layout:?}");
    }
}
