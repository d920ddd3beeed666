//! Repair: damaged files written anew from what of them is whole.
//!
//! ```text
//! read every block ─▶ write the whole ones under a temporary name, sync ─▶ give the damaged file a second name, *.bad ─▶
//! rename, sync the directory
//! ```
//!
//! So at any time the file of the name is the damaged one or the repaired one, whole. The generation and with it the age
//! stay, and so do the tombstones beside it. Cut short or failed, it leaves what the next attempt uses or removes. Which file
//! to repair, and what to tell, is the caller's business.

mod live;
mod log;
mod manifest;

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tsmith_tsm::{Reader, Salvage, TOMBSTONE_BYTES_MAX, Tombstone, TombstoneSalvage, Writer};
use tsmith_wal::fs::{
    FileWriter, Fs, FsFile, aside_name, create_temporary, replace_damaged, replace_damaged_by, take_away,
};

pub use live::unfinished_delete;
pub use log::{LogCheck, log};
pub(crate) use manifest::is_native;
pub use manifest::{ManifestSalvage, manifest};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{TwoTypes, load};
use crate::output::WRITE_BUFFER_BYTES;
use crate::recover::{LOCK_NAME, lock};

const OPERATION: &str = "repair";

/// A damaged file, and what became of it.
#[derive(Clone, Debug)]
pub struct Repaired<S> {
    /// What is kept, and what is lost.
    pub salvage: S,
    /// Where the file is now as it was, or would be; `None` when it is whole, and untouched.
    pub set_aside: Option<PathBuf>,
    /// Nothing of it is whole, so that no file has its name now.
    pub gone: bool,
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
    _lock: F::Lock,
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
pub fn tsm_file<F: Fs>(fs: &F, path: &Path, dry_run: bool) -> Result<Repaired<Salvage>> {
    tsm_file_without(fs, path, &[], dry_run)
}

/// Repairs the TSM file at `path`; with `dry_run` changes nothing, and tells what it would. Keys of it that `two_types` names
/// are dropped: of the points of a key those of the older file stay.
///
/// # Errors
/// The index or the footer is damaged ([`ErrorKind::NoIndex`]): the keys are nowhere else. Or the file cannot be read, or
/// the new one not written. The file is as before.
pub fn tsm_file_without<F: Fs>(
    fs: &F,
    path: &Path,
    two_types: &[TwoTypes],
    dry_run: bool,
) -> Result<Repaired<Salvage>> {
    let bytes = load(fs, path).on(OPERATION, path)?;
    let reader = Reader::new(bytes);
    let reader = reader.map_err(|error| Error::at(OPERATION, path, ErrorKind::NoIndex(error)))?;
    let mut salvage = Salvage::of(&reader);
    for TwoTypes { key, existing, .. } in two_types.iter().filter(|found| found.file.as_deref() == Some(path))
    {
        salvage.drop_key(&reader, key, *existing);
    }
    if salvage.is_whole() {
        return Ok(Repaired { salvage, set_aside: None, gone: false });
    }
    let gone = salvage.kept_blocks == 0;
    let aside = match (dry_run, gone) {
        (true, _) => aside_name(fs, path).on(OPERATION, path)?,
        (false, true) => take_away(fs, path).on(OPERATION, path)?,
        (false, false) => write_anew(fs, path, &reader, &salvage)?,
    };
    Ok(Repaired { salvage, set_aside: Some(aside), gone })
}

fn write_anew<F: Fs>(fs: &F, path: &Path, reader: &Reader, salvage: &Salvage) -> Result<PathBuf> {
    let (temporary, file) = create_temporary(fs, path).on(OPERATION, path)?;
    let written = || {
        let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, FileWriter::new(file));
        let mut writer = Writer::new(out, reader.version());
        salvage.write(reader, &mut writer).on(OPERATION, &temporary)?;
        let (out, _) = writer.finish().on(OPERATION, &temporary)?;
        let out = out.into_inner().map_err(std::io::IntoInnerError::into_error).on(OPERATION, &temporary)?;
        let file = out.finish().on(OPERATION, &temporary)?;
        file.sync_all().on(OPERATION, &temporary)?;
        // Read back before anything depends on it.
        let check = Reader::new(load(fs, &temporary).on(OPERATION, &temporary)?).on(OPERATION, &temporary)?;
        let flaw = Salvage::of(&check)
            .damaged
            .into_iter()
            .flat_map(|key| key.dropped.into_iter().chain(key.mended))
            .next();
        if let Some(flaw) = flaw {
            return Err(Error::at(OPERATION, &temporary, flaw.error.into()));
        }
        replace_damaged(fs, &file, &temporary, path).on(OPERATION, path)
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
        return Ok(Repaired {
            salvage: TombstoneLoss { salvage, believed: 0 },
            set_aside: None,
            gone: false,
        });
    }
    // Records without a checksum: one whose key is in the file was hardly made up by damage.
    let file = load(fs, &path.with_extension("tsm")).ok().and_then(|bytes| Reader::new(bytes).ok());
    let is_known = |key: &[u8]| file.as_ref().is_some_and(|file| file.find(key).is_some());
    let is_likely = |record: &Tombstone| record.range.min <= record.range.max && is_known(&record.key);
    let believed = salvage.believe(&bytes, is_likely).on(OPERATION, path)?;
    let gone = salvage.kept.is_empty();
    let aside = match (dry_run, gone) {
        (true, _) => aside_name(fs, path),
        (false, true) => take_away(fs, path),
        (false, false) => replace_damaged_by(fs, path, &salvage.kept.to_file()),
    };
    let aside = aside.on(OPERATION, path)?;
    Ok(Repaired { salvage: TombstoneLoss { salvage, believed }, set_aside: Some(aside), gone })
}
