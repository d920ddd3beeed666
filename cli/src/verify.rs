//! `tsmith verify`: every checksum, order and bound.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tsmith_codecs::{AnyDecoder, BLOCK_VALUES_MAX, SeriesKey};
use tsmith_engine::{Column, FieldKey, FieldType, Manifest, files};
use tsmith_tsm::{Reader, TombstoneFile, Tombstones};
use tsmith_wal::entry::{self, Entry};
use tsmith_wal::fs::OsFs;
use tsmith_wal::native::HEAD_BYTES;
use tsmith_wal::segment::{Scan, Stop, Unit, Verdict};
use tsmith_wal::{Record, RecoveryMode};

use crate::args::{ReportFormat, Wal};
use crate::exit::{Failure, Outcome, Result, complain};
use crate::flaw::Flaw;
use crate::inspect::segment::number;
use crate::output::{Out, count};
use crate::place::{Member, Place, Skipped, Tree};
use crate::progress::{Bar, When};

/// Check every byte that has a check: names each bad file and offset.
///
/// TSM files: header, index, the checksum of every block, and that every block decodes to what the index says of it.
/// Tombstones: every record. etcd's log: every checksum and its chain, every message; its snapshot files. Segments of the log: every frame and group; that fields keep one type; the torn end that
/// a crash leaves is a note, not damage; that no record between two segments of `native` is missing. The manifest, and that the log is where it says. After a bad file the next is checked. Nothing on disk is changed.
///
/// Lines are `ok FILE: ...`, `note FILE ...` and `BAD FILE offset N: reason`. Of a directory above shards (of a database,
/// or all of InfluxDB) there is one line a shard, the bad files, and totals; what is there and not checked, such as
/// `fields.idx` and `_series`, is noted. With --format json there is one object:
/// {"bad":N,"files":[{"path","ok","summary","problems":[{"offset","key","reason"}],"notes":[...]}],
/// "shards":[{"path","files","bad","values"}],"skipped":[{"path","reason"}]}.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tsmith verify d && echo all good")]
pub(crate) struct Verify {
    /// Engine, InfluxDB 1.x shard or etcd WAL directories, directories above shards, .tsm, .tombstone, .wal or .snap files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    wal: Wal,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

/// What was found in a file.
#[derive(Default, Serialize)]
struct Finding {
    path: String,
    ok: bool,
    summary: String,
    problems: Vec<Flaw>,
    notes: Vec<Flaw>,
}

#[derive(Default, Serialize)]
struct Report {
    bad: u64,
    files: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
}

/// What was found in a shard of several.
#[derive(Default, Serialize)]
struct Shard {
    path: String,
    files: u64,
    bad: u64,
    values: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Verify {
    pub(crate) fn run(self, progress: When) -> Result<Outcome> {
        let mut bar = Bar::new(progress);
        let mut out = Out::stdout();
        let mut report = Report::default();
        let mut unreadable = None;
        for path in &self.paths {
            let tree = match Tree::find(path, self.wal.wal.as_deref()) {
                Ok(tree) => tree,
                Err(error) if self.paths.len() == 1 => return Err(error),
                Err(error) => {
                    complain(error.text());
                    unreadable = Some(error);
                    continue;
                }
            };
            for (path, place) in &tree.places {
                let found = self.place(place, tree.is_above, &mut report, (&mut out, &mut bar));
                let (shard, failed) = match found {
                    Ok(shard) => (shard, None),
                    Err(error) if self.paths.len() == 1 && !tree.is_above => return Err(error),
                    Err(error) => {
                        complain(&format!("{}: {}", path.display(), error.text()));
                        (Shard { error: Some(error.text().to_owned()), ..Shard::default() }, Some(error))
                    }
                };
                unreadable = failed.or(unreadable);
                if tree.is_above {
                    let shard = Shard { path: path.display().to_string(), ..shard };
                    if self.format == ReportFormat::Table {
                        shard.print(&mut out)?;
                    }
                    report.shards.push(shard);
                }
            }
            report.skipped.extend(tree.skipped);
        }
        bar.clear();
        self.end(&report, &mut out)?;
        match unreadable {
            Some(Failure::Io(_)) => Err(Failure::Io("some paths could not be read".to_owned())),
            unreadable => Ok(Outcome::of(report.bad > 0 || unreadable.is_some())),
        }
    }

    /// Checks the files of one place. Of one among others only what is wrong is printed.
    fn place(
        &self,
        place: &Place,
        among_others: bool,
        report: &mut Report,
        (out, bar): (&mut Out, &mut Bar),
    ) -> Result<Shard> {
        let (members, _held) = place.files()?;
        let mut types = Types::default();
        let mut shard = Shard::default();
        let first = report.files.len();
        let mut print = |finding: &Finding, bar: &mut Bar| {
            if self.format != ReportFormat::Table {
                return Ok(());
            }
            bar.clear();
            finding.print(among_others, out)
        };
        for (at, member) in members.iter().enumerate() {
            bar.show(|| format!("{at} of {} files", members.len()));
            if let Member::Skipped(skipped) = member {
                report.skipped.push(skipped.clone());
                continue;
            }
            let (values, finding) = check(member, &members[at + 1..], &mut types);
            report.bad += u64::from(!finding.ok);
            shard.bad += u64::from(!finding.ok);
            shard.files += 1;
            shard.values += values;
            print(&finding, bar)?;
            report.files.push(finding);
        }
        if let Some(finding) = chain(place, &report.files[first..]) {
            report.bad += 1;
            shard.bad += 1;
            print(&finding, bar)?;
            report.files.push(finding);
        }
        Ok(shard)
    }

    fn end(&self, report: &Report, out: &mut Out) -> Result<()> {
        let text = out.text();
        let written = match self.format {
            ReportFormat::Json => {
                let written = serde_json::to_writer_pretty(&mut *text, &report);
                text.push(b'\n');
                written.map_err(Into::into)
            }
            ReportFormat::Table => {
                let mut written = Ok(());
                for Skipped { path, reason } in &report.skipped {
                    written = written
                        .and_then(|()| writeln!(text, "note {}: not checked: {reason}", path.display()));
                }
                if !report.shards.is_empty() {
                    let values: u64 = report.shards.iter().map(|shard| shard.values).sum();
                    let bad = report.shards.iter().filter(|shard| !shard.is_fine()).count();
                    let (shards, files) = (report.shards.len(), report.files.len());
                    let (shards, files) = (count(shards, "shard"), count(files, "file"));
                    written = written.and_then(|()| {
                        writeln!(
                            text,
                            "{shards}, {bad} bad: {files}, {} bad, {}",
                            report.bad,
                            count(values, "value")
                        )
                    });
                }
                written
            }
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()
    }
}

impl Shard {
    fn is_fine(&self) -> bool {
        self.bad == 0 && self.error.is_none()
    }

    fn print(&self, out: &mut Out) -> Result<()> {
        let Self { path, files, bad, values, error } = self;
        let word = if self.is_fine() { "ok" } else { "BAD" };
        let (files, values) = (count(*files, "file"), count(*values, "value"));
        let written = match error {
            Some(error) => writeln!(out.text(), "{word} {path}: {error}"),
            None => writeln!(out.text(), "{word} {path}: {files}, {bad} bad, {values}"),
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()
    }
}

impl Finding {
    /// `brief` leaves out what is fine.
    fn print(&self, brief: bool, out: &mut Out) -> Result<()> {
        let text = out.text();
        let path = &self.path;
        let mut written = Ok(());
        if self.ok && !brief {
            written = writeln!(text, "ok {path}: {}", self.summary);
        }
        for problem in &self.problems {
            let colon = if problem.offset.is_some() { "" } else { ":" };
            written = written.and_then(|()| writeln!(text, "BAD {path}{colon} {problem}"));
        }
        for note in &self.notes {
            let colon = if note.offset.is_some() { "" } else { ":" };
            written = written.and_then(|()| writeln!(text, "note {path}{colon} {note}"));
        }
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()
    }
}

/// The type of every field seen so far: a log that contradicts the files, or itself, is not replayed.
#[derive(Default)]
struct Types {
    fields: HashMap<(Vec<u8>, Vec<u8>), FieldType>,
    keys: HashMap<Vec<u8>, FieldType>,
}

impl Types {
    /// Takes the type of a field, as the engine does; `Err` with the one it has.
    fn claim(&mut self, key: FieldKey<'_>, field_type: FieldType) -> Result<(), FieldType> {
        let measurement = SeriesKey(key.series).measurement().to_vec();
        let known = *self.fields.entry((measurement, key.field.to_vec())).or_insert(field_type);
        if known == field_type { Ok(()) } else { Err(known) }
    }

    /// Takes the type of a key in a file: two files that differ cannot be read together.
    fn claim_key(&mut self, key: &[u8], field_type: FieldType) -> Result<(), FieldType> {
        if let Some(parsed) = FieldKey::parse(key) {
            // Between files only the same key must agree; for the log the older type of the field counts.
            let _ = self.claim(parsed, field_type);
        }
        match self.keys.get(key) {
            Some(&known) if known != field_type => Err(known),
            Some(_) => Ok(()),
            None => {
                self.keys.insert(key.to_vec(), field_type);
                Ok(())
            }
        }
    }
}

/// Checks one file; `later` are those that an engine reads after it. Gives how many values it holds.
fn check(member: &Member, later: &[Member], types: &mut Types) -> (u64, Finding) {
    let mut finding = Finding::default();
    let mut values = 0;
    let (path, checked) = match member {
        Member::Manifest(path) => (path.clone(), manifest(path)),
        Member::Tsm(path) => (path.clone(), tsm(path, types, &mut values, &mut finding.problems)),
        Member::Tombstone(path) => (path.clone(), tombstone(path)),
        Member::Segment(path) => (path.clone(), segment(path, later, types, (&mut values, &mut finding))),
        Member::EtcdLog(path) => (path.clone(), etcd_log(path, &mut finding)),
        Member::EtcdSnapshot(path) => (path.clone(), etcd_snapshot(path)),
        Member::Unreadable(path, reason) => (path.clone(), Err(whole(reason))),
        Member::Skipped(Skipped { path, .. }) => (path.clone(), Ok(String::new())),
        Member::Leftover(path) => {
            let reason = "left by a crash or set aside; nothing reads it".to_owned();
            finding.notes.push(Flaw { offset: None, key: None, reason });
            (path.clone(), Ok("not part of the data".to_owned()))
        }
    };
    match checked {
        Ok(summary) => finding.summary = summary,
        Err(flaw) => finding.problems.push(flaw),
    }
    finding.path = path.display().to_string();
    finding.ok = finding.problems.is_empty();
    (values, finding)
}

fn manifest(path: &Path) -> Result<String, Flaw> {
    match Manifest::read(&OsFs, path.parent().unwrap_or(Path::new(""))) {
        Ok(Some(manifest)) => {
            let checked = tsmith_engine::driver::check(&manifest.parts);
            checked.map_err(|error| whole(error.kind()))?;
            Ok(format!("{}, log in {}", manifest.parts, manifest.wal.display()))
        }
        Ok(None) => Ok("gone".to_owned()),
        Err(error) => Err(whole(error.kind())),
    }
}

/// A flaw of a file as a whole.
fn whole(reason: impl std::fmt::Display) -> Flaw {
    Flaw { offset: None, key: None, reason: reason.to_string() }
}

fn tsm(path: &Path, types: &mut Types, held: &mut u64, problems: &mut Vec<Flaw>) -> Result<String, Flaw> {
    let bytes = files::read_file(path).map_err(|error| whole(error.kind()))?;
    let reader = Reader::new(bytes).map_err(|error| Flaw::from(&error))?;
    let mut decoder = Decoder(AnyDecoder::new());
    let mut column = Column::new(FieldType::Float);
    let mut values = 0;
    for key in reader.keys() {
        if let Err(known) = types.claim_key(key.key(), key.field_type()) {
            let name = Some(String::from_utf8_lossy(key.key()).into_owned());
            let reason = format!("is of type {} here, of type {known} in an older file", key.field_type());
            problems.push(Flaw { offset: None, key: name, reason });
        }
        for entry in key.entries() {
            match reader.read_block(key, entry, &mut decoder, BLOCK_VALUES_MAX, &mut column) {
                Ok(()) => values += column.len(),
                Err(error) => problems.push(Flaw::from(&error)),
            }
        }
    }
    *held = values as u64;
    Ok(format!(
        "{}, {}, {}",
        count(reader.len(), "key"),
        count(reader.block_count(), "block"),
        count(values, "value")
    ))
}

/// Any block, for a reader that wants an encoder.
#[derive(Default)]
struct Decoder(AnyDecoder);

impl tsmith_codecs::BlockEncoder for Decoder {
    const TAGS: &'static [u8] = &[];

    fn encode(&mut self, _: tsmith_codecs::ColumnRef<'_>, _: &mut Vec<u8>) -> tsmith_codecs::Result<()> {
        Err(tsmith_codecs::Error::unsupported(0, "encoding"))
    }

    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> tsmith_codecs::Result<()> {
        self.0.decode(block, limit, out)
    }
}

fn tombstone(path: &Path) -> Result<String, Flaw> {
    let bytes = fs::read(path).map_err(whole)?;
    let tombstones = Tombstones::new(&bytes).map_err(|error| Flaw::from(&error))?;
    let version = tombstones.version();
    let mut records = 0_u64;
    for tombstone in tombstones {
        tombstone.map_err(|error| Flaw::from(&error))?;
        records += 1;
    }
    // And that an engine has room for what they say.
    TombstoneFile::read(&bytes).map_err(|error| Flaw::from(&error))?;
    Ok(format!("version {version}, {}", count(records, "record")))
}

/// What a segment was found to hold.
#[derive(Default)]
struct Held {
    frames: u64,
    values: usize,
    conflicts: u64,
}

impl Held {
    fn take(&mut self, record: Record<'_>, offset: u64, types: &mut Types, finding: &mut Finding) {
        self.frames += 1;
        match entry::decode(record.kind, record.payload) {
            Ok(Entry::Write(batch)) => {
                self.values += batch.value_count();
                for (key, column) in batch.columns() {
                    let Err(known) = types.claim(key, column.field_type()) else { continue };
                    self.conflicts += 1;
                    if self.conflicts == 1 {
                        let key = Some(key.to_string());
                        let reason =
                            format!("is of type {} here, of type {known} before", column.field_type());
                        finding.problems.push(Flaw { offset: Some(offset), key, reason });
                    }
                }
            }
            Ok(_) => {}
            Err(error) => finding.problems.push(Flaw::at(offset, format!("payload: {error}"))),
        }
    }

    fn summary(&self) -> String {
        format!("{}, {}", count(self.frames, "frame"), count(self.values, "value"))
    }
}

fn torn(offset: u64, found: &str, bytes: u64) -> Flaw {
    Flaw::at(offset, format!("{found}: {bytes} bytes torn by a crash, cut when it is opened"))
}

fn damaged(offset: u64, found: &str) -> Flaw {
    Flaw::at(offset, format!("{found}, with intact records after it"))
}

fn segment(
    path: &Path,
    later: &[Member],
    types: &mut Types,
    (values, finding): (&mut u64, &mut Finding),
) -> Result<String, Flaw> {
    if path.extension().is_some_and(|extension| extension == "tlog") {
        return native_segment(path, later, types, (values, finding));
    }
    let bytes = fs::read(path).map_err(whole)?;
    let mut scan = Scan::new(number(path), &bytes);
    let mut held = Held::default();
    loop {
        match scan.next() {
            Ok(None) => break,
            Ok(Some(Unit::Mark(_))) => {}
            Ok(Some(Unit::Frame { record, offset, .. })) => held.take(record, offset, types, finding),
            Err(Stop::TooLarge(error)) => return Err(Flaw::from(&error)),
            Err(Stop::Bad(bad)) => {
                match scan.judge(bad, later.iter().any(holds_records)) {
                    Verdict::End => {}
                    Verdict::Torn => {
                        let bytes = scan.used_len().saturating_sub(bad.offset);
                        finding.notes.push(torn(bad.offset, bad.found, bytes));
                    }
                    Verdict::Damaged => return Err(damaged(bad.offset, bad.found)),
                }
                break;
            }
        }
    }
    *values = held.values as u64;
    Ok(held.summary())
}

fn native_segment(
    path: &Path,
    later: &[Member],
    types: &mut Types,
    (values, finding): (&mut u64, &mut Finding),
) -> Result<String, Flaw> {
    let mut held = Held::default();
    let mut offset = HEAD_BYTES as u64;
    let replayed = tsmith_wal::replay_segment(&OsFs, path, |at, record| {
        held.take(record, offset, types, finding);
        offset = at.0 & u64::from(u32::MAX);
        Ok(())
    });
    for left_out in replayed.map_err(|error| Flaw::from(&error))?.torn {
        if left_out.valid_after || later.iter().any(holds_records) {
            return Err(damaged(left_out.offset, left_out.found));
        }
        finding.notes.push(torn(left_out.offset, left_out.found, left_out.dropped_bytes));
    }
    *values = held.values as u64;
    Ok(held.summary())
}

/// What an engine would not open a log for, though each of its files is in order: `native` numbers its records through
/// all of them, and knows which are missing.
fn chain(place: &Place, files: &[Finding]) -> Option<Finding> {
    let Place::Directory { wal: Some(wal), .. } = place else { return None };
    if !files.iter().any(|file| Path::new(&file.path).extension() == Some(OsStr::new("tlog"))) {
        return None;
    }
    let error = tsmith_wal::replay_only(&OsFs, wal, RecoveryMode::Strict, |_, _| Ok(())).err()?;
    let path = error.path()?.display().to_string();
    // Said already.
    let said = files.iter().any(|file| file.path == path && !file.ok);
    (!said).then(|| Finding { path, problems: vec![Flaw::from(&error)], ..Finding::default() })
}

fn etcd_log(path: &Path, finding: &mut Finding) -> Result<String, Flaw> {
    if !path.is_dir() {
        let reason = "checksums go on from segment to segment: name the directory, or inspect the file";
        return Err(whole(reason));
    }
    let found = tsmith_wal::etcd::check(&OsFs, path).map_err(whole)?;
    if let Some(torn) = found.torn {
        let reason = format!("{}: torn by a crash, cut when it is opened", torn.path.display());
        finding.notes.push(Flaw::at(torn.offset, reason));
    }
    if let Some(behind) = found.behind.filter(|behind| behind.records > 0) {
        let reason = format!("{} whole records behind the end, which opening drops", behind.records);
        let place = behind.place.path.display();
        finding.problems.push(Flaw::at(behind.place.offset, format!("{place}: {reason}")));
    }
    let (segments, records) = (count(found.segments.len(), "segment"), count(found.records, "record"));
    Ok(format!("{segments}, {records}, {} entries, commit {}", found.entries, found.state.commit))
}

fn etcd_snapshot(path: &Path) -> Result<String, Flaw> {
    let bytes = fs::read(path).map_err(whole)?;
    let snapshot = tsmith_wal::etcd::snap::decode(&bytes).map_err(whole)?;
    Ok(format!("snapshot at index {}, term {}", snapshot.index, snapshot.term))
}

/// Whether a later segment holds anything but zeros; one that cannot be read may.
fn holds_records(member: &Member) -> bool {
    match member {
        Member::Segment(path) => fs::read(path).map_or(true, |bytes| bytes.iter().any(|&byte| byte != 0)),
        Member::Unreadable(..) => true,
        _ => false,
    }
}
