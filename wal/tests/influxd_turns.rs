//! Tsmith and influxd take turns on one directory, also after kills and power cuts. The tests run a small model of influxd on
//! the simulated file system. `engine/tests/taken_over.rs` runs the real influxd if it is installed.

mod support;

use std::path::{Path, PathBuf};

use tsmith_wal::entry::{self, Layout};
use tsmith_wal::fs::{Fs, FsFile};
use tsmith_wal::testing::SimFs;
use tsmith_wal::testing::influx::{Frames, file_name, parse_name};
use tsmith_wal::testing::{noise, open_keeping};
use tsmith_wal::{
    ErrorKind, FieldType, FileLog, Log, LogOptions, MmapLog, Record, RecordKind, Recovery, RecoveryMode,
    RunBuilder, Value, replay_only,
};

use support::Dice;

const DIR: &str = "/db/wal";

/// influxd's limit is 10 MiB.
const INFLUXD_SEGMENT_BYTES: usize = 3000;

fn options() -> LogOptions {
    LogOptions { segment_bytes: 6000, ..LogOptions::default() }
}

/// A write of one point: the number as its time, and a string that snappy cannot shorten.
fn payload(number: u32) -> Vec<u8> {
    let len = [3, 40, 700, 1300, 20, 150, 2100][number as usize % 7];
    let mut builder = RunBuilder::new();
    builder.begin(b"m".into(), b"s".into(), FieldType::String);
    assert!(builder.push(number.into(), Value::String(&noise(number.into(), len))));
    let mut payload = Vec::new();
    Layout::Influx.encode_write(&builder.finish(), &mut payload).expect("encodes");
    payload
}

fn frame(payload: &[u8]) -> Vec<u8> {
    Frames::default().record(Record::write(payload)).expect("frames").to_vec()
}

/// The frames that influxd reads from a segment, and where it cuts the segment.
fn influxd_reads(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut read, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some((&[tag, a, b, c, d], body)) = rest.split_first_chunk() else { return (read, at) };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let plain = body.get(..len).and_then(|body| snap::raw::Decoder::new().decompress_vec(body).ok());
        match (RecordKind::from_tag(tag), plain) {
            (Some(RecordKind::Write), Some(plain)) if entry::decode(RecordKind::Write, &plain).is_ok() => {
                read.push(plain);
            }
            // A mark of ours, which deletes nothing.
            (Some(RecordKind::DeleteRange), Some(plain)) if plain.len() == 16 => {}
            _ => return (read, at),
        }
        at += 5 + len;
    }
}

/// A model of the log of influxd 1.6.7.
struct Influxd {
    fs: SimFs,
    number: u32,
    current: Option<PathBuf>,
    /// The offset of the next write in `current`. After it cuts a torn tail, influxd still writes at the old end of the file.
    /// This is a bug in influxd.
    offset: u64,
    written: usize,
}

impl Influxd {
    /// Starts influxd. Returns the payloads that it reads.
    fn start(fs: &SimFs) -> (Self, Vec<Vec<u8>>) {
        let mut server = Self { fs: fs.clone(), number: 0, current: None, offset: 0, written: 0 };
        let mut paths: Vec<PathBuf> = server.segments();
        if let Some(last) = paths.last().cloned() {
            server.number = last.file_name().and_then(parse_name).expect("a segment");
            server.offset = fs.read(&last).expect("reads").len() as u64;
            if server.offset == 0 {
                fs.remove(&last).expect("removes");
                paths.pop();
            } else {
                server.current = Some(last);
            }
        }
        let mut read = Vec::new();
        for path in paths {
            let bytes = fs.read(&path).expect("reads");
            let (records, end) = influxd_reads(&bytes);
            read.extend(records);
            if end < bytes.len() {
                fs.open(&path).and_then(|file| file.set_len(end as u64)).expect("cuts");
            }
        }
        (server, read)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = self.fs.list(Path::new(DIR)).expect("lists");
        let mut names: Vec<_> = names.into_iter().filter(|name| parse_name(name).is_some()).collect();
        names.sort();
        names.into_iter().map(|name| Path::new(DIR).join(name)).collect()
    }

    fn begin_segment(&mut self) {
        self.number += 1;
        let path = Path::new(DIR).join(file_name(self.number));
        drop(self.fs.create_new(&path));
        self.fs.sync_dir(Path::new(DIR)).expect("syncs");
        (self.current, self.offset, self.written) = (Some(path), 0, 0);
    }

    /// Writes a frame, or the start of one. Returns whether there is a hole before it.
    fn write(&mut self, frame: &[u8]) -> bool {
        let path = match &self.current {
            Some(path) if self.written <= INFLUXD_SEGMENT_BYTES => path.clone(),
            _ => {
                self.begin_segment();
                self.current.clone().expect("just begun")
            }
        };
        let file = self.fs.open(&path).expect("opens");
        let hole = self.offset > file.len().expect("a length");
        file.write_all_at(frame, self.offset).and_then(|()| file.sync_all()).expect("writes");
        self.offset += frame.len() as u64;
        self.written += frame.len();
        hole
    }
}

fn strictly(fs: &SimFs) -> tsmith_wal::Result<(Vec<Vec<u8>>, Recovery)> {
    let mut read = Vec::new();
    let recovery = replay_only(fs, Path::new(DIR), RecoveryMode::Strict, |_, record| {
        read.push(record.payload.to_vec());
        Ok(())
    })?;
    Ok((read, recovery))
}

/// influxd's bug leaves a hole before a record that it acknowledged. Its next start loses the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hole {
    Never,
    Open,
    CutOff,
}

/// A directory that both programs use in turns.
struct World {
    fs: SimFs,
    dice: Dice,
    next: u32,
    /// Records that either program acknowledged, without those that influxd lost by its own bug.
    acknowledged: Vec<Vec<u8>>,
    /// influxd ran last.
    taken_over: bool,
    /// influxd has started since our log was opened.
    unsealed: bool,
    hole: Hole,
    story: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let fs = SimFs::default();
        fs.create_dir_all(Path::new(DIR)).expect("creates");
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        let (acknowledged, story) = (Vec::new(), Vec::new());
        let (taken_over, unsealed, hole) = (false, false, Hole::Never);
        Self { fs, dice, next: 0, acknowledged, taken_over, unsealed, hole, story }
    }

    /// Our log appends some groups, until it is stopped at any operation or is closed.
    fn ours<L: Log<Fs = SimFs>>(&mut self) {
        let groups: Vec<u32> = (0..2 + self.dice.below(5)).map(|_| 1 + self.dice.below(5) as u32).collect();
        settle(&self.fs);
        let complete = self.fs.kill();
        self.append::<L>(&complete, &groups);
        let stop = 1 + self.dice.below(complete.operations() + 10);
        let fs = self.fs.kill();
        fs.stop_at(stop);
        let (opened, acknowledged) = self.append::<L>(&fs, &groups);
        self.next += groups.iter().sum::<u32>();
        self.acknowledged.extend(acknowledged);
        let power = self.dice.below(3) > 0;
        self.fs = if power { fs.crash(stop ^ self.dice.0) } else { fs.kill() };
        self.unsealed &= !opened;
        self.taken_over = false;
        let how = if power { "loses power" } else { "is killed" };
        self.story.push(format!("ours appends {groups:?} and {how} at {stop}"));
    }

    /// Returns whether the log opened, and which payloads it acknowledged.
    fn append<L: Log<Fs = SimFs>>(&self, fs: &SimFs, groups: &[u32]) -> (bool, Vec<Vec<u8>>) {
        let mut acknowledged = Vec::new();
        let mut number = self.next;
        let Ok((log, ..)) = open_keeping::<L>(fs.clone(), Path::new(DIR), options()) else {
            return (false, acknowledged);
        };
        for &group in groups {
            let payloads: Vec<_> = (number..number + group).map(payload).collect();
            number += group;
            let appended = payloads.iter().map(|payload| log.append(Record::write(payload)));
            let Ok(Some(last)) = appended.collect::<Result<Vec<_>, _>>().map(|all| all.last().copied())
            else {
                break;
            };
            if log.sync(last).is_err() {
                break;
            }
            acknowledged.extend(payloads);
        }
        (true, acknowledged)
    }

    /// influxd starts, writes, and is stopped or killed.
    fn influxd(&mut self) {
        self.fs = self.fs.kill();
        let (mut server, read) = Influxd::start(&self.fs);
        if self.hole == Hole::Open {
            // influxd itself lost the others.
            self.acknowledged.retain(|payload| read.contains(payload));
            self.hole = Hole::CutOff;
        }
        (self.taken_over, self.unsealed) = (true, true);
        let writes = [0, 0, 1, 1, 2, 6][self.dice.below(6) as usize];
        for _ in 0..writes {
            if server.write(&frame(&payload(self.next))) {
                self.hole = Hole::Open;
            }
            self.acknowledged.push(payload(self.next));
            self.next += 1;
        }
        let end = match self.dice.below(8) {
            0 => {
                let frame = frame(&payload(self.next));
                let cut = 1 + self.dice.below(frame.len() as u64 - 1) as usize;
                self.next += 1;
                // A hole before an unacknowledged record loses nothing.
                let _hole = server.write(&frame[..cut]);
                "is killed during a write"
            }
            1 if server.written > INFLUXD_SEGMENT_BYTES => {
                server.begin_segment();
                "is killed after it began a segment"
            }
            _ => "is stopped",
        };
        self.story.push(format!("influxd writes {writes} and {end}"));
    }

    /// Checks what must hold while neither program runs.
    fn check(&mut self) {
        let story = self.story.join("; ");
        let (_, theirs) = Influxd::start(&self.fs.kill());
        let (ours, recovery) = match strictly(&self.fs.kill()) {
            Ok(read) => read,
            Err(error) => {
                assert!(
                    self.hole == Hole::Open && matches!(error.kind(), ErrorKind::CorruptSegment { .. }),
                    "{story}: {error}"
                );
                let salvaged = self.open_for_writing(&self.fs, RecoveryMode::Salvage);
                assert!(self.acknowledged.iter().all(|payload| salvaged.contains(payload)), "{story}");
                return;
            }
        };
        let acknowledged: Vec<_> =
            ours.iter().filter(|payload| self.acknowledged.contains(payload)).cloned().collect();
        assert!(acknowledged == self.acknowledged, "{story}: an acknowledged record is lost");
        if self.taken_over {
            assert!(ours == theirs, "{story}: influxd reads other records");
        } else {
            assert!(theirs.starts_with(&ours), "{story}: influxd reads other records");
            assert!(self.unsealed || recovery.unverified.is_empty(), "{story}: {recovery:?}");
        }
        // Opening for writing gives the same records, also after an interrupted open.
        let opened = self.open_for_writing(&self.fs, RecoveryMode::Strict);
        assert!(opened == ours, "{story}: opened for writing");
        settle(&self.fs);
        for _ in 0..2 {
            let stop = 1 + self.dice.below(24);
            let fs = self.fs.kill();
            fs.stop_at(stop);
            drop(open(&fs, RecoveryMode::Strict));
            for image in [fs.kill(), fs.crash(self.dice.0)] {
                let opened = self.open_for_writing(&image, RecoveryMode::Strict);
                assert!(opened == ours, "{story}: opened, stopped at {stop}, opened again");
            }
        }
    }

    /// Opens a copy of the log and returns its records. In strict mode, opens it again and compares.
    fn open_for_writing(&self, fs: &SimFs, mode: RecoveryMode) -> Vec<Vec<u8>> {
        let (fs, story) = (fs.kill(), self.story.join("; "));
        let (mut first, _) = open(&fs, mode).unwrap_or_else(|error| panic!("{story}: {error}"));
        if mode == RecoveryMode::Strict {
            // After a hole, a power cut may restore bytes that influxd cut without a sync.
            let fs = if self.hole == Hole::Never { fs.crash(self.dice.0) } else { fs.kill() };
            let again = open(&fs, mode);
            let (mut second, recovery) = again.unwrap_or_else(|error| panic!("{story}: once more: {error}"));
            assert_eq!(second.pop(), Some(payload(u32::MAX)), "{story}");
            assert!(second == first && recovery.unverified.is_empty(), "{story}: opened once more");
        }
        // An interrupted open may already have appended its record.
        first.retain(|record| *record != payload(u32::MAX));
        first
    }
}

/// The system writes everything to the disk.
fn settle(fs: &SimFs) {
    for path in fs.snapshot().keys() {
        fs.open(path).and_then(|file| file.sync_all()).expect("syncs");
    }
    fs.sync_dir(Path::new(DIR)).expect("syncs");
}

/// Opens the log and appends a record.
fn open(fs: &SimFs, mode: RecoveryMode) -> tsmith_wal::Result<(Vec<Vec<u8>>, Recovery)> {
    let options = LogOptions { recovery: mode, ..options() };
    let (log, seen, recovery) = open_keeping::<FileLog<SimFs>>(fs.clone(), Path::new(DIR), options)?;
    let _durable = log.append(Record::write(&payload(u32::MAX))).and_then(|at| log.sync(at))?;
    Ok((seen.into_iter().map(|(.., payload)| payload).collect(), recovery))
}

/// Law: no record that either program acknowledged is lost, whichever operation stops our log and whatever influxd does next.
/// Our log reads the same records as influxd after a restart, except for our own last group.
fn turns<L: Log<Fs = SimFs>>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed);
        world.story.push(format!("seed {seed}"));
        for _ in 0..3 {
            world.ours::<L>();
            world.check();
            for _ in 0..world.dice.below(5) {
                world.influxd();
                world.check();
                if world.hole == Hole::Open && world.dice.below(2) == 0 {
                    // With the hole, our log would not open.
                    world.influxd();
                    world.check();
                }
            }
            if world.hole == Hole::Open {
                break;
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_turns_with_influxd() {
    turns::<FileLog<SimFs>>(0..120);
    turns::<MmapLog<SimFs>>(1000..1040);
}

/// Story: influxd appended to our segment. It was killed just after it created its next segment, an empty file in the place
/// where we keep an empty segment too.
#[test]
fn frames_after_the_end_of_a_group_are_influxds() {
    let world = World::new(1);
    let (log, ..) =
        open_keeping::<FileLog<SimFs>>(world.fs.clone(), Path::new(DIR), options()).expect("opens");
    let appended = [0, 1, 4].map(|number| log.append(Record::write(&payload(number))).expect("appends"));
    let _durable = log.sync(appended[2]).expect("syncs");
    let fs = world.fs.kill();
    let segment = Path::new(DIR).join(file_name(1));
    let torn = (appended[2].0 & u64::from(u32::MAX)) - 5;
    fs.open(&segment).and_then(|file| file.set_len(torn)).expect("cuts");
    drop(Influxd::start(&fs));
    let (mut server, read) = Influxd::start(&fs);
    assert_eq!(read, [payload(0), payload(1)]);
    server.write(&frame(&payload(2)));
    server.begin_segment();
    let (read, recovery) = strictly(&fs).expect("opens");
    assert_eq!(read, [0, 1, 2].map(payload));
    assert_eq!(recovery.unverified.len(), 1);
}
