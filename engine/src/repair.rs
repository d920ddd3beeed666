//! Repair: corrupt files are rewritten from what of them can be kept.
//!
//! ```text
//! read every block ─▶ write those to keep under a temporary name, sync ─▶ give the corrupt file a second name, *.bad ─▶
//! rename, sync the directory
//! ```
//!
//! So at any time the file of the name is the corrupt one or the repaired one, complete. The generation and with it the age
//! stay, and so do the tombstones beside it. A crash or a failure leaves what the next attempt uses or removes. Which file
//! to repair, and what to report, is the caller's business.
//!
//! A file that was quarantined before, `*.tsm.bad`, never takes a name that an engine reads: its points may have been deleted
//! or replaced since. What can be kept of it becomes `*.tsm.rescued` beside it.

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

/// A corrupt file, and what became of it.
#[derive(Clone, Debug)]
pub struct Repaired<S> {
    /// What is kept, and what is lost.
    pub salvage: S,
    /// Where the file is now as it was, or would be; `None` when it is whole, and untouched.
    pub quarantined: Option<PathBuf>,
    /// Nothing of it is whole, so that no file has its name now.
    pub gone: bool,
    /// Where what is kept of a quarantined file is now, or would be.
    pub rescued: Option<PathBuf>,
}

impl<S> Repaired<S> {
    fn whole(salvage: S) -> Self {
        Self { salvage, quarantined: None, gone: false, rescued: None }
    }
}

/// What [`tombstones`] found.
#[derive(Clone, Debug)]
pub struct TombstoneLoss {
    /// What is whole, and what is not.
    pub salvage: TombstoneSalvage,
    /// Records kept of a member that is cut short: the TSM file has their keys.
    pub believed: u64,
}

/// A data directory that is ours for as long as this lives.
#[derive(Debug)]
pub struct Owned<F: Fs> {
    _lock: F::File,
}

impl<F: Fs> Owned<F> {
    /// Keeps everybody else out of `data`.
    ///
    /// # Errors
    /// An engine, or a verb that reads, has it.
    pub fn take(fs: &F, data: &Path) -> Result<Self> {
        Ok(Self { _lock: lock(fs, &data.join(LOCK_NAME), OPERATION, data)? })
    }

    /// As [`Owned::take`], where there is a lock: without one nobody of ours has had the directory open, and for one file
    /// that lies somewhere none is left behind.
    ///
    /// # Errors
    /// Likewise.
    pub fn take_if_locked(fs: &F, data: &Path) -> Result<Option<Self>> {
        let names = fs.list(data).on(OPERATION, data)?;
        if names.iter().any(|name| name == LOCK_NAME) { Self::take(fs, data).map(Some) } else { Ok(None) }
    }
}

/// As [`tsm_file_without`], of a file whose keys contradict no other's.
///
/// # Errors
/// Likewise.
pub fn tsm_file<F: Fs>(fs: &F, path: &Path, decoders: &Decoders, dry_run: bool) -> Result<Repaired<Salvage>> {
    tsm_file_without(fs, path, &[], decoders, dry_run)
}

/// Repairs the TSM file at `path`; with `dry_run` changes nothing, and reports what it would. Keys of it that `two_types`
/// names are dropped: of the points of a key those of the older file stay. A file without any point is quarantined.
///
/// # Errors
/// No entry of the index can be read ([`ErrorKind::NoIndex`]): the keys are nowhere else. A block was written by an encoder
/// that `decoders` lack. Or the file cannot be read, or the new one not written. The file is as before.
pub fn tsm_file_without<F: Fs>(
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
            let publish = |file: &F::File, temporary: &Path| fs.publish(file, temporary, &rescued);
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

/// Quarantines a file of which nothing is kept; one that is quarantined stays as it is.
fn without_file<F: Fs>(fs: &F, path: &Path, salvage: Salvage, dry_run: bool) -> Result<Repaired<Salvage>> {
    let quarantined = match (rescued_path(path), dry_run) {
        (Some(_), _) => None,
        (None, true) => Some(quarantine_name(fs, path).on(OPERATION, path)?),
        (None, false) => Some(quarantine(fs, path).on(OPERATION, path)?),
    };
    Ok(Repaired { quarantined, gone: true, ..Repaired::whole(salvage) })
}

/// Whether a file is too short for a block and its entry, or nothing but zeros: a crash leaves such files.
fn holds_nothing(bytes: &[u8]) -> bool {
    bytes.len() < FILE_BYTES_MIN || bytes.iter().all(|&byte| byte == 0)
}

/// The name that what is kept of the quarantined file at `path` gets; `None` if the file is not quarantined.
fn rescued_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let live = tsm_name_of(name).filter(|live| *live != name)?;
    Some(path.with_file_name(format!("{live}{RESCUED_SUFFIX}")))
}

/// Writes what is to be kept under the temporary name of `path`, and publishes it.
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
        // Read back before anything depends on it.
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
        // Else the next attempt, or opening the directory, removes it.
        let _ = fs.remove(&temporary);
    })
}

/// Repairs the tombstones at `path`; with `dry_run` changes nothing, and tells what it would.
///
/// Points that only lost tombstones deleted are back afterwards.
///
/// # Errors
/// The version is unknown, or the file cannot be read or written. It is as before.
pub fn tombstones<F: Fs>(fs: &F, path: &Path, dry_run: bool) -> Result<Repaired<TombstoneLoss>> {
    let bytes = fs.read_within(path, TOMBSTONE_BYTES_MAX).on(OPERATION, path)?;
    let mut salvage = TombstoneSalvage::of(&bytes).on(OPERATION, path)?;
    if salvage.is_whole() {
        return Ok(Repaired::whole(TombstoneLoss { salvage, believed: 0 }));
    }
    // Records without a checksum: one whose key is in the file was hardly made up by corruption.
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
