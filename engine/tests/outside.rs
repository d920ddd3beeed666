//! An encoder of another crate. Its files are written, read, compacted and repaired. An engine or a reader
//! without the encoder does not call them corrupt.

use std::fs;
use std::path::Path;

use tsmith_codecs::testing::Scrambled;
use tsmith_codecs::{BlockDecoder, BlockEncoder, ColumnRef, Decoders, Raw};
use tsmith_engine::view::View;
use tsmith_engine::{
    Column, Compact, Dirs, DynEngine, ErrorKind, FieldKey, FieldType, LineOptions, Manifest, Options, Parts,
    Registry, TimeRange, Timestamp, repair,
};
use tsmith_wal::NativeLog;
use tsmith_wal::fs::{Fs, FsFile, OsFs};
use tsmith_wal::testing::SimFs;

const DIR: &str = "/shard";
const KEY: FieldKey<'static> = FieldKey { series: b"m", field: b"v" };

/// Whether the error says that no decoder knows the tag of [`Scrambled`].
fn is_unknown_encoder(error: &tsmith_engine::Error) -> bool {
    let ErrorKind::Tsm(error) = error.kind() else { return false };
    matches!(error.kind(), tsmith_tsm::ErrorKind::UnknownEncoder { tag: 0xc5 })
}

fn with_outside<F: Fs>(fs: &F) -> Registry<F> {
    Registry::standard_on(fs).encoder::<Scrambled>("scrambled", "raw blocks backwards")
}

fn parts() -> Parts {
    "ring/file/scrambled".parse().expect("three names")
}

fn options() -> Options {
    Options { background: false, encode_threads: 1, ..Options::default() }
}

fn open<F: Fs>(fs: &F, dir: &Path) -> DynEngine<F> {
    with_outside(fs).open_on(fs.clone(), &parts(), Dirs::under(dir), options()).expect("opens")
}

fn write<F: Fs>(shard: &DynEngine<F>, times: std::ops::Range<i64>) {
    let lines: String = times.map(|time| format!("m v={time}i {time}\n")).collect();
    let report = shard.write_lines(lines.as_bytes(), &LineOptions::new(Timestamp(0))).expect("enough space");
    assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    shard.snapshot().expect("enough space");
}

#[test]
fn outside_blocks_are_compacted_and_repaired() {
    let fs = SimFs::default();
    let open = |fs: &SimFs| open(fs, Path::new(DIR));
    let shard = open(&fs);
    write(&shard, 0..1500);
    write(&shard, 1000..2500);
    shard.compact(Compact::Full).expect("merges");
    assert_eq!(shard.files().len(), 1);
    assert_eq!(shard.read(KEY, TimeRange::ALL).expect("reads").len(), 2500);
    let path = shard.files()[0].path().to_owned();
    shard.close().expect("closes");

    // One byte of the first block.
    let file = fs.open(&path).expect("exists");
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 20).expect("readable"), 1);
    file.write_all_at(&[byte[0] ^ 1], 20).and_then(|()| file.sync_all()).expect("written");
    let error =
        repair::tsm_file(&fs, &path, &[], &Decoders::standard(), false).expect_err("lacks the encoder");
    assert!(is_unknown_encoder(&error), "{error}");
    let repaired =
        repair::tsm_file(&fs, &path, &[], &with_outside(&fs).encoders().decoders(), false).expect("repairs");
    assert_eq!((repaired.salvage.kept_values, repaired.salvage.dropped_blocks()), (1500, 1));

    let times = open(&fs).read(KEY, TimeRange::ALL).expect("reads").times().to_vec();
    assert_eq!(times, (1000..2500).collect::<Vec<i64>>());
}

/// The manifest stores the name from the registry. A registry without it refuses the directory with that
/// name.
#[test]
fn the_manifest_names_the_outside_encoder() {
    let fs = SimFs::default();
    open(&fs, Path::new(DIR)).close().expect("closes");
    let manifest = Manifest::read(&fs, Path::new(DIR)).expect("readable").expect("is there");
    assert_eq!(manifest.parts, parts());
    let standard = Registry::standard_on(&fs);
    let error = standard.open_on(fs, &manifest.parts, Dirs::under(Path::new(DIR)), options());
    let error = error.map(drop).expect_err("lacks the encoder");
    assert!(matches!(error.kind(), ErrorKind::UnknownPart { part: "encoder", .. }), "{error}");
}

#[test]
fn outside_blocks_need_their_encoder() {
    let dir = tempfile::tempdir().expect("a directory");
    let shard = open(&OsFs, dir.path());
    write(&shard, 0..10);
    shard.close().expect("closes");
    let read = |registry| {
        let view = View::open(&registry, dir.path(), Some(&dir.path().join("wal"))).expect("opens");
        assert_eq!(view.problems().len(), 0, "{:?}", view.problems());
        let mut column = Column::new(FieldType::Integer);
        view.reader().read(KEY, TimeRange::ALL, &mut column).map(|()| column.len())
    };
    assert_eq!(read(with_outside(&OsFs)).expect("reads"), 10);
    let error = read(Registry::standard()).expect_err("lacks the encoder");
    assert!(is_unknown_encoder(&error), "{error}");
}

/// Story: a program without the log that the manifest names found no segment it knew. It showed the directory
/// without the log's values and reported no problem.
#[test]
fn a_missing_log_is_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::standard().log::<NativeLog>("mine", "another name");
    let parts = Parts { log: "mine".into(), ..Parts::default() };
    let shard = registry.open(&parts, Dirs::under(dir.path()), options()).expect("opens");
    shard.close().expect("closes");
    let problems = |registry| {
        let view = View::open(&registry, dir.path(), Some(&dir.path().join("wal"))).expect("opens");
        view.problems().iter().map(|error| error.kind().clone()).collect::<Vec<_>>()
    };
    assert_eq!(problems(registry).len(), 0);
    let problems = problems(Registry::standard());
    assert!(matches!(&problems[..], [ErrorKind::UnreadableLog { log }] if log == "mine"), "{problems:?}");
}

/// Repair does not start another log next to segments that may belong to the log in the manifest.
#[test]
fn repair_keeps_the_name_of_an_unknown_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let wal = dir.path().join("wal");
    fs::create_dir(&wal).expect("creates");
    fs::write(wal.join("mine.1"), b"a segment").expect("writes");
    let manifest = "tsmith 1\nstorer ring\nlog mine\nencoder tsm1\nwal wal\ntypes series\ncrc 00000000\n";
    fs::write(dir.path().join("tsmith.manifest"), manifest).expect("writes");
    let repaired = repair::manifest(&Registry::standard(), &OsFs, dir.path(), None, false);
    let error = repaired.map(drop).expect_err("the log is unknown");
    assert!(matches!(error.kind(), ErrorKind::UnreadableLog { log } if log == "mine"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("tsmith.manifest")).expect("is there"), manifest);
}

/// An encoder whose blocks begin with another encoder's tag.
#[derive(Debug, Default)]
struct Mislabelled(Raw);

impl BlockDecoder for Mislabelled {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> tsmith_codecs::Result<()> {
        self.0.decode(block, limit, out)
    }
}

impl BlockEncoder for Mislabelled {
    fn tags(&self) -> &'static [u8] {
        &[0x90]
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> tsmith_codecs::Result<()> {
        self.0.encode(column, out)
    }
}

/// Story: such blocks were written to a file, the log was truncated, and no reader found the decoder.
#[test]
fn blocks_with_a_wrong_tag_are_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::standard().encoder::<Mislabelled>("mislabelled", "raw blocks under a wrong tag");
    let parts: Parts = "ring/file/mislabelled".parse().expect("three names");
    let shard = registry.open_on(OsFs, &parts, Dirs::under(dir.path()), options()).expect("opens");
    assert!(shard.write_lines(b"m v=1i 1", &LineOptions::new(Timestamp(0))).expect("writes").ack.is_some());
    let error = shard.snapshot().expect_err("the tag is wrong");
    assert!(matches!(error.kind(), ErrorKind::Encode { .. }), "{error}");
    assert_eq!(shard.read(KEY, TimeRange::ALL).expect("reads").times(), [1]);
}
