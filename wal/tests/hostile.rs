//! Real segments and payloads with random edits: parts are flipped, overwritten, zeroed, cut, removed or copied. The programs
//! under `fuzz/` do the same for longer.
//!
//! `PROPTEST_CASES` sets the number of cases.

mod support;

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use tsmith_wal::entry::Layout;
use tsmith_wal::fs::Fs;
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::{hostile, noise, open_keeping};
use tsmith_wal::{
    BatchBuilder, EtcdLog, FieldKey, FileLog, Log, LogOptions, NativeLog, Record, TimeRange, Value, entry,
    segment_names,
};

use support::{disk_with, influxdb_segment};

#[derive(Clone, Debug)]
enum Edit {
    Flip(usize, u8),
    Put(usize, Vec<u8>),
    Zero(usize, usize),
    Cut(usize),
    Remove(usize, usize),
    /// Inserts a copy of some bytes at another offset.
    Copy(usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, len) = (any::<usize>(), 1..80_usize);
    prop_oneof![
        3 => (at, 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (at, prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Edit::Put(at, bytes)),
        1 => (at, len.clone()).prop_map(|(at, len)| Edit::Zero(at, len)),
        1 => at.prop_map(Edit::Cut),
        1 => (at, len.clone()).prop_map(|(at, len)| Edit::Remove(at, len)),
        1 => (at, at, len).prop_map(|(from, to, len)| Edit::Copy(from, to, len)),
    ]
}

fn edited(seed: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for edit in edits {
        let place = |at: usize| at % (bytes.len() + 1);
        let span = |at: usize, len: usize| place(at)..(place(at) + len).min(bytes.len());
        match edit {
            Edit::Flip(at, bit) => {
                let at = place(*at);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            Edit::Put(at, put) => {
                let span = span(*at, put.len());
                let len = span.len();
                bytes[span].copy_from_slice(&put[..len]);
            }
            Edit::Zero(at, len) => {
                let span = span(*at, *len);
                bytes[span].fill(0);
            }
            Edit::Cut(at) => bytes.truncate(place(*at)),
            Edit::Remove(at, len) => {
                let span = span(*at, *len);
                bytes.drain(span);
            }
            Edit::Copy(from, to, len) => {
                let (copy, to) = (bytes[span(*from, *len)].to_vec(), place(*to));
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

fn payloads() -> Vec<(u8, Vec<u8>)> {
    let mut builder = BatchBuilder::new();
    for time in 0..20 {
        builder.begin(b"m,t=a".as_slice().into());
        builder.field(b"i".as_slice().into(), Value::Integer(time * time)).expect("one type");
        builder.field(b"f".as_slice().into(), Value::Float(time as f64 / 3.0)).expect("one type");
        builder.field(b"b".as_slice().into(), Value::Boolean(time % 3 == 0)).expect("one type");
        builder.field(b"s".as_slice().into(), Value::String(b"a string")).expect("one type");
        builder.field(b"u".as_slice().into(), Value::Unsigned(u64::MAX)).expect("one type");
        builder.commit(time * 1_000_000_007);
    }
    let batch = builder.finish();
    let mut payloads = Vec::new();
    for layout in [Layout::Influx, Layout::Columns] {
        let mut payload = Vec::new();
        layout.encode_write(&batch, &mut payload).expect("encodes");
        payloads.push((1, payload));
    }
    let mut payload = Vec::new();
    let keys = [FieldKey::new(b"m,t=a", b"i"), FieldKey::new(b"m,t=b", b"f")];
    entry::encode_delete_range(TimeRange::new(3, 9), &keys, &mut payload).expect("encodes");
    payloads.push((3, payload));
    payloads
}

/// A log: names and contents.
type Files = Vec<(String, Vec<u8>)>;

/// Segments of several groups. The log is closed, or dropped as by a kill.
fn segments<L: Log<Fs = SimFs>>(segment_bytes: u32, closed: bool) -> Files {
    let (fs, dir) = (SimFs::default(), Path::new("/w"));
    let options = LogOptions { segment_bytes, ..LogOptions::default() };
    let (log, _) = L::open(fs.clone(), dir, options, |_, _| Ok(())).expect("opens");
    for (number, (_, payload)) in payloads().iter().cycle().take(6).enumerate() {
        let at = log.append(Record::write(payload)).expect("appends");
        if number % 2 == 1 {
            let _ = log.sync(at).expect("syncs");
        }
    }
    let at = log.append(Record::write(&noise(5, 600))).and_then(|at| log.sync(at));
    let _ = at.expect("syncs");
    if closed {
        log.close().expect("closes");
    }
    let names = segment_names(&fs, dir).expect("lists").into_iter();
    let read = |name: String| {
        let mut bytes = fs.read(&dir.join(&name)).expect("reads");
        // A few trailing zeros are enough.
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 40);
        bytes.truncate(used.min(bytes.len()));
        (name, bytes)
    };
    names.map(read).collect()
}

fn seeds<L: Log<Fs = SimFs>>() -> Vec<Files> {
    let of = |closed| [2 << 10, 16 << 10].map(|segment_bytes| segments::<L>(segment_bytes, closed));
    [of(true), of(false)].concat()
}

static OF_INFLUX: LazyLock<Vec<Files>> = LazyLock::new(|| {
    let mut seeds = seeds::<FileLog<SimFs>>();
    seeds.push(vec![("_00002.wal".to_owned(), influxdb_segment())]);
    seeds
});
static OF_NATIVE: LazyLock<Vec<Files>> = LazyLock::new(seeds::<NativeLog<SimFs>>);
static OF_ETCD: LazyLock<Vec<Files>> = LazyLock::new(seeds::<EtcdLog<SimFs>>);
static PAYLOADS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| payloads().into_iter().map(|(tag, payload)| [&[tag][..], &payload].concat()).collect());

/// Edits one segment of a log. In half of the cases it is the last segment.
fn open_edited<L: Log<Fs = SimFs>>(seeds: &[Files], which: usize, edits: &[Edit]) {
    let mut files = seeds[which % seeds.len()].clone();
    let (count, which) = (files.len(), which / seeds.len());
    let at = if which.is_multiple_of(2) { count - 1 } else { which / 2 % count };
    files[at].1 = edited(&files[at].1, edits);
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    hostile::any_bytes_are_segments_or_refused::<L>(&files);
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), 1..5)
}

proptest! {
    #[test]
    fn edited_influxdb_segments_are_read_or_refused(which in any::<usize>(), edits in edits()) {
        open_edited::<FileLog<SimFs>>(&OF_INFLUX, which, &edits);
    }

    #[test]
    fn edited_native_segments_are_read_or_refused(which in any::<usize>(), edits in edits()) {
        open_edited::<NativeLog<SimFs>>(&OF_NATIVE, which, &edits);
    }

    #[test]
    fn edited_etcd_segments_are_read_or_refused(which in any::<usize>(), edits in edits()) {
        open_edited::<EtcdLog<SimFs>>(&OF_ETCD, which, &edits);
    }

    #[test]
    fn edited_payloads_are_decoded_or_refused(which in 0..3_usize, edits in edits()) {
        hostile::any_payload_is_an_entry_or_refused(&edited(&PAYLOADS[which], &edits));
    }

    #[test]
    fn edited_native_records_are_read_or_refused(kind in any::<u8>(), which in 0..3_usize, edits in edits()) {
        let bytes = edited(&PAYLOADS[which], &edits);
        hostile::any_sealed_bytes_are_a_record_or_refused(&[&[kind][..], &bytes].concat());
    }
}

/// Story: a salvage continued after a corrupt record, because a later record said that it had been durable. That later record
/// followed a torn write and was cut with it. The next open took the corruption for a torn tail and cut the salvaged records.
#[test]
fn any_set_of_corrupt_records_is_salvaged() {
    fn check<L: Log<Fs = SimFs>>() {
        let files = segments::<L>(16 << 10, false);
        let ends = ends::<L>(&files);
        assert_eq!(ends.len(), 7, "in one segment");
        for choice in 0..1_u32 << ends.len() {
            let mut corrupt = files.clone();
            for (at, end) in ends.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1) {
                corrupt[0].1[end - 3] ^= 1 << (at % 8);
            }
            let corrupt: Vec<_> = corrupt.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
            hostile::any_bytes_are_segments_or_refused::<L>(&corrupt);
        }
    }
    check::<FileLog<SimFs>>();
    check::<NativeLog<SimFs>>();
}

/// The offsets at which the records of the first segment end.
fn ends<L: Log<Fs = SimFs>>(files: &Files) -> Vec<usize> {
    let dir = Path::new("/w");
    let fs = disk_with(files.iter().map(|(name, bytes)| (dir.join(name), bytes)));
    let (_, seen, _) = open_keeping::<L>(fs, dir, LogOptions::default()).expect("opens");
    seen.iter().map(|(at, ..)| (at.0 & 0xffff_ffff) as usize).collect()
}

/// Story: a flipped bit turned the metadata in a segment's head into a snapshot, because the checksum does not cover the kind.
/// The segment had no valid head then, so it was removed with its records, although they had just been replayed.
#[test]
fn a_corrupt_head_loses_no_replayed_record() {
    let files = segments::<EtcdLog<SimFs>>(2 << 10, false);
    let last = files.len() - 1;
    for (at, bit) in (0..120).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut corrupt = files.clone();
        let bytes = &mut corrupt[last].1;
        bytes[at] ^= 1 << bit;
        // A torn tail.
        bytes.truncate(bytes.len() - 100);
        let corrupt: Vec<_> = corrupt.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        hostile::any_bytes_are_segments_or_refused::<EtcdLog<SimFs>>(&corrupt);
    }
}
