//! Repair: rewrites corrupt files with the parts that pass their checks.
//!
//! ```text
//! read every block ─▶ write the good ones under a temporary name, sync ─▶ rename the corrupt file to *.bad
//!   ─▶ rename the new file, sync the directory
//! ```
//!
//! At any time the file of that name is either the corrupt one or the repaired one, complete. It keeps its
//! generation, and therefore its age, and its tombstones. The next attempt uses or removes what a crash or
//! failure leaves. The caller decides which files to repair and what to report.
//!
//! A file that was quarantined earlier (`*.tsm.bad`) never gets a name that an engine reads, because its
//! points may have been deleted or replaced since. Its good blocks go to `*.tsm.rescued` beside it.

mod live;
mod log;
mod manifest;

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tsmith_codecs::Decoders;
use tsmith_tsm::format::FILE_BYTES_MIN;
use tsmith_tsm::{Reader, Salvage, TOMBSTONE_BYTES_MAX, Tombstone, TombstoneSalvage, Writer};
use tsmith_wal::fs::{
    FileWriter, Fs, FsFile, create_temporary, quarantine, quarantine_name, replace_corrupt,
    replace_corrupt_by,
};

pub use live::{ReadLog, unfinished_delete};
pub use log::log;
pub use manifest::{ManifestSalvage, manifest};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{RESCUED_SUFFIX, TwoTypes, load, tsm_name_of};
use crate::lock::{LOCK_NAME, lock};
use crate::output::WRITE_BUFFER_BYTES;
pub use crate::replay::LogCheck;

const OPERATION: &str = "repair";

/// What happened to a corrupt file.
#[derive(Clone, Debug)]
pub struct Repaired<S> {
    /// What is kept and what is lost.
    pub salvage: S,
    /// The new name of the corrupt file, or the name it would get. `None` if the file needs no repair.
    pub quarantined: Option<PathBuf>,
    /// Nothing could be kept, so no file has the old name any more.
    pub gone: bool,
    /// Where the good parts of a quarantined file are, or would be.
    pub rescued: Option<PathBuf>,
}

impl<S> Repaired<S> {
    fn whole(salvage: S) -> Self {
        Self { salvage, quarantined: None, gone: false, rescued: None }
    }
}

/// The result of [`tombstones`].
#[derive(Clone, Debug)]
pub struct TombstoneLoss {
    /// The records that pass their checks, and the corrupt parts.
    pub salvage: TombstoneSalvage,
    /// Records kept from a truncated member, because the TSM file has their keys.
    pub believed: u64,
}

/// A lock on a data directory, held until drop.
#[derive(Debug)]
pub struct Owned<F: Fs> {
    _lock: F::File,
}

impl<F: Fs> Owned<F> {
    /// Locks `data`.
    ///
    /// # Errors
    /// An engine or a reading command has it open.
    pub fn take(fs: &F, data: &Path) -> Result<Self> {
        Ok(Self { _lock: lock(fs, &data.join(LOCK_NAME), OPERATION, data)? })
    }

    /// Like [`Owned::take`], but only if there is a lock file. Without one, no Tsmith process has opened the
    /// directory, and no lock file is created there.
    ///
    /// # Errors
    /// As for [`Owned::take`].
    pub fn take_if_locked(fs: &F, data: &Path) -> Result<Option<Self>> {
        let names = fs.list(data).on(OPERATION, data)?;
        if names.iter().any(|name| name == LOCK_NAME) { Self::take(fs, data).map(Some) } else { Ok(None) }
    }
}

/// Repairs the TSM file at `path`. With `dry_run` nothing is changed and the result says what would happen.
/// Keys of this file that `two_types` names are dropped, because the older file's points count. A file that
/// keeps no point is quarantined.
///
/// # Errors
/// - No entry of the index can be read ([`ErrorKind::NoIndex`]), so the keys are unknown.
/// - A block was written by an encoder that is not in `decoders`.
/// - The file cannot be read, or the new one cannot be written.
///
/// The file is then unchanged.
pub fn tsm_file<F: Fs>(
    fs: &F,
    path: &Path,
    two_types: &[TwoTypes],
    decoders: &Decoders,
    dry_run: bool,
) -> Result<Repaired<Salvage>> {
    let bytes = load(fs, path).on(OPERATION, path)?;
    if holds_nothing(&bytes) {
        return without_file(fs, path, Salvage::default(), dry_run);
    }
    let opened = Salvage::open(bytes, decoders);
    let (reader, mut salvage) =
        opened.map_err(|error| Error::at(OPERATION, path, ErrorKind::NoIndex(error)))?;
    if let Some(unknown) = salvage.unknown.take() {
        return Err(Error::at(OPERATION, path, unknown.into()));
    }
    for TwoTypes { key, existing, .. } in two_types.iter().filter(|found| found.file.as_deref() == Some(path))
    {
        salvage.drop_key(&reader, decoders, key, *existing);
    }
    if salvage.is_whole() {
        return Ok(Repaired::whole(salvage));
    }
    if salvage.kept_blocks == 0 {
        return without_file(fs, path, salvage, dry_run);
    }
    if let Some(rescued) = rescued_path(path) {
        let names = fs.list(path.parent().unwrap_or(Path::new(""))).on(OPERATION, path)?;
        if rescued.file_name().is_some_and(|name| names.iter().any(|taken| taken == name)) {
            return Err(Error::at(OPERATION, &rescued, ErrorKind::RescuedExists));
        }
        if !dry_run {
            let publish = |file: &F::File, temporary: &Path| {
                fs.copy_access(file, path);
                fs.publish(file, temporary, &rescued)
            };
            write_kept(fs, &rescued, (&reader, &salvage), decoders, publish)?;
        }
        return Ok(Repaired { rescued: Some(rescued), ..Repaired::whole(salvage) });
    }
    let quarantined = if dry_run {
        quarantine_name(fs, path).on(OPERATION, path)?
    } else {
        let publish = |file: &F::File, temporary: &Path| replace_corrupt(fs, file, temporary, path);
        write_kept(fs, path, (&reader, &salvage), decoders, publish)?
    };
    Ok(Repaired { quarantined: Some(quarantined), ..Repaired::whole(salvage) })
}

/// Quarantines a file of which nothing is kept. A file that is already quarantined stays.
fn without_file<F: Fs>(fs: &F, path: &Path, salvage: Salvage, dry_run: bool) -> Result<Repaired<Salvage>> {
    let quarantined = match (rescued_path(path), dry_run) {
        (Some(_), _) => None,
        (None, true) => Some(quarantine_name(fs, path).on(OPERATION, path)?),
        (None, false) => Some(quarantine(fs, path).on(OPERATION, path)?),
    };
    Ok(Repaired { quarantined, gone: true, ..Repaired::whole(salvage) })
}

/// Whether a file is too short for one block, or all zeros. A crash leaves such files.
fn holds_nothing(bytes: &[u8]) -> bool {
    bytes.len() < FILE_BYTES_MIN || bytes.iter().all(|&byte| byte == 0)
}

/// The name for the good parts of the quarantined file at `path`. `None` if the file is not quarantined.
fn rescued_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let live = tsm_name_of(name).filter(|live| *live != name)?;
    Some(path.with_file_name(format!("{live}{RESCUED_SUFFIX}")))
}

/// Writes the kept blocks under a temporary name and publishes the file as `path`.
fn write_kept<F: Fs, T>(
    fs: &F,
    path: &Path,
    (reader, salvage): (&Reader, &Salvage),
    decoders: &Decoders,
    publish: impl FnOnce(&F::File, &Path) -> std::io::Result<T>,
) -> Result<T> {
    let (temporary, file) = create_temporary(fs, path).on(OPERATION, path)?;
    let written = || {
        let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, FileWriter::new(file));
        let mut writer = Writer::new(out, reader.version());
        salvage.write(reader, decoders, &mut writer).on(OPERATION, &temporary)?;
        let (out, _) = writer.finish().on(OPERATION, &temporary)?;
        let out = out.into_inner().map_err(std::io::IntoInnerError::into_error).on(OPERATION, &temporary)?;
        let file = out.finish().on(OPERATION, &temporary)?;
        file.sync_all().on(OPERATION, &temporary)?;
        // Verify the new file before anything depends on it.
        let check = Reader::new(load(fs, &temporary).on(OPERATION, &temporary)?).on(OPERATION, &temporary)?;
        let flaw = Salvage::of(&check, decoders)
            .corrupt
            .into_iter()
            .flat_map(|key| key.dropped.into_iter().chain(key.repaired))
            .next();
        if let Some(flaw) = flaw {
            return Err(Error::at(OPERATION, &temporary, flaw.error.into()));
        }
        publish(&file, &temporary).on(OPERATION, path)
    };
    written().inspect_err(|_| {
        // If this fails, the next attempt or the next opening removes it.
        let _ = fs.remove(&temporary);
    })
}

/// Repairs the tombstones at `path`. With `dry_run` nothing is changed and the result says what would happen.
///
/// Points whose tombstones are lost reappear.
///
/// # Errors
/// The version is unknown, or the file cannot be read or written. The file is then unchanged.
pub fn tombstones<F: Fs>(fs: &F, path: &Path, dry_run: bool) -> Result<Repaired<TombstoneLoss>> {
    let bytes = fs.read_within(path, TOMBSTONE_BYTES_MAX).on(OPERATION, path)?;
    let mut salvage = TombstoneSalvage::of(&bytes).on(OPERATION, path)?;
    if salvage.is_whole() {
        return Ok(Repaired::whole(TombstoneLoss { salvage, believed: 0 }));
    }
    // These records have no checksum. If the TSM file has the key, corruption is unlikely to have invented
    // it.
    let file = load(fs, &path.with_extension("tsm")).ok().and_then(|bytes| Reader::new(bytes).ok());
    let is_known = |key: &[u8]| file.as_ref().is_some_and(|file| file.find(key).is_some());
    let is_likely = |record: &Tombstone| record.range.min <= record.range.max && is_known(&record.key);
    let believed = salvage.keep_known(&bytes, is_likely).on(OPERATION, path)?;
    let gone = salvage.kept.is_empty();
    let quarantined = match (dry_run, gone) {
        (true, _) => quarantine_name(fs, path),
        (false, true) => quarantine(fs, path),
        (false, false) => replace_corrupt_by(fs, path, &salvage.kept.to_file()),
    };
    let quarantined = quarantined.on(OPERATION, path)?;
    let loss = TombstoneLoss { salvage, believed };
    Ok(Repaired { quarantined: Some(quarantined), gone, ..Repaired::whole(loss) })
}
