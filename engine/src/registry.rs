//! [`Registry`]: the parts of an engine by name.

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

/// The parts of an engine by name: those of this workspace and those that the caller adds.
///
/// The command and the matrix take a registry, so they also work with parts of other crates:
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
/// All engines that a registry opens have one type with type-erased parts, so each added part adds only its
/// own code. `F` is the file system of the logs. A log that only supports [`OsFs`] can only be added to a
/// `Registry<OsFs>`.
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

    /// Opens the engine of `dirs` with the parts of these names.
    ///
    /// # Errors
    /// Those of [`Engine::open`], or an unknown part; the error lists the known names.
    pub fn open(&self, parts: &Parts, dirs: Dirs, options: Options) -> Result<Box<dyn Driver>> {
        Ok(Box::new(self.open_on(OsFs, parts, dirs, options)?))
    }
}

impl<F: Fs> Registry<F> {
    /// Like [`Registry::standard`], with logs on the file system `fs`.
    pub fn standard_on(fs: &F) -> Self {
        Self::of(LogEntry::standard_on(fs))
    }

    fn of(logs: Vec<LogEntry<F>>) -> Self {
        Self { storers: StorerEntry::standard(), logs, encoders: Encoders::standard() }
    }

    /// Adds the storer that `S::default()` makes.
    ///
    /// # Panics
    /// If the name is taken or cannot be written to a manifest.
    #[must_use]
    #[track_caller]
    pub fn storer<S: Storer + Default>(self, name: &'static str, summary: &'static str) -> Self {
        self.storer_entry(StorerEntry::of::<S>(name, summary))
    }

    /// Adds a storer by its entry, for example [`StorerEntry::outside_default_matrix`].
    ///
    /// # Panics
    /// As for [`Registry::storer`].
    #[must_use]
    #[track_caller]
    pub fn storer_entry(mut self, entry: StorerEntry) -> Self {
        check_name("storer", entry.name(), self.storers.iter().map(StorerEntry::name));
        self.storers.push(entry);
        self
    }

    /// Adds the log type `L`.
    ///
    /// # Panics
    /// If the name is taken or cannot be written to a manifest.
    #[must_use]
    #[track_caller]
    pub fn log<L: Log<Fs = F>>(self, name: &'static str, summary: &'static str) -> Self {
        self.log_entry(LogEntry::of::<L>(name, summary))
    }

    /// Adds a log by its entry, for example [`LogEntry::outside_default_matrix`].
    ///
    /// # Panics
    /// As for [`Registry::log`].
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
    /// As for [`Encoders::with_entry`], or if the name cannot be written to a manifest.
    #[must_use]
    #[track_caller]
    pub fn encoder<E: BlockEncoder + Default>(self, name: &'static str, summary: &'static str) -> Self {
        self.encoder_entry(EncoderEntry::of::<E>(name, summary))
    }

    /// Adds an encoder by its entry, for example [`EncoderEntry::outside_default_matrix`].
    ///
    /// # Panics
    /// As for [`Registry::encoder`].
    #[must_use]
    #[track_caller]
    pub fn encoder_entry(mut self, entry: EncoderEntry) -> Self {
        check_name("encoder", entry.name(), std::iter::empty());
        self.encoders = self.encoders.with_entry(entry);
        self
    }

    /// The storers, in the order they were added.
    pub fn storers(&self) -> &[StorerEntry] {
        &self.storers
    }

    /// The logs, in the order they were added.
    pub fn logs(&self) -> &[LogEntry<F>] {
        &self.logs
    }

    /// The encoders, in the order they were added.
    pub fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// The names and summaries of all storers, logs and encoders.
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
    /// There is none. The error lists the known names.
    pub fn find_storer(&self, name: &str) -> Result<&StorerEntry> {
        find("storer", name, &self.storers, StorerEntry::name)
    }

    /// The log called `name`.
    ///
    /// # Errors
    /// There is none. The error lists the known names.
    pub fn find_log(&self, name: &str) -> Result<&LogEntry<F>> {
        find("log", name, &self.logs, LogEntry::name)
    }

    /// The encoder called `name`.
    ///
    /// # Errors
    /// There is none. The error lists the known names.
    pub fn find_encoder(&self, name: &str) -> Result<&EncoderEntry> {
        self.encoders.get(name).map_err(|UnknownEncoder { asked, known }| {
            Error::new("open", ErrorKind::UnknownPart { part: "encoder", asked, known })
        })
    }

    /// One error ([`ErrorKind::UnknownPart`]) for each part that this registry does not have. Each error lists
    /// the known names.
    pub fn missing(&self, parts: &Parts) -> Vec<Error> {
        let found = [
            self.find_storer(&parts.storer).map(drop),
            self.find_log(&parts.log).map(drop),
            self.find_encoder(&parts.encoder).map(drop),
        ];
        found.into_iter().filter_map(Result::err).collect()
    }

    /// Like [`Registry::open`], on the file system `fs`.
    ///
    /// # Errors
    /// As for [`Registry::open`].
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

    /// Whether `dir` contains a log that only Tsmith writes.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn owns(&self, fs: &F, dir: &Path) -> tsmith_wal::Result<bool> {
        let mut owned = self.logs.iter().map(|log| log.kind().owns(fs, dir));
        owned.try_fold(false, |known, owned| Ok(known || owned?))
    }

    /// The log of the engine in `data`, whose log directory is `wal`: the log that the manifest names. If
    /// there is no readable manifest, the log whose segments are in `wal`, if any.
    ///
    /// # Errors
    /// The directory cannot be read, the manifest names an unknown log, or `wal` contains a segment of
    /// another log.
    pub fn log_of(&self, fs: &F, data: &Path, wal: &Path) -> Result<Option<&LogEntry<F>>> {
        let names = fs.list(wal).on("list", wal)?;
        let log = match Manifest::read(fs, data) {
            Ok(Some(Manifest { parts: Parts { log, .. }, .. })) => Some(
                self.find_log(&log)
                    .map_err(|_| Error::at("find the log", wal, ErrorKind::UnreadableLog { log }))?,
            ),
            // The reader of the manifest reports its error.
            Ok(None) | Err(_) => {
                self.logs.iter().find(|log| names.iter().any(|name| log.kind().is_segment(name)))
            }
        };
        if let Some(log) = log {
            refuse_other_logs(wal, &names, log.kind(), self.logs.iter().map(LogEntry::kind))?;
        }
        Ok(log)
    }

    /// Passes the records of the log found by [`Registry::log_of`] to `replay`, oldest first, in salvage
    /// mode. Changes nothing; see [`Log::read`].
    ///
    /// # Errors
    /// Those of [`Registry::log_of`] and [`Log::read`].
    pub(crate) fn read_log(
        &self,
        fs: &F,
        data: &Path,
        wal: &Path,
        replay: &mut ReplayFn<'_>,
    ) -> Result<Recovery> {
        match self.log_of(fs, data, wal)? {
            None => Ok(Recovery::default()),
            Some(log) => log.kind().read(fs, wal, RecoveryMode::Salvage, replay).during("read the log"),
        }
    }

    /// Reads the log of `data` in `wal`, as far as a salvage gets, for the checks of [`repair`](crate::repair).
    pub fn log_reader<'a>(&'a self, fs: &'a F, data: &'a Path, wal: &'a Path) -> ReadLog<'a> {
        Box::new(move |replay| self.read_log(fs, data, wal, replay))
    }
}

/// Refuses segments of other logs among the `names` in `wal`, because an engine with `log` would not read
/// them.
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

/// Refuses a name that is taken, or that does not fit into a manifest or a flag.
#[track_caller]
fn check_name(part: &str, name: &str, mut taken: impl Iterator<Item = &'static str>) {
    assert!(taken.all(|taken| taken != name), "another {part} already has the name `{name}`");
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    // A flag begins with a hyphen, and `.` is a directory.
    let begins = name.starts_with(char::is_alphanumeric);
    assert!(begins && name.chars().all(is_plain), "`{name}` is not a valid name for a {part}");
}

#[cfg(test)]
mod tests {
    use tsmith_cache::Ring;

    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known_names() {
        let registry = Registry::standard().storer::<Ring>("mine", "another ring");
        let parts = Parts { storer: "rnig".into(), log: "fiel".into(), ..Parts::default() };
        let missing = registry.missing(&parts);
        let [storer, log] = &missing[..] else { panic!("{missing:?}") };
        let expected = ErrorKind::UnknownPart {
            part: "storer",
            asked: "rnig".into(),
            known: vec!["ring", "hashmap", "empty", "mine"],
        };
        assert_eq!(format!("{:?}", storer.kind()), format!("{expected:?}"));
        assert!(matches!(log.kind(), ErrorKind::UnknownPart { part: "log", .. }), "{log}");
        let known = Parts { storer: "mine".into(), ..Parts::default() };
        assert!(registry.missing(&known).is_empty());
    }

    #[test]
    fn a_part_can_stay_out_of_the_default_matrix() {
        let entry = StorerEntry::of::<Ring>("mine", "another ring").outside_default_matrix();
        let registry = Registry::standard().storer_entry(entry);
        assert!(!registry.find_storer("mine").expect("was added").in_default_matrix());
    }

    #[test]
    #[should_panic(expected = "another log already has the name `file`")]
    fn a_name_can_be_used_once() {
        drop(Registry::standard().log::<tsmith_wal::FileLog>("file", "again"));
    }

    #[test]
    #[should_panic(expected = "not a valid name for a storer")]
    fn a_name_is_one_word() {
        drop(Registry::standard().storer::<Ring>("two words", ""));
    }
}
