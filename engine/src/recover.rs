//! Opening: lock, manifest, files, log; in this order, and nothing changed before the lock is held.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tsmith_cache::{Cache, CacheOptions, Storer};
use tsmith_codecs::{BlockEncoder, EncoderEntry, FieldKey, Position, TimeRange};
use tsmith_wal::entry::Entry;
use tsmith_wal::fs::Fs;
use tsmith_wal::{GapKind, Log, Progress, RecoveryMode, Replay};

use crate::compact::Compactor;
use crate::delete::Deletes;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fields_index::FieldsIndex;
use crate::files::{
    FileSet, TornTombstones, TsmFile, holds_influxdb_index, obey, remove_leftovers, tsm_names, two_types,
};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::parts::Parts;
use crate::repair::{LogCheck, RefusedEntry, StoredTypes, is_native, stored_types, take_entry};
use crate::schema::{FieldTypes, FieldTyping};
use crate::worker::Worker;
use crate::{Alive, Dirs, Engine, Inner, MakeEncoder, Options};

const OPERATION: &str = "open";

/// Name of the file whose lock says that the directory is in use.
pub(crate) const LOCK_NAME: &str = "tsmith.lock";

impl<S: Storer, L: Log, E: BlockEncoder + Default> Engine<S, L, E>
where
    L::Fs: Default,
{
    /// Opens the engine of these directories on the file system its log uses by default.
    pub fn open(dirs: Dirs, options: Options) -> Result<Self> {
        Self::open_on(L::Fs::default(), dirs, options)
    }
}

impl<S: Storer, L: Log, E: BlockEncoder + Default> Engine<S, L, E> {
    /// Opens the engine of these directories: reads its files, and replays its log into the cache.
    ///
    /// # Errors
    /// Another process has the directory open; a file or the log is damaged, or the manifest names other parts (nothing
    /// is changed then); a directory is missing and [`Options::create`] is off.
    pub fn open_on(fs: L::Fs, dirs: Dirs, options: Options) -> Result<Self> {
        Self::open_with(fs, dirs, options, &Parts::of::<S, L, E>(), Arc::new(E::default))
    }
}

impl<S: Storer, L: Log, E: BlockEncoder> Engine<S, L, E> {
    /// As [`Engine::open_on`], of parts with these names.
    pub(crate) fn open_with(
        fs: L::Fs,
        dirs: Dirs,
        mut options: Options,
        parts: &Parts,
        make_encoder: MakeEncoder<E>,
    ) -> Result<Self> {
        let make = make_encoder.clone();
        let own = EncoderEntry::new("own", "the encoder of this engine", move || Box::new(make()));
        let is_influx_readable = own.is_influx_readable();
        options.decoders = options.decoders.or(own);
        prepare(&fs, &dirs.data, options.create)?;
        // Asked before anything is written, so that a refused directory stays as it is; and again under the lock.
        agree_on_parts(&fs, &dirs, parts, is_influx_readable, &options)?;
        let lock = lock(&fs, &dirs.data.join(LOCK_NAME), OPERATION, &dirs.data)?;
        let Agreed { manifest, mut found, is_fresh } =
            agree_on_parts(&fs, &dirs, parts, is_influx_readable, &options)?;
        // The log of a directory with a manifest was there once: missing, it is not to be begun anew.
        prepare(&fs, &dirs.wal, options.create && found.is_none()).map_err(no_log)?;
        if found.is_none() {
            // Who made the directories may have died before they were durable: only the manifest says that they are.
            settle(&fs, &dirs.data)?;
            settle(&fs, &dirs.wal)?;
        }
        if is_fresh {
            // Before the log has a segment: a crash behind this line leaves a directory that knows its parts.
            manifest.write(&fs, &dirs.data)?;
            found = Some(manifest.clone());
        }
        let (files, torn) = FileSet::open(&fs, &dirs.data)?;
        let cache = Cache::new(CacheOptions { limit: options.cache_bytes_max, when_full: options.when_full });
        let live = files.load().clone();
        let mut refill = Refill::new(&cache, &live, &torn, &dirs.wal);
        if options.log.recovery == RecoveryMode::Salvage {
            // A record may contradict a file, and only the whole log tells which points of that are deleted.
            let check = LogCheck::with_files(&fs, &dirs.data, Some(&dirs.wal));
            refill.go_on_without = Some(stored_types(check.two_types()));
        }
        let opened = L::open_replaying(fs.clone(), &dirs.wal, options.log, &mut refill);
        let Refill { fields, deletes, refusal, .. } = refill;
        let (log, recovery) = match (refusal, opened) {
            (Some(refusal), Err(_)) => return Err(refusal),
            (_, opened) => opened.during(OPERATION)?,
        };
        let deletes = deletes.whole;
        remove_leftovers(&fs, &dirs.data)?;
        files.finish_deletes(&fs, &torn, &deletes)?;
        if found.as_ref() != Some(&manifest) {
            manifest.write(&fs, &dirs.data)?;
        }
        let left_out =
            !recovery.refused.is_empty() || recovery.gaps.iter().any(|gap| gap.kind != GapKind::TornTail);
        let (background, compact) = (options.background, options.compact);
        let compactor = Arc::new(Compactor::new(&options));
        let inner = Arc::new(Inner {
            options,
            dirs,
            fs,
            cache,
            log,
            files,
            fields,
            fields_index: FieldsIndex::default(),
            typing: manifest.typing,
            recovery,
            snapshotting: Mutex::new(()),
            leftovers_logged: AtomicBool::new(left_out || !deletes.is_empty()),
            worker: Worker::new(),
            compactor: compactor.clone(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            make_encoder,
        });
        if inner.recovery.gaps.is_empty() && inner.recovery.refused.is_empty() {
            // Else each opening would make durable anew what they did to files.
            inner
                .forget_leftovers()
                .unwrap_or_else(|error| tracing::warn!(%error, "deletes stay in the log"));
        }
        if background {
            inner.worker.start(Arc::downgrade(&inner));
        }
        if background && compact {
            compactor.start(&Arc::downgrade(&inner), inner.worker.crippled());
        }
        Ok(Self { inner, alive: Arc::new(Alive(compactor)) })
    }
}

fn prepare<F: Fs>(fs: &F, dir: &Path, create: bool) -> Result<()> {
    match fs.list(dir) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
            fs.create_dir_all(dir).on(OPERATION, dir)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::at(OPERATION, dir, ErrorKind::NoDirectory))
        }
        Err(error) => Err(error).on(OPERATION, dir),
    }
}

/// Makes the entries of a directory that exists, and of those above it, durable.
fn settle<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let below_another = |dir: &&Path| dir.parent().is_some();
    dir.ancestors().filter(below_another).try_for_each(|dir| fs.create_dir_all(dir).on(OPERATION, dir))
}

/// Of a log that is missing there is more to say than of other directories.
fn no_log(error: Error) -> Error {
    match (error.kind(), error.path()) {
        (ErrorKind::NoDirectory, Some(path)) => Error::at(OPERATION, path, ErrorKind::NoLogDirectory),
        _ => error,
    }
}

/// Takes the lock of a directory.
pub(crate) fn lock<F: Fs>(fs: &F, path: &Path, operation: &'static str, data: &Path) -> Result<F::Lock> {
    fs.lock(path).map_err(|error| not_locked(error, path, operation, data))
}

pub(crate) fn not_locked(error: io::Error, path: &Path, operation: &'static str, data: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::at(operation, data, ErrorKind::InUse),
        _ => Error::at(operation, path, error.into()),
    }
}

/// The manifest that a directory is opened with.
struct Agreed {
    /// As it is to be.
    manifest: Manifest,
    /// As it was found.
    found: Option<Manifest>,
    /// The directory has no manifest, no files and no record in its log: it is being created.
    is_fresh: bool,
}

/// Compares the parts asked for with those the directory was made with.
fn agree_on_parts<F: Fs>(
    fs: &F,
    dirs: &Dirs,
    asked: &Parts,
    is_influx_readable: bool,
    options: &Options,
) -> Result<Agreed> {
    let refuse = |kind| Err(Error::at(OPERATION, &dirs.data, kind));
    if let Some(manifest) = Manifest::read(fs, &dirs.data)? {
        for ((part, made_with), (_, asked)) in manifest.parts.named().into_iter().zip(asked.named()) {
            if made_with != asked {
                let (made_with, asked) = (made_with.to_owned(), asked.to_owned());
                return refuse(ErrorKind::OtherParts { part, made_with, asked });
            }
        }
        let agreed = manifest.with_log_in(fs, &dirs.data, &dirs.wal)?;
        if let Some(asked) = options.typing.filter(|&asked| asked != manifest.typing) {
            let (made_with, asked) = (manifest.typing.name().to_owned(), asked.name().to_owned());
            return refuse(ErrorKind::OtherParts { part: "types", made_with, asked });
        }
        return Ok(Agreed { manifest: agreed, found: Some(manifest), is_fresh: false });
    }
    let mut typing = options.typing.unwrap_or_default();
    let segments = match fs.list(&dirs.wal) {
        Ok(names) => names.into_iter().filter(|name| tsmith_wal::is_segment(name)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).on(OPERATION, &dirs.wal),
    };
    let is_fresh = asked.log == "etcd" && is_begun(fs, dirs)
        || segments.is_empty()
            && tsm_names(fs, &dirs.data)?.is_empty()
            && !holds_influxdb_index(fs, &dirs.data);
    // The log `native` opens by its name all the same.
    let is_own = || segments.iter().any(|name| is_native(name)) || tsmith_wal::etcd::is_log(fs, &dirs.wal);
    if !is_fresh && ["file", "mmap", "etcd"].contains(&&*asked.log) && is_own() {
        return refuse(ErrorKind::NoManifest);
    }
    if !is_fresh {
        let has_log = !segments.is_empty();
        // Without a manifest it is InfluxDB's, and must stay readable to it; a part that forgets would lose its log.
        let unfit =
            |part, asked: &str, instead| ErrorKind::NotInflux { part, asked: asked.to_owned(), instead };
        typing = options.typing.unwrap_or(FieldTyping::Measurement);
        if !is_influx_readable {
            return refuse(unfit("encoder", &asked.encoder, "tsm1"));
        }
        // With segments of its own the directory is not InfluxDB's; its manifest was lost.
        if ["null", "etcd"].contains(&&*asked.log) || (asked.log == "native" && !has_log) {
            return refuse(unfit("log", &asked.log, "file"));
        }
        if asked.storer == "empty" {
            return refuse(unfit("storer", &asked.storer, "ring"));
        }
    } else if !options.create {
        return refuse(ErrorKind::NotAnEngine);
    }
    let manifest = Manifest { parts: asked.clone(), wal: PathBuf::new(), data: None, typing };
    let manifest = manifest.place_log(fs, &dirs.data, &dirs.wal)?;
    Ok(Agreed { manifest, found: None, is_fresh })
}

/// Whether `dirs` hold a log of ours in etcd's segments and nothing else: no manifest, no files, no record. An earlier
/// version, killed while it created a directory, left that.
pub(crate) fn is_begun<F: Fs>(fs: &F, dirs: &Dirs) -> bool {
    let is_alone = || {
        let no_manifest = |names: Vec<_>| names.iter().all(|name| name != MANIFEST_NAME);
        fs.list(&dirs.data).is_ok_and(no_manifest)
            && tsm_names(fs, &dirs.data).is_ok_and(|names| names.is_empty())
    };
    let replayed = || tsmith_wal::replay_only(fs, &dirs.wal, RecoveryMode::Strict, |_, _| Ok(()));
    tsmith_wal::etcd::is_log(fs, &dirs.wal) && is_alone() && replayed().is_ok_and(|found| found.records == 0)
}

/// What a log holds, into an empty cache; and what is known of fields then.
struct Refill<'a, S> {
    cache: &'a Cache<S>,
    files: &'a [Arc<TsmFile>],
    torn: &'a [TornTombstones],
    wal: &'a Path,
    fields: FieldTypes,
    deletes: Deletes,
    /// For a salvage: what is needed to go on without what cannot be replayed.
    go_on_without: Option<StoredTypes>,
    /// Why the directory cannot be opened, though its files and the log can be.
    refusal: Option<Error>,
}

impl<'a, S> Refill<'a, S> {
    fn new(
        cache: &'a Cache<S>,
        files: &'a [Arc<TsmFile>],
        torn: &'a [TornTombstones],
        wal: &'a Path,
    ) -> Self {
        let (fields, deletes) = (FieldTypes::default(), Deletes::default());
        Self { cache, files, torn, wal, fields, deletes, go_on_without: None, refusal: None }
    }
}

impl<S: Storer> Replay for Refill<'_, S> {
    fn entry(&mut self, at: Position, entry: &Entry<'_>) -> tsmith_wal::Result<()> {
        match &self.go_on_without {
            None => replay_entry(self.cache, &mut self.deletes, at, entry),
            Some(stored) => {
                take_entry(self.cache, &mut self.deletes, stored, at, entry).map_err(RefusedEntry::into_error)
            }
        }
    }

    fn progress(&mut self, progress: Progress) {
        let Progress { segments, segments_total, records, bytes, .. } = progress;
        tracing::debug!(segments, segments_total, records, bytes, "replayed");
    }

    fn end(&mut self) -> tsmith_wal::Result<()> {
        let mut live = self.files.to_vec();
        // What is wrong with tombstones is told when they are cut.
        let _told_later = obey(&mut live, self.torn, &self.deletes.whole);
        for file in &live {
            self.fields.learn_file(file);
        }
        self.fields.learn_cache(self.cache);
        let Some(found) = two_types(&self.fields, &live, self.cache).into_iter().next() else {
            return Ok(());
        };
        let error = found.error(OPERATION, self.wal);
        self.refusal = Some(error.clone());
        Err(tsmith_wal::Error::refused(error))
    }
}

/// Applies one entry of the log to the cache, as when it was written; deletes are noted, for the files.
pub(crate) fn replay_entry<S: Storer>(
    cache: &Cache<S>,
    deletes: &mut Deletes,
    at: Position,
    entry: &Entry<'_>,
) -> tsmith_wal::Result<()> {
    let (keys, range) = match entry {
        Entry::Write(batch) => {
            deletes.interrupt();
            // What was acknowledged once is taken back whatever the limit.
            let admitted = cache.admit_replayed(batch).map_err(tsmith_wal::Error::refused)?;
            let _replayed = admitted.publish(at);
            return Ok(());
        }
        Entry::Delete(keys) => (keys, TimeRange::ALL),
        Entry::DeleteRange { range, keys } => (keys, *range),
    };
    if deletes.take(keys, range)
        && let Some(whole) = deletes.whole.last()
    {
        for key in whole.deletion.keys.iter().filter_map(|key| FieldKey::parse(key)) {
            cache.delete(key, range);
        }
    }
    Ok(())
}
