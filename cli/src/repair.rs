//! `tsmith repair`: what is whole of damaged files goes on, what is not is set aside.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tsmith_engine::repair::{self, Owned, Repaired, TombstoneLoss};
use tsmith_engine::view::hold;
use tsmith_engine::{Manifest, TimeRange};
use tsmith_tsm::{DamagedKey, Salvage};
use tsmith_wal::SegmentRepair;
use tsmith_wal::fs::OsFs;

use crate::args::{ReportFormat, Wal};
use crate::clock::rfc3339_text;
use crate::exit::{Failure, Outcome, Result, complain};
use crate::flaw::Flaw;
use crate::output::{Out, count, printable};
use crate::place::{Member, Place, Tree};

/// Write damaged files anew from what of them is whole, and keep them as they were under another name.
///
/// TSM files: every block whose checksum is right and that decodes is kept, under its key; the others are dropped. The
/// index must be sound, for the keys are nowhere else: a file without one is told, and left as it is. Tombstones: whole
/// gzip members, whole records; of a last one that is cut short the records whose keys the TSM file has. Points that only
/// lost tombstones deleted are back afterwards. The log: every record that checks out; the torn end that a crash leaves is
/// no damage, the next opening cuts it. etcd's log: its torn end is cut.
///
/// A damaged file stays beside the repaired one, as NAME.bad (of etcd's log as NAME.broken): nothing reads it, and you
/// remove it. The repaired file takes the name in one step, so that a crash leaves the one or the other. Run it as the
/// user of the directory, with influxd stopped.
///
/// Exit code 0: all was whole; 1: something was dropped, or could not be repaired.
///
/// With --format json there is one object with `dry_run`, `problems`, `skipped` and `files`; of each file `path`, `kind`,
/// `state` (whole, torn, repaired, with --dry-run damaged, or lost), `kept`, `dropped`, `set_aside`, `error`; of TSM files
/// `keys` with `key`, `kept_blocks`, `kept_values`, `kept_min`, `kept_max`, and `dropped` and `mended` blocks with `offset`,
/// `min`, `max` and `reason`; of others `gaps` with `offset`, `bytes` and `reason`.
#[derive(Debug, Args)]
#[command(
    name = "repair",
    after_help = "Examples:\n  tsmith repair d --dry-run\n  tsmith repair /var/lib/influxdb/data/db/autogen/1 --wal /var/lib/influxdb/wal/db/autogen/1"
)]
pub(crate) struct RepairArgs {
    /// An engine directory, an InfluxDB 1.x shard directory or one above such, an etcd WAL directory, a .tsm, .tombstone,
    /// .wal or .tlog file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    wal: Wal,
    /// Only say what would be kept and dropped
    #[arg(long)]
    dry_run: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

/// How a file was found, and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Whole,
    /// Its end is torn by a crash; opening the log cuts it.
    Torn,
    Repaired,
    /// To be repaired without `--dry-run`.
    Damaged,
    /// It cannot be repaired, and is as it was.
    Lost,
}

#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    /// Files of which something is not whole.
    problems: u64,
    files: Vec<File>,
    skipped: Vec<crate::place::Skipped>,
}

/// One file.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    kind: &'static str,
    state: State,
    kept: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dropped: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_aside: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<Gap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// One key of a TSM file of which not all is whole.
#[derive(Debug, Serialize)]
struct Key {
    #[serde(rename = "key")]
    name: String,
    kept_blocks: u64,
    kept_values: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_max: Option<i64>,
    dropped: Vec<Block>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mended: Vec<Block>,
}

#[derive(Debug, Serialize)]
struct Block {
    offset: u64,
    min: i64,
    max: i64,
    reason: String,
}

/// A part of a log or of tombstones.
#[derive(Debug, Serialize)]
struct Gap {
    offset: u64,
    bytes: u64,
    reason: String,
}

impl RepairArgs {
    pub(crate) fn run(self) -> Result<Outcome> {
        let tree = Tree::find(&self.path, self.wal.wal.as_deref())?;
        let mut report =
            Report { dry_run: self.dry_run, problems: 0, files: Vec::new(), skipped: tree.skipped };
        let mut out = Out::stdout();
        let mut failure = None;
        for (path, place) in &tree.places {
            if let Err(error) = self.place(place, &mut report, &mut out) {
                if tree.is_above {
                    complain(&format!("{}: {}", path.display(), error.text()));
                }
                failure = Some(error);
            }
        }
        let (dry_run, problems) = (report.dry_run, report.problems);
        let written = match self.format {
            ReportFormat::Json => {
                let written = serde_json::to_writer_pretty(out.text(), &report);
                out.text().push(b'\n');
                written.map_err(Into::into)
            }
            ReportFormat::Table => {
                report.skipped.iter().for_each(crate::place::Skipped::note);
                let end = match (problems, dry_run) {
                    (0, _) => "all whole".to_owned(),
                    (_, true) => format!("{problems} not whole; nothing was changed (dry run)"),
                    (_, false) => format!("{problems} not whole"),
                };
                writeln!(out.text(), "{}, {end}", count(report.files.len() as u64, "file"))
            }
        };
        debug_assert!(written.is_ok(), "vectors take all");
        out.flush()?;
        match failure {
            // What was repaired before it is reported all the same.
            Some(failure) if !tree.is_above => Err(failure),
            Some(Failure::Io(_)) => Err(Failure::Io("some shards could not be repaired".to_owned())),
            failure => Ok(Outcome::of(problems > 0 || failure.is_some())),
        }
    }

    fn place(&self, place: &Place, report: &mut Report, out: &mut Out) -> Result<()> {
        // A path that holds nothing of ours gets no lock either.
        place.members()?;
        let dir = directory_of(place);
        // Nobody of ours comes in between; a dry run leaves no lock behind.
        let _held = if self.dry_run { hold(&dir)? } else { None };
        let _owned = if self.dry_run || is_log_alone(place) { None } else { Some(Owned::take(&OsFs, &dir)?) };
        let members = place.members()?;
        let mut log_done = false;
        for member in members {
            let files = match &member {
                Member::Tsm(path) => vec![self.tsm(path)],
                Member::Tombstone(path) => vec![self.tombstones(path)],
                Member::Segment(_) if log_done => continue,
                Member::Segment(path) => {
                    log_done = true;
                    let alone = matches!(place, Place::Segment(_));
                    self.log(path, alone)?
                }
                Member::EtcdLog(path) => vec![self.etcd(path)],
                Member::Manifest(path) => vec![manifest(path)],
                Member::EtcdSnapshot(path) => vec![File::new(path, "etcd-snapshot", State::Lost).because(
                    "snapshots of etcd hold one checksum and cannot be repaired; `tsmith verify` checks them",
                )],
                Member::Unreadable(path, reason) => {
                    vec![File::new(path, "unknown", State::Lost).because(reason)]
                }
                Member::Leftover(_) => continue,
                Member::Skipped(skipped) => {
                    report.skipped.push(skipped.clone());
                    continue;
                }
            };
            for file in files {
                report.problems += u64::from(!matches!(file.state, State::Whole | State::Torn));
                if self.format == ReportFormat::Table {
                    file.print(out)?;
                }
                report.files.push(file);
            }
        }
        Ok(())
    }

    fn state(&self, set_aside: Option<&PathBuf>) -> State {
        match set_aside {
            None => State::Whole,
            Some(_) if self.dry_run => State::Damaged,
            Some(_) => State::Repaired,
        }
    }

    fn tsm(&self, path: &Path) -> File {
        let Repaired { salvage, set_aside, gone } = match repair::tsm_file(&OsFs, path, self.dry_run) {
            Ok(repaired) => repaired,
            Err(error) => return File::new(path, "tsm", State::Lost).because(Failure::from(error).text()),
        };
        let Salvage { kept_keys, kept_blocks, kept_values, .. } = salvage;
        let mut file = File::new(path, "tsm", self.state(set_aside.as_ref()));
        file.kept = format!(
            "{}, {}, {}",
            count(kept_keys, "key"),
            count(kept_blocks, "block"),
            count(kept_values, "value")
        );
        if file.state != State::Whole {
            let mended: usize = salvage.damaged.iter().map(|key| key.mended.len()).sum();
            file.dropped = count(salvage.dropped_blocks(), "block");
            if mended > 0 {
                file.dropped.push_str(", index mended for ");
                file.dropped.push_str(&count(mended as u64, "block"));
            }
            if gone {
                file.dropped += "; nothing is left, so that no file has the name";
            }
        }
        file.keys = salvage.damaged.iter().map(Key::of).collect();
        file.set_aside = set_aside.map(|path| path.display().to_string());
        file
    }

    fn tombstones(&self, path: &Path) -> File {
        let repaired = match repair::tombstones(&OsFs, path, self.dry_run) {
            Ok(repaired) => repaired,
            Err(error) => {
                return File::new(path, "tombstone", State::Lost).because(Failure::from(error).text());
            }
        };
        let Repaired { salvage: TombstoneLoss { salvage, believed }, set_aside, .. } = repaired;
        let mut file = File::new(path, "tombstone", self.state(set_aside.as_ref()));
        let records = count(salvage.kept_records, "record");
        file.kept = match believed {
            0 => records,
            believed => format!("{records}, and {believed} without a checksum whose keys exist"),
        };
        let lost = |lost: &tsmith_tsm::LostTombstones| Gap {
            offset: lost.offset,
            bytes: lost.bytes,
            reason: lost.error.kind().to_string(),
        };
        file.gaps = salvage.lost.iter().map(lost).collect();
        if !file.gaps.is_empty() {
            let bytes: u64 = file.gaps.iter().map(|gap| gap.bytes).sum();
            file.dropped = format!("{bytes} bytes; what only they deleted is there again");
        }
        file.set_aside = set_aside.map(|path| path.display().to_string());
        file
    }

    /// All segments of a log, or only the one at `path`.
    fn log(&self, path: &Path, alone: bool) -> Result<Vec<File>> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let only = alone.then_some(name);
        let found = match tsmith_wal::repair(&OsFs, dir, only, self.dry_run) {
            Ok(found) => found,
            Err(error) => {
                let error = Failure::from(error);
                if matches!(error, Failure::Io(_)) {
                    return Err(error);
                }
                return Ok(vec![File::new(path, "segment", State::Lost).because(error.text())]);
            }
        };
        let names = if alone {
            vec![name.to_owned()]
        } else {
            tsmith_wal::segment_names(&OsFs, dir).map_err(|error| Failure::Io(error.to_string()))?
        };
        let mut names: Vec<PathBuf> = names.into_iter().map(|name| dir.join(name)).collect();
        // One of which nothing was whole has gone by now.
        names.extend(found.iter().map(|repair| repair.path.clone()));
        names.sort();
        names.dedup();
        let file =
            |path: PathBuf| match found.iter().find(|repair| repair.path.file_name() == path.file_name()) {
                Some(repair) => self.segment(repair),
                None => File::new(&path, "segment", State::Whole),
            };
        Ok(names.into_iter().map(file).collect())
    }

    fn segment(&self, repair: &SegmentRepair) -> File {
        let state =
            if repair.set_aside.is_some() { self.state(repair.set_aside.as_ref()) } else { State::Torn };
        let mut file = File::new(&repair.path, "segment", state);
        file.kept = count(repair.kept_records, "record");
        let gap = |torn: &tsmith_wal::Torn| Gap {
            offset: torn.offset,
            bytes: torn.dropped_bytes,
            reason: torn.found.to_owned(),
        };
        file.gaps = repair.gaps.iter().map(gap).collect();
        let bytes: u64 = file.gaps.iter().map(|gap| gap.bytes).sum();
        file.dropped = match state {
            State::Torn => format!("{bytes} bytes torn by a crash, which the next opening cuts"),
            _ => format!("{bytes} bytes"),
        };
        file.set_aside = repair.set_aside.as_ref().map(|path| path.display().to_string());
        file
    }

    /// Only a torn end is mended there.
    fn etcd(&self, path: &Path) -> File {
        let checked = tsmith_wal::etcd::check(&OsFs, path);
        let torn = match checked {
            Ok(found) => found.torn,
            Err(error) => return File::new(path, "etcd-log", State::Lost).because(&error.to_string()),
        };
        let Some(torn) = torn else { return File::new(path, "etcd-log", State::Whole) };
        let gap = |bytes| Gap {
            offset: torn.offset,
            bytes,
            reason: format!("torn end of {}", torn.path.display()),
        };
        if self.dry_run {
            let mut file = File::new(path, "etcd-log", State::Damaged);
            file.gaps = vec![gap(0)];
            return file;
        }
        match tsmith_wal::etcd::repair(&OsFs, path) {
            Ok(done) => {
                let mut file = File::new(path, "etcd-log", State::Repaired);
                file.gaps = vec![gap(done.lost_bytes)];
                file.dropped =
                    format!("{} bytes, {} whole records among them", done.lost_bytes, done.later_records);
                file.set_aside = done.copy.map(|path| path.display().to_string());
                file
            }
            Err(error) => File::new(path, "etcd-log", State::Lost).because(&error.to_string()),
        }
    }
}

fn manifest(path: &Path) -> File {
    match Manifest::read(&OsFs, path.parent().unwrap_or(Path::new(""))) {
        Ok(_) => File::new(path, "manifest", State::Whole),
        Err(error) => File::new(path, "manifest", State::Lost).because(&error.kind().to_string()),
    }
}

/// The data directory whose lock a place has.
fn directory_of(place: &Place) -> PathBuf {
    match place {
        Place::Directory { data, .. } => data.clone(),
        Place::Tsm(path) | Place::Tombstone(path) | Place::Segment(path) | Place::EtcdSnapshot(path) => {
            let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            parent.unwrap_or(Path::new(".")).to_owned()
        }
        Place::EtcdLog(path) => path.clone(),
    }
}

/// Logs have locks of their own.
fn is_log_alone(place: &Place) -> bool {
    match place {
        Place::Directory { data, wal } => wal.as_ref() == Some(data),
        Place::Segment(_) | Place::EtcdLog(_) | Place::EtcdSnapshot(_) => true,
        Place::Tsm(_) | Place::Tombstone(_) => false,
    }
}

impl Key {
    fn of(key: &DamagedKey) -> Self {
        let block = |bad: &tsmith_tsm::BadBlock| Block {
            offset: bad.entry.offset,
            min: bad.entry.range.min,
            max: bad.entry.range.max,
            reason: bad.error.kind().to_string(),
        };
        Self {
            name: String::from_utf8_lossy(&key.key).into_owned(),
            kept_blocks: key.kept_blocks,
            kept_values: key.kept_values,
            kept_min: key.kept_range.map(|range| range.min),
            kept_max: key.kept_range.map(|range| range.max),
            dropped: key.dropped.iter().map(block).collect(),
            mended: key.mended.iter().map(block).collect(),
        }
    }
}

impl File {
    fn new(path: &Path, kind: &'static str, state: State) -> Self {
        let path = path.display().to_string();
        let (kept, dropped) = (String::new(), String::new());
        Self {
            path,
            kind,
            state,
            kept,
            dropped,
            set_aside: None,
            keys: Vec::new(),
            gaps: Vec::new(),
            error: None,
        }
    }

    fn because(mut self, reason: &str) -> Self {
        self.error = Some(reason.to_owned());
        self
    }

    fn print(&self, out: &mut Out) -> Result<()> {
        let written = self.put(out.text());
        debug_assert!(written.is_ok(), "vectors take all");
        out.spill()
    }

    fn put(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        let word = match self.state {
            State::Whole => "ok",
            State::Torn => "torn",
            State::Repaired => "repaired",
            State::Damaged => "damaged",
            State::Lost => "CANNOT REPAIR",
        };
        write!(text, "{word} {}", self.path)?;
        if !self.kept.is_empty() {
            let keeps = if self.state == State::Whole { "" } else { "kept " };
            write!(text, ": {keeps}{}", self.kept)?;
        }
        if !self.dropped.is_empty() {
            write!(text, "; dropped {}", self.dropped)?;
        }
        if let Some(error) = &self.error {
            // Errors of the engine name the file again.
            let error = error.strip_prefix(&format!("{}: ", self.path)).unwrap_or(error);
            write!(text, ": {error}")?;
        }
        writeln!(text)?;
        for key in &self.keys {
            key.put(text)?;
        }
        for Gap { offset, bytes, reason } in &self.gaps {
            writeln!(text, "  dropped {}", Flaw::at(*offset, format!("{bytes} bytes: {reason}")))?;
        }
        match &self.set_aside {
            Some(aside) => writeln!(text, "  the file as it was: {aside}"),
            None => Ok(()),
        }
    }
}

impl Key {
    fn put(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        let name = printable(self.name.as_bytes());
        write!(
            text,
            "  {name}: kept {}, {}",
            count(self.kept_blocks, "block"),
            count(self.kept_values, "value")
        )?;
        if let (Some(min), Some(max)) = (self.kept_min, self.kept_max) {
            write!(text, ", {}", times(TimeRange::new(min, max)))?;
        }
        writeln!(text)?;
        for (what, blocks) in [("dropped", &self.dropped), ("mended", &self.mended)] {
            for Block { offset, min, max, reason } in blocks {
                let times = times(TimeRange::new(*min, *max));
                writeln!(text, "    {what} {}", Flaw::at(*offset, format!("{times}: {reason}")))?;
            }
        }
        Ok(())
    }
}

fn times(range: TimeRange) -> String {
    format!("{} to {}", rfc3339_text(range.min), rfc3339_text(range.max))
}
