//! The TSM engine as state machine.
//!
//! Its directory is `engine-<index>`, where the index is that of the snapshot it started from; 0 for none. A
//! received snapshot becomes a new directory, complete before it gets its name. The newest directory counts.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_codecs::{FieldKey, TimeRange, Timestamp, ValuesRef};
use tsmith_wal::etcd::Snapshot;
use tsmith_wal::fs::Fs;
use tsmith_wal::{Durability, FileLog, LogOptions};

use super::check::Check;
use super::error::io;
use super::files::{self, List};
use super::reserved::APPLIED_MEASUREMENT;
use super::{Applied, Error, Result};
use crate::lock::LOCK_NAME;
use crate::parts::{Ring, Tsm1};
use crate::{Compact, Dirs, Engine, FieldTyping, LineOptions, Options};

/// Above this size the cache is written to files. If the engine has no thread for that, or the thread is
/// behind, `apply` writes them.
const CACHE_BYTES: u64 = 25 << 20;

pub(super) struct Machine<F: Fs> {
    fs: F,
    dir: PathBuf,
    /// Whether threads of the engine write and merge files.
    in_background: bool,
    engine: Option<Engine<Ring, FileLog<F>, Tsm1>>,
    applied: u64,
}

/// The number of the newest engine directory in `dir`.
fn base<F: Fs>(fs: &F, dir: &Path) -> Result<u64> {
    let names = fs.list(dir).map_err(|error| io(dir, error))?;
    Ok(names.iter().filter_map(|name| files::number(name, "engine-")).max().unwrap_or(0))
}

fn directory(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("engine-{base:016x}"))
}

/// Whether the engine is open in another process. Changes nothing.
pub(super) fn is_in_use<F: Fs>(fs: &F, dir: &Path) -> Result<bool> {
    let lock = fs.lock_shared(&directory(dir, base(fs, dir)?).join(LOCK_NAME));
    Ok(lock.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock))
}

/// Refuses an engine with a quarantined file. Changes nothing.
pub(super) fn refuse_quarantined<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let Dirs { data, wal } = Dirs::under(&directory(dir, base(fs, dir)?));
    for of in [data, wal] {
        // A missing directory has lost nothing. Opening reports other errors.
        let mut paths = fs.list(&of).unwrap_or_default().into_iter().map(|name| of.join(name));
        if let Some(path) = paths.find(|path| path.extension() == Some("bad".as_ref())) {
            return Err(Error::Quarantined { path });
        }
    }
    Ok(())
}

impl<F: Fs> Machine<F> {
    /// Opens the engine. `snapshot` is the newest that the log knows; if the engine is behind it, its files
    /// are installed.
    pub(super) fn open(fs: F, dir: &Path, in_background: bool, snapshot: &Snapshot) -> Result<Self> {
        let base = base(&fs, dir)?;
        let mut machine = Self { fs, dir: dir.to_path_buf(), in_background, engine: None, applied: 0 };
        machine.start(base)?;
        if snapshot.index > 0 {
            let list = List::decode(snapshot.data.as_deref().unwrap_or_default())?;
            // A crash may come after saving a received snapshot and before installing its files.
            if machine.applied < list.applied {
                // They were checked on arrival, but may have been changed since.
                let from = files::directory(dir, snapshot.index);
                Check::begin(&from, &list).go_on(&machine.fs, u64::MAX)?;
                machine.install(snapshot)?;
            }
            machine.skip(snapshot.index);
        }
        Ok(machine)
    }

    fn start(&mut self, base: u64) -> Result<()> {
        let path = directory(&self.dir, base);
        let options = Options {
            // Raft's log is the synced one.
            log: LogOptions { durability: Durability::None, ..LogOptions::default() },
            // A committed entry cannot be refused.
            cache_bytes_max: None,
            snapshot_bytes: CACHE_BYTES,
            background: self.in_background,
            typing: Some(FieldTyping::Series),
            ..Options::default()
        };
        let engine = Engine::open_on(self.fs.clone(), Dirs::under(&path), options)?;
        let key = FieldKey::new(APPLIED_MEASUREMENT.as_bytes(), b"applied");
        let column = engine.read(key, TimeRange::ALL)?;
        self.applied = match column.as_ref().values() {
            ValuesRef::Integer([.., applied]) => *applied as u64,
            _ => 0,
        };
        self.engine = Some(engine);
        // Remove older and unfinished directories.
        for name in self.fs.list(&self.dir).map_err(|error| io(&self.dir, error))? {
            let old = files::number(&name, "engine-").is_some_and(|of| of < base);
            let unfinished = files::is_unfinished(&name);
            if old || unfinished {
                files::clear(&self.fs, &self.dir.join(name))?;
            }
        }
        Ok(())
    }

    fn engine(&self) -> Result<&Engine<Ring, FileLog<F>, Tsm1>> {
        self.engine.as_ref().ok_or(Error::Stopped)
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Records an entry that writes nothing.
    pub(super) fn skip(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    /// Writes the lines of an entry together with its index, both or neither.
    pub(super) fn apply(&mut self, index: u64, time: i64, lines: &[u8]) -> Result<Applied> {
        // The index comes first, because an unclosed string would swallow it.
        let mut text = format!("{APPLIED_MEASUREMENT} applied={index}i 0\n").into_bytes();
        text.extend_from_slice(lines);
        let engine = self.engine()?;
        let options = LineOptions::new(Timestamp(time));
        let (points, rejected) = match engine.write_lines(&text, &options) {
            Ok(report) => (report.points.saturating_sub(1), report.rejected.len()),
            // The entry is committed but too large for the engine. Every replica refuses it alike, or none
            // could continue.
            Err(error) if is_too_large(&error) => {
                let (mark, _) = text.split_at(text.len() - lines.len());
                let _mark = engine.write_lines(mark, &options)?;
                let is_line = |line: &&[u8]| !line.trim_ascii().is_empty();
                (0, lines.split(|&byte| byte == b'\n').filter(is_line).count())
            }
            Err(error) => return Err(error.into()),
        };
        let behind = if self.in_background { 2 } else { 1 };
        if engine.cache_bytes() > behind * CACHE_BYTES {
            engine.snapshot()?;
        }
        self.applied = index;
        Ok(Applied { points, rejected })
    }

    /// Makes the applied state durable in files and keeps these for followers. Returns their list.
    ///
    /// This is also when due merges run if there is no background thread; otherwise each snapshot would add a
    /// file. A merge replaces one file set by another with the same applied index. It removes names only, so
    /// files linked by snapshots in transit stay.
    pub(super) fn snapshot(&mut self, index: u64) -> Result<Vec<u8>> {
        let engine = self.engine()?;
        engine.snapshot()?;
        if !self.in_background
            && let Err(error) = engine.compact(Compact::Due)
        {
            // All files are unchanged.
            let error = Error::from(error);
            tracing::warn!(%error, "the merge failed; files stay unchanged");
        }
        let key = FieldKey::new(APPLIED_MEASUREMENT.as_bytes(), b"applied");
        let column = engine.read(key, TimeRange::ALL)?;
        let applied = match column.as_ref().values() {
            ValuesRef::Integer([.., applied]) => *applied as u64,
            _ => 0,
        };
        let from = engine.dirs().data.clone();
        let to = files::directory(&self.dir, index);
        loop {
            let files = engine.files();
            let list = List::of(applied, &files);
            match files::publish(&self.fs, &to, |to| files::link_all(&self.fs, &list, &from, to)) {
                Ok(()) => return Ok(list.encode()),
                // Some files were merged meanwhile. Retry with the new set.
                Err(_) if !Arc::ptr_eq(&files, &engine.files()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts again from the files of a snapshot.
    pub(super) fn install(&mut self, snapshot: &Snapshot) -> Result<()> {
        let list = List::decode(snapshot.data.as_deref().unwrap_or_default())?;
        if let Some(engine) = self.engine.take() {
            engine.close()?;
        }
        let from = files::directory(&self.dir, snapshot.index);
        let to = directory(&self.dir, snapshot.index);
        files::publish(&self.fs, &to, |to| files::link_all(&self.fs, &list, &from, to))?;
        self.start(snapshot.index)?;
        if self.applied != list.applied {
            return Err(Error::Corrupt("snapshot files with the applied index of their list"));
        }
        self.skip(snapshot.index);
        Ok(())
    }

    pub(super) fn export(&self) -> Result<String> {
        let engine = self.engine()?;
        let mut text = String::new();
        for key in engine.keys() {
            let Some(parsed) =
                FieldKey::parse(&key).filter(|key| key.series != APPLIED_MEASUREMENT.as_bytes())
            else {
                continue;
            };
            let column = engine.read(parsed, TimeRange::ALL)?;
            let (times, values) = (column.times(), column.as_ref());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {times:?} {:?}", String::from_utf8_lossy(&key), values.values());
        }
        Ok(text)
    }

    pub(super) fn close(mut self) -> Result<()> {
        self.engine.take().map_or(Ok(()), |engine| Ok(engine.close()?))
    }
}

/// Whether the record of the lines is too long for the engine's log. This depends on the lines alone.
fn is_too_large(error: &crate::Error) -> bool {
    let kind = match error.kind() {
        crate::ErrorKind::Log(error) => error.kind(),
        _ => return false,
    };
    matches!(kind, tsmith_wal::ErrorKind::TooLarge { .. })
}
