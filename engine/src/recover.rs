//! Opening: lock, manifest, files, log, in this order. Nothing is changed before the lock is held.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tsmith_cache::{Cache, CacheOptions, Storer};
use tsmith_codecs::{BLOCK_VALUES_MAX, BlockEncoder, EncoderEntry, Position};
use tsmith_wal::entry::Entry;
use tsmith_wal::fs::Fs;
use tsmith_wal::{GapKind, Log, LogKind, Progress, RecoveryMode, Replay};

use crate::compact::Compactor;
use crate::delete::Deletes;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fields_index::FieldsIndex;
use crate::files::{
    FileSet, TornTombstones, TsmFile, apply_deletes, holds_influxdb_index, remove_leftovers, tsm_names,
    two_types,
};
use crate::lock::{LOCK_NAME, lock};
use crate::manifest::Manifest;
use crate::parts::{Factories, Named, Parts};
use crate::registry::refuse_other_logs;
use crate::repair::ReadLog;
use crate::replay::{LogCheck, RefusedEntry, StoredTypes, replay_entry, stored_types, take_entry};
use crate::schema::{FieldTypes, FieldTyping};
use crate::worker::Worker;
use crate::{Alive, Dirs, Engine, Inner, Options};

const OPERATION: &str = "open";

impl<S: Storer + Default + Named, L: Log + Named, E: BlockEncoder + Default + Named> Engine<S, L, E> {
    /// Opens the engine of these directories: opens its files, and replays its log into the cache.
    ///
    /// # Errors
    /// - Another process has the directory open.
    /// - A file or the log is corrupt, or the manifest names other parts. Nothing is changed.
    /// - A directory is missing and [`Options::create`] is off.
    /// - An option is outside its range.
    pub fn open(dirs: Dirs, options: Options) -> Result<Self> {
        Self::open_on(L::Fs::default(), dirs, options)
    }

    /// Like [`Engine::open`], on the file system `fs`.
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub fn open_on(fs: L::Fs, dirs: Dirs, options: Options) -> Result<Self> {
        let [storer, log, encoder] = [S::NAME, L::NAME, E::NAME].map(str::to_owned);
        Self::open_with(fs, Factories::new(Parts { storer, log, encoder }), dirs, options)
    }
}

/// Refuses options outside their range, before anything is written.
fn check_options(options: &Options) -> Result<()> {
    let asked = options.points_per_block;
    if (1..=BLOCK_VALUES_MAX).contains(&asked) {
        return Ok(());
    }
    let kind = ErrorKind::OptionRange { option: "points_per_block", asked, min: 1, max: BLOCK_VALUES_MAX };
    Err(Error::new(OPERATION, kind))
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Like [`Engine::open`], with parts made by `factories`.
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub(crate) fn open_with(
        fs: L::Fs,
        factories: Factories<S, L, E>,
        dirs: Dirs,
        mut options: Options,
    ) -> Result<Self> {
        let make_encoder = factories.encoder;
        let make = make_encoder.clone();
        let own = EncoderEntry::new("own", "the encoder of this engine", move || Box::new(make()));
        let asked = Asked {
            names: &factories.names,
            log: factories.log,
            other_logs: &factories.other_logs,
            keeps_values: (factories.storer)().keeps_values(),
            is_influx_readable: own.is_influx_readable(),
        };
        options.decoders = options.decoders.or(own);
        check_options(&options)?;
        prepare(&fs, &dirs.data, options.create)?;
        // Checked before anything is written, so a refused directory stays unchanged. Checked again under the
        // lock.
        agree_on_parts(&fs, &dirs, &asked, &options)?;
        let lock = lock(&fs, &dirs.data.join(LOCK_NAME), OPERATION, &dirs.data)?;
        let Agreed { manifest, mut found, is_fresh } = agree_on_parts(&fs, &dirs, &asked, &options)?;
        // A directory with a manifest had a log. If that is missing, do not create a new one.
        prepare(&fs, &dirs.wal, options.create && found.is_none()).map_err(no_log)?;
        if found.is_none() {
            // The process that created the directories may have died before they were durable. Only a
            // manifest proves that they are.
            sync_directories(&fs, &dirs.data)?;
            sync_directories(&fs, &dirs.wal)?;
        }
        if is_fresh {
            // The manifest comes before the first segment. After a crash from here on, the directory knows
            // its parts.
            manifest.write(&fs, &dirs.data)?;
            found = Some(manifest.clone());
        }
        let (files, torn) = FileSet::open(&fs, &dirs.data)?;
        let limits = CacheOptions { limit: options.cache_bytes_max, when_full: options.when_full };
        let cache = Cache::with(limits, factories.storer);
        let live = files.load().clone();
        let mut refill = Refill::new(&cache, &live, &torn, &dirs.wal);
        if options.log.recovery == RecoveryMode::Salvage {
            // A record may contradict a file. Only the complete log shows which points of that file are
            // deleted.
            let read: ReadLog<'_> = Box::new(|replay| {
                factories.log.read(&fs, &dirs.wal, RecoveryMode::Salvage, replay).during(OPERATION)
            });
            let check = LogCheck::with_files(&fs, &dirs.data, Some(&read));
            refill.go_on_without = Some(stored_types(check.two_types()));
        }
        let opened = factories.log.open(fs.clone(), &dirs.wal, options.log, &mut refill);
        let Refill { fields, deletes, refusal, .. } = refill;
        let (log, recovery) = match (refusal, opened) {
            (Some(refusal), Err(_)) => return Err(refusal),
            (_, opened) => opened.during(OPERATION)?,
        };
        let deletes = deletes.complete;
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
            // With gaps, every opening would rewrite the tombstones of these deletes.
            inner
                .drop_leftovers()
                .unwrap_or_else(|error| tracing::warn!(%error, "cannot remove deletes from the log"));
        }
        if background {
            inner.worker.start(Arc::downgrade(&inner));
        }
        if background && compact {
            compactor.start(&Arc::downgrade(&inner), inner.worker.read_only_flag());
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

/// Makes the entries of an existing directory, and of those above it, durable.
fn sync_directories<F: Fs>(fs: &F, dir: &Path) -> Result<()> {
    let below_another = |dir: &&Path| dir.parent().is_some();
    dir.ancestors().filter(below_another).try_for_each(|dir| fs.create_dir_all(dir).on(OPERATION, dir))
}

/// A missing log directory gets its own error.
fn no_log(error: Error) -> Error {
    match (error.kind(), error.path()) {
        (ErrorKind::NoDirectory, Some(path)) => Error::at(OPERATION, path, ErrorKind::NoLogDirectory),
        _ => error,
    }
}

/// The manifest that a directory is opened with.
struct Agreed {
    /// The manifest to write.
    manifest: Manifest,
    /// The manifest that was read.
    found: Option<Manifest>,
    /// The directory has no manifest, no files and no log record: it is new.
    is_fresh: bool,
}

/// The parts that the caller wants to open a directory with.
struct Asked<'a, L: Log + ?Sized> {
    names: &'a Parts,
    log: LogKind<L>,
    other_logs: &'a [LogKind<L>],
    keeps_values: bool,
    is_influx_readable: bool,
}

impl<L: Log + ?Sized> Asked<'_, L> {
    fn logs(&self) -> impl Iterator<Item = &LogKind<L>> + Clone {
        self.other_logs.iter().chain([&self.log])
    }
}

/// Compares the wanted parts with those the directory was created with.
fn agree_on_parts<L: Log + ?Sized>(
    fs: &L::Fs,
    dirs: &Dirs,
    asked: &Asked<'_, L>,
    options: &Options,
) -> Result<Agreed> {
    let refuse = |kind| Err(Error::at(OPERATION, &dirs.data, kind));
    if let Some(manifest) = Manifest::read(fs, &dirs.data)? {
        for ((part, made_with), (_, asked)) in manifest.parts.named().into_iter().zip(asked.names.named()) {
            if made_with != asked {
                let (made_with, asked) = (made_with.to_owned(), asked.to_owned());
                return refuse(ErrorKind::OtherParts { part, made_with, asked });
            }
        }
        let agreed = manifest.with_log_in(fs, &dirs.data, &dirs.wal)?;
        // `prepare` reports a missing directory.
        if let Ok(names) = fs.list(&dirs.wal) {
            refuse_other_logs(&dirs.wal, &names, asked.log, asked.logs().copied())?;
        }
        if let Some(asked) = options.typing.filter(|&asked| asked != manifest.typing) {
            let (made_with, asked) = (manifest.typing.name().to_owned(), asked.name().to_owned());
            return refuse(ErrorKind::OtherParts { part: "types", made_with, asked });
        }
        return Ok(Agreed { manifest: agreed, found: Some(manifest), is_fresh: false });
    }
    let has_log = match fs.list(&dirs.wal) {
        Ok(names) => names
            .iter()
            .any(|name| tsmith_wal::is_segment(name) || asked.logs().any(|log| log.is_segment(name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).on(OPERATION, &dirs.wal),
    };
    let is_fresh = !has_log && tsm_names(fs, &dirs.data)?.is_empty() && !holds_influxdb_index(fs, &dirs.data);
    let typing = if is_fresh {
        options.typing.unwrap_or_default()
    } else {
        must_fit_influxdb(fs, dirs, asked)?;
        options.typing.unwrap_or(FieldTyping::Measurement)
    };
    if is_fresh && !options.create {
        return refuse(ErrorKind::NotAnEngine);
    }
    let manifest = Manifest { parts: asked.names.clone(), wal: PathBuf::new(), data: None, typing };
    let manifest = manifest.place_log(fs, &dirs.data, &dirs.wal)?;
    Ok(Agreed { manifest, found: None, is_fresh })
}

/// A directory without a manifest is InfluxDB's, unless its log is ours: then the manifest was lost. InfluxDB
/// must be able to read it afterwards, and a part that keeps no values would lose its content.
fn must_fit_influxdb<L: Log + ?Sized>(fs: &L::Fs, dirs: &Dirs, asked: &Asked<'_, L>) -> Result<()> {
    let mut is_ours = tsmith_wal::is_owned(fs, &dirs.wal).during(OPERATION)?;
    for log in asked.logs() {
        is_ours |= log.owns(fs, &dirs.wal).during(OPERATION)?;
    }
    if is_ours {
        return Err(Error::at(OPERATION, &dirs.data, ErrorKind::NoManifest));
    }
    let Parts { storer, log, encoder } = asked.names;
    for (fits, part, asked, instead) in [
        (asked.is_influx_readable, "encoder", encoder, "tsm1"),
        (asked.log.is_influx(), "log", log, "file"),
        (asked.keeps_values, "storer", storer, "ring"),
    ] {
        if !fits {
            let kind = ErrorKind::NotInflux { part, asked: asked.clone(), instead };
            return Err(Error::at(OPERATION, &dirs.data, kind));
        }
    }
    Ok(())
}

/// Replays a log into an empty cache and collects the types of fields.
struct Refill<'a, S> {
    cache: &'a Cache<S>,
    files: &'a [Arc<TsmFile>],
    torn: &'a [TornTombstones],
    wal: &'a Path,
    fields: FieldTypes,
    deletes: Deletes,
    /// With salvage: the stored types needed to skip records that cannot be replayed.
    go_on_without: Option<StoredTypes>,
    /// Why the directory cannot be opened although files and log are readable.
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
        // Errors in tombstones are reported when the tombstones are cut.
        let _reported_later = apply_deletes(&mut live, self.torn, &self.deletes.complete);
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
