//! Reads files and log of a directory without changing anything.

use std::path::Path;
use std::sync::Arc;

use tsmith_cache::{Cache, CacheOptions, Ring, Storer};
use tsmith_codecs::{Column, Decoders, FieldKey, FieldType, Position, TimeRange};
use tsmith_tsm::{Direction, KeyEntry};
use tsmith_wal::fs::{Fs, OsFile, OsFs};
use tsmith_wal::{Gap, NotReplayed, Record, Recovery, RecoveryMode, Unverified};

use crate::delete::Replayed;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{self, FileName, TornTombstones, TsmFile};
use crate::lock::{LOCK_NAME, not_locked};
use crate::read::KeyReader;
use crate::registry::Registry;
use crate::replay::{LogCheck, StoredTypes, stored_types};
use crate::schema::FieldTypes;

const OPERATION: &str = "view";

/// A directory, or single files, opened for reading only. Unreadable parts are reported and skipped.
///
/// The decoders can read blocks of any encoder of the registry.
#[derive(Debug)]
pub struct View {
    files: Arc<Vec<Arc<TsmFile>>>,
    cache: Cache<Ring>,
    log: Recovery,
    problems: Vec<Error>,
    lock: Option<Held>,
    decoders: Decoders,
}

impl View {
    /// Opens the files of `data` and replays the log in `wal` into memory, with the parts of `registry`.
    ///
    /// # Errors
    /// `data` does not exist, has no readable content, or is in use by an engine.
    pub fn open(registry: &Registry, data: &Path, wal: Option<&Path>) -> Result<Self> {
        let names = OsFs.list(data).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::at(OPERATION, data, ErrorKind::NoDirectory),
            _ => Error::at(OPERATION, data, error.into()),
        })?;
        let lock = hold(data)?;
        let mut view = Self::empty(registry.encoders().decoders());
        view.lock = lock;
        let mut tsm = files::tsm_names(&OsFs, data)?;
        tsm.sort_unstable();
        let found = !tsm.is_empty();
        let torn: Vec<_> = tsm.into_iter().filter_map(|name| view.add_file(data, name)).collect();
        let manifest = names.iter().any(|name| name == crate::manifest::MANIFEST_NAME);
        if let Some(missing) = wal.filter(|wal| manifest && !wal.is_dir()) {
            return Err(Error::at(OPERATION, missing, ErrorKind::NoLogDirectory));
        }
        let wal = wal.filter(|wal| wal.is_dir());
        let mut log = wal.map(|wal| Log::read(registry, data, wal, StoredTypes::new())).unwrap_or_default();
        view.problems.extend(files::apply_deletes(Arc::make_mut(&mut view.files), &torn, &log.deletes));
        // Whether a record contradicts a file is only known once all deletes are.
        let stored = view.stored_types(&log.cache);
        if let Some(wal) = wal.filter(|_| !stored.is_empty()) {
            log = Log::read(registry, data, wal, stored);
        }
        view.add_log(log);
        if !found && wal.is_none() && !manifest && !files::holds_influxdb_index(&OsFs, data) {
            return Err(Error::at(OPERATION, data, ErrorKind::NotAnEngine));
        }
        Ok(view)
    }

    /// Opens one TSM file and its tombstones.
    ///
    /// # Errors
    /// The file cannot be opened, or its name does not end in `.tsm`.
    pub fn open_file(path: &Path, decoders: Decoders) -> Result<Self> {
        let mut view = Self::empty(decoders);
        let file = TsmFile::open_path(&OsFs, path)?;
        view.problems.extend(file.corrupt_keys(OPERATION));
        view.files = Arc::new(vec![Arc::new(file)]);
        Ok(view)
    }

    /// Replays the valid records of one log segment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open_segment(path: &Path) -> Result<Self> {
        // A segment contains no blocks.
        let mut view = Self::empty(Decoders::standard());
        let mut log = Log::of(StoredTypes::new(), |replay| {
            tsmith_wal::replay_segment(&OsFs, path, RecoveryMode::Salvage, |found| {
                replay(found.at, found.record)
            })
            .during(OPERATION)
        });
        if let Some(error) = log.failure.take() {
            return Err(error);
        }
        view.add_log(log);
        Ok(view)
    }

    fn empty(decoders: Decoders) -> Self {
        let cache = Cache::new(CacheOptions::default());
        Self {
            files: Arc::default(),
            cache,
            log: Recovery::default(),
            problems: Vec::new(),
            lock: None,
            decoders,
        }
    }

    /// Adds a file. Returns its tombstones if they end in a torn batch.
    fn add_file(&mut self, data: &Path, name: FileName) -> Option<TornTombstones> {
        match TsmFile::open_strictly(&OsFs, data, name) {
            Ok((file, torn)) => {
                self.problems.extend(file.corrupt_keys(OPERATION));
                Arc::make_mut(&mut self.files).push(Arc::new(file));
                torn
            }
            Err(error) => {
                self.problems.push(error);
                None
            }
        }
    }

    fn add_log(&mut self, log: Log) {
        let Log { cache, mut recovery, failure, .. } = log;
        let refused = std::mem::take(&mut recovery.refused);
        (self.cache, self.log) = (cache, recovery);
        let refused = refused.into_iter().map(|NotReplayed { path, offset, reason }| {
            Error::at(OPERATION, &path, ErrorKind::NotReplayed { offset, reason })
        });
        self.problems.extend(refused.chain(failure));
    }

    /// The types in the files, for keys that have another type in the log.
    fn stored_types(&self, cache: &Cache<Ring>) -> StoredTypes {
        let fields = FieldTypes::default();
        for file in self.files.iter() {
            fields.learn_file(file);
        }
        fields.learn_cache(cache);
        stored_types(&files::two_types(&fields, &self.files, cache))
    }

    /// Files and log records that could not be read and are missing from the view.
    pub fn problems(&self) -> &[Error] {
        &self.problems
    }

    /// The gaps in the log.
    pub fn gaps(&self) -> &[Gap] {
        &self.log.gaps
    }

    /// Log records without a checksum that influxd accepted after a crash.
    pub fn unverified(&self) -> &[Unverified] {
        &self.log.unverified
    }

    /// The TSM files, oldest first.
    pub fn files(&self) -> &[Arc<TsmFile>] {
        &self.files
    }

    /// Bytes of the log's values in memory, counted as InfluxDB does.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.size()
    }

    /// All composite keys that have values, ascending. Corrupt keys are reported as problems instead.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        merged_keys(&self.cache, &self.files)
    }

    /// Calls `f` with every key that has values and its type, in any order. A key in several files is passed
    /// several times.
    pub fn field_types(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        self.cache.keys(f);
        for file in &*self.files {
            for key in file.reader().keys().filter(|&key| !file.deletions().covers_key(key)) {
                if let Some(parsed) = FieldKey::parse(key.key()) {
                    f(parsed, key.field_type());
                }
            }
        }
    }

    /// A reader that reads one key after the other and reuses its buffers.
    pub fn reader(&self) -> ViewReader<'_> {
        ViewReader { view: self, keys: KeyReader::new(&self.decoders) }
    }
}

/// The content of a log, as far as it can be read and replayed.
#[derive(Debug, Default)]
struct Log {
    cache: Cache<Ring>,
    deletes: Vec<Replayed>,
    recovery: Recovery,
    failure: Option<Error>,
}

impl Log {
    fn read(registry: &Registry, data: &Path, wal: &Path, stored: StoredTypes) -> Self {
        Self::of(stored, |replay| registry.read_log(&OsFs, data, wal, replay))
    }

    /// Collects the records that `read` passes to its argument.
    fn of(
        stored: StoredTypes,
        read: impl FnOnce(&mut dyn FnMut(Position, Record<'_>) -> tsmith_wal::Result<()>) -> Result<Recovery>,
    ) -> Self {
        let mut check = LogCheck::with_stored(stored);
        let read = read(&mut |at, record| check.take_or_refuse(at, record));
        let (cache, deletes) = check.into_parts();
        let (recovery, failure) = match read {
            Ok(recovery) => (recovery, None),
            Err(error) => (Recovery::default(), Some(error)),
        };
        Self { cache, deletes, recovery, failure }
    }
}

/// A lock that keeps engines out of a directory until it is dropped.
#[derive(Debug)]
pub struct Held {
    _lock: OsFile,
}

/// Locks `data` against engines if it has a lock file; InfluxDB's directories have none. Creates nothing.
///
/// # Errors
/// An engine has the directory open.
pub fn hold(data: &Path) -> Result<Option<Held>> {
    let path = data.join(LOCK_NAME);
    if !path.exists() {
        return Ok(None);
    }
    let lock = OsFs.lock_shared(&path).map_err(|error| not_locked(error, &path, OPERATION, data))?;
    Ok(Some(Held { _lock: lock }))
}

/// Reads keys of a view one after the other.
#[derive(Debug)]
pub struct ViewReader<'v> {
    view: &'v View,
    keys: KeyReader,
}

impl ViewReader<'_> {
    /// Replaces `out` by the points of `key` inside `range`, ascending. If a time has several values, the
    /// newest wins.
    pub fn read(&mut self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> Result<()> {
        self.keys.read(&self.view.cache, || Arc::clone(&self.view.files), key, range, out)
    }

    /// Moves to the first point of `key` inside `range`, or to the last one when descending. Then call
    /// [`ViewReader::next`].
    pub fn begin(&mut self, key: FieldKey<'_>, range: TimeRange, direction: Direction) -> Result<()> {
        self.keys.begin(&self.view.cache, || Arc::clone(&self.view.files), key, range, direction)
    }

    /// Replaces `out` by the next points in the direction given to [`begin`](Self::begin). Returns false at
    /// the end. Blocks are read on demand.
    ///
    /// # Errors
    /// A block cannot be read. The next call continues after it.
    pub fn next(&mut self, out: &mut Column) -> Result<bool> {
        self.keys.next(out)
    }

    /// Moves to the first point at or after `time`; when descending, to the last one at or before it.
    pub fn seek(&mut self, time: i64) {
        self.keys.seek(time);
    }
}

/// The composite keys of cache and files, ascending and unique.
pub(crate) fn merged_keys<S: Storer>(cache: &Cache<S>, files: &[Arc<TsmFile>]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    cache.keys(&mut |key, _| keys.push(key.to_composite()));
    for file in files {
        let left = file.reader().keys().filter(|&key| !file.deletions().covers_key(key)).map(KeyEntry::key);
        keys.extend(left.filter(|key| FieldKey::parse(key).is_some()).map(<[u8]>::to_vec));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}
