//! [`Registry`]: the parts that an engine can be made of, by name.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use tsmith_cache::{DynStorer, Storer, StorerEntry};
use tsmith_codecs::{BlockEncoder, DynEncoder, EncoderEntry, Encoders, UnknownEncoder};
use tsmith_wal::fs::{Fs, OsFs};
use tsmith_wal::{DynLog, Log, LogEntry, LogKind, Recovery, RecoveryMode, ReplayFn};

use crate::driver::Driver;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::manifest::Manifest;
use crate::parts::{Factories, Parts};
use crate::repair::ReadLog;
use crate::{Dirs, Engine, Options};

/// The parts that an engine can be made of, by name: those of this workspace, and those that the caller adds.
///
/// Matrix and command take one, so that they know the parts of other crates:
///
/// ```
/// use tsmith_engine::parts::{Parts, Ring};
/// use tsmith_engine::{Dirs, Options, Registry};
///
/// let registry = Registry::standard().storer::<Ring>("mine", "a ring under another name");
/// # let dir = tempfile::tempdir()?;
/// let parts: Parts = "mine/native/zstd".parse()?;
/// let engine = registry.open(&parts, Dirs::under(dir.path()), Options::default())?;
/// engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All engines that it opens are of one type, whose parts are erased: with a part more the code grows by that part.
/// `F` is the file system of their logs. A log for [`OsFs`] only is added to a `Registry<OsFs>`.
#[derive(Clone, Debug)]
pub struct Registry<F: Fs = OsFs> {
    storers: Vec<StorerEntry>,
    logs: Vec<LogEntry<F>>,
    encoders: Encoders,
}

/// An engine whose parts were chosen by name.
pub type DynEngine<F = OsFs> = Engine<DynStorer, DynLog<F>, DynEncoder>;

impl Registry {
    /// The parts of this workspace.
    pub fn standard() -> Self {
        Self::of(LogEntry::standard())
    }

    /// Opens the engine of `dirs`, made of the parts of these names.
    ///
    /// # Errors
    /// Those of [`Engine::open`]; and a name that no part has, with the names there are.
    pub fn open(&self, parts: &Parts, dirs: Dirs, options: Options) -> Result<Box<dyn Driver>> {
        Ok(Box::new(self.open_on(OsFs, parts, dirs, options)?))
    }
}

impl<F: Fs> Registry<F> {
    /// As [`Registry::standard`], with logs on the file system `fs`.
    pub fn standard_on(fs: &F) -> Self {
        Self::of(LogEntry::standard_on(fs))
    }

    fn of(logs: Vec<LogEntry<F>>) -> Self {
        Self { storers: StorerEntry::standard(), logs, encoders: Encoders::standard() }
    }

    /// Adds the storer that `S::default()` makes.
    ///
    /// # Panics
    /// The name is taken, or no name for a manifest.
    #[must_use]
    #[track_caller]
    pub fn storer<S: Storer + Default>(self, name: &'static str, summary: &'static str) -> Self {
        self.storer_entry(StorerEntry::of::<S>(name, summary))
    }

    /// Adds a storer.
    ///
    /// # Panics
    /// As [`Registry::storer`].
    #[must_use]
    #[track_caller]
    pub fn storer_entry(mut self, entry: StorerEntry) -> Self {
        check_name("storer", entry.name(), self.storers.iter().map(StorerEntry::name));
        self.storers.push(entry);
        self
    }

    /// Adds the logs of the type `L`.
    ///
    /// # Panics
    /// The name is taken, or no name for a manifest.
    #[must_use]
    #[track_caller]
    pub fn log<L: Log<Fs = F>>(self, name: &'static str, summary: &'static str) -> Self {
        self.log_entry(LogEntry::of::<L>(name, summary))
    }

    /// Adds a log.
    ///
    /// # Panics
    /// As [`Registry::log`].
    #[must_use]
    #[track_caller]
    pub fn log_entry(mut self, entry: LogEntry<F>) -> Self {
        check_name("log", entry.name(), self.logs.iter().map(LogEntry::name));
        self.logs.push(entry);
        self
    }

    /// Adds the encoder that `E::default()` makes.
    ///
    /// # Panics
    /// As [`Encoders::with_entry`]; or the name is no name for a manifest.
    #[must_use]
    #[track_caller]
    pub fn encoder<E: BlockEncoder + Default>(self, name: &'static str, summary: &'static str) -> Self {
        self.encoder_entry(EncoderEntry::of::<E>(name, summary))
    }

    /// Adds an encoder.
    ///
    /// # Panics
    /// As [`Registry::encoder`].
    #[must_use]
    #[track_caller]
    pub fn encoder_entry(mut self, entry: EncoderEntry) -> Self {
        check_name("encoder", entry.name(), std::iter::empty());
        self.encoders = self.encoders.with_entry(entry);
        self
    }

    /// The storers, in the order in which they were added.
    pub fn storers(&self) -> &[StorerEntry] {
        &self.storers
    }

    /// The logs, likewise.
    pub fn logs(&self) -> &[LogEntry<F>] {
        &self.logs
    }

    /// The encoders, likewise.
    pub fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// The names and summaries of `storer`, `log` and `encoder`, for flags and lists.
    pub fn names(&self) -> [(&'static str, Vec<(&'static str, &'static str)>); 3] {
        [
            ("storer", self.storers.iter().map(|entry| (entry.name(), entry.summary())).collect()),
            ("log", self.logs.iter().map(|entry| (entry.name(), entry.summary())).collect()),
            ("encoder", self.encoders.iter().map(|entry| (entry.name(), entry.summary())).collect()),
        ]
    }

    /// The storer called `name`.
    ///
    /// # Errors
    /// There is none, with the names there are.
    pub fn find_storer(&self, name: &str) -> Result<&StorerEntry> {
        find("storer", name, &self.storers, StorerEntry::name)
    }

    /// The log called `name`.
    ///
    /// # Errors
    /// Likewise.
    pub fn find_log(&self, name: &str) -> Result<&LogEntry<F>> {
        find("log", name, &self.logs, LogEntry::name)
    }

    /// The encoder called `name`.
    ///
    /// # Errors
    /// Likewise.
    pub fn find_encoder(&self, name: &str) -> Result<&EncoderEntry> {
        self.encoders.get(name).map_err(|UnknownEncoder { asked, known }| {
            Error::new("open", ErrorKind::UnknownPart { part: "encoder", asked, known })
        })
    }

    /// Whether every name is known.
    ///
    /// # Errors
    /// The first that is not, with the names there are.
    pub fn check(&self, parts: &Parts) -> Result<()> {
        self.find_storer(&parts.storer)?;
        self.find_log(&parts.log)?;
        self.find_encoder(&parts.encoder).map(drop)
    }

    /// As [`Registry::open`], on the file system `fs`.
    ///
    /// # Errors
    /// Likewise.
    pub fn open_on(&self, fs: F, parts: &Parts, dirs: Dirs, mut options: Options) -> Result<DynEngine<F>> {
        options.decoders = self.encoders.decoders();
        let storer = self.find_storer(&parts.storer)?.clone();
        let encoder = self.find_encoder(&parts.encoder)?.clone();
        let factories = Factories {
            names: parts.clone(),
            storer: Box::new(move || storer.make()),
            log: self.find_log(&parts.log)?.kind(),
            other_logs: self.logs.iter().map(LogEntry::kind).collect(),
            encoder: Arc::new(move || encoder.make()),
        };
        Engine::open_with(fs, factories, dirs, options)
    }

    /// Whether a file of this name is a segment of one of the logs.
    pub fn is_segment(&self, name: &OsStr) -> bool {
        self.logs.iter().any(|log| log.kind().is_segment(name))
    }

    /// Whether `dir` holds a log that only Tsmith writes.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn owns(&self, fs: &F, dir: &Path) -> tsmith_wal::Result<bool> {
        let mut owned = self.logs.iter().map(|log| log.kind().owns(fs, dir));
        owned.try_fold(false, |known, owned| Ok(known || owned?))
    }

    /// The log that the engine of `data` has in `wal`: the one that the manifest names. Without a manifest that can be read it
    /// is the one that has segments there, if any.
    ///
    /// # Errors
    /// The directory cannot be read; the manifest names a log that was not added; a segment belongs to another log.
    pub fn log_of(&self, fs: &F, data: &Path, wal: &Path) -> Result<Option<&LogEntry<F>>> {
        let names = fs.list(wal).on("list", wal)?;
        let log = match Manifest::read(fs, data) {
            Ok(Some(Manifest { parts: Parts { log, .. }, .. })) => Some(
                self.find_log(&log)
                    .map_err(|_| Error::at("find the log", wal, ErrorKind::UnreadableLog { log }))?,
            ),
            // Whoever reads the manifest reports the error.
            Ok(None) | Err(_) => {
                self.logs.iter().find(|log| names.iter().any(|name| log.kind().is_segment(name)))
            }
        };
        if let Some(log) = log {
            refuse_other_logs(wal, &names, log.kind(), self.logs.iter().map(LogEntry::kind))?;
        }
        Ok(log)
    }

    /// Gives the records of the log that [`Registry::log_of`] finds to `replay`, as far as a salvage gets, oldest first. Changes
    /// nothing; see [`Log::read`].
    ///
    /// # Errors
    /// Those of [`Registry::log_of`] and of [`Log::read`].
    pub fn read_log(&self, fs: &F, data: &Path, wal: &Path, replay: &mut ReplayFn<'_>) -> Result<Recovery> {
        match self.log_of(fs, data, wal)? {
            None => Ok(Recovery::default()),
            Some(log) => log.kind().read(fs, wal, RecoveryMode::Salvage, replay).during("read the log"),
        }
    }

    /// [`Registry::read_log`] for the checks of [`repair`](crate::repair).
    pub fn log_reader<'a>(&'a self, fs: &'a F, data: &'a Path, wal: &'a Path) -> ReadLog<'a> {
        Box::new(move |replay| self.read_log(fs, data, wal, replay))
    }
}

/// Refuses the segments of another log among the `names` in `wal`: an engine with `log` would not see their records.
pub(crate) fn refuse_other_logs<L: Log + ?Sized>(
    wal: &Path,
    names: &[OsString],
    log: LogKind<L>,
    mut all: impl Iterator<Item = LogKind<L>> + Clone,
) -> Result<()> {
    let is_other = |name: &&OsString| !log.is_segment(name) && all.any(|other| other.is_segment(name));
    match names.iter().find(is_other) {
        Some(other) => Err(tsmith_wal::Error::new(tsmith_wal::ErrorKind::OtherLog).at_path(&wal.join(other)))
            .during("find the log"),
        None => Ok(()),
    }
}

fn find<'e, T>(
    part: &'static str,
    asked: &str,
    entries: &'e [T],
    name: impl Fn(&T) -> &'static str,
) -> Result<&'e T> {
    entries.iter().find(|entry| name(entry) == asked).ok_or_else(|| {
        let known = entries.iter().map(name).collect();
        Error::new("open", ErrorKind::UnknownPart { part, asked: asked.to_owned(), known })
    })
}

/// Refuses a name that is taken, or that no line of a manifest and no list of flags can hold.
#[track_caller]
fn check_name(part: &str, name: &str, mut taken: impl Iterator<Item = &'static str>) {
    assert!(taken.all(|taken| taken != name), "another {part} has the name `{name}`");
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    // A flag begins with a hyphen, and `.` is a directory.
    let begins = name.starts_with(char::is_alphanumeric);
    assert!(begins && name.chars().all(is_plain), "`{name}` is no name for a {part}");
}

#[cfg(test)]
mod tests {
    use tsmith_cache::Ring;

    use super::*;

    #[test]
    fn an_unknown_name_lists_all_known_ones() {
        let registry = Registry::standard().storer::<Ring>("mine", "another ring");
        let parts = Parts { storer: "rnig".into(), ..Parts::default() };
        let error = registry.check(&parts).expect_err("a typo").to_string();
        assert!(error.contains("rnig") && error.contains("ring, hashmap, empty, mine"), "{error}");
        let known = Parts { storer: "mine".into(), ..Parts::default() };
        registry.check(&known).expect("was added");
    }

    #[test]
    #[should_panic(expected = "another log has the name `file`")]
    fn a_name_is_given_once() {
        drop(Registry::standard().log::<tsmith_wal::FileLog>("file", "again"));
    }

    #[test]
    #[should_panic(expected = "no name for a storer")]
    fn a_name_fits_into_a_line() {
        drop(Registry::standard().storer::<Ring>("two words", ""));
    }
}
