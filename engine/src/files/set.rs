//! [`FileSet`]: the files that readers see, and the one way in which they change.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, MutexGuard};
use tsmith_tsm::Tombstone;
use tsmith_wal::fs::{Fs, remove_together};

use super::clean::file_of;
use super::{FileName, NUMBER_MAX, TornTombstones, TsmFile, tsm_names};
use crate::delete::record::{Deletion, Replayed};
use crate::error::{Context, Error, ErrorKind, Result};

/// Files that are worth a thread to open them.
const FILES_PER_THREAD: usize = 16;

/// The files that readers see, oldest first.
///
/// Who reads takes one pointer and is never waited for: files that go are unlinked while they are still read. Who
/// changes something waits for whoever else does.
#[derive(Debug)]
pub struct FileSet {
    live: ArcSwap<Vec<Arc<TsmFile>>>,
    /// The highest generation given away so far.
    changes: Mutex<u64>,
    /// What was deleted since each file that is being written was begun. Changed under `changes` only.
    writing: Mutex<Vec<(u64, Vec<Arc<Deletion>>)>>,
    /// Deletes that the log has, and not all of the files it names. Changed under `changes` only.
    unfinished: Mutex<Vec<(Arc<Deletion>, BTreeSet<FileName>)>>,
}

/// Opens these files, side by side when they are many; in their order.
fn open_all<F: Fs>(fs: &F, dir: &Path, names: &[FileName]) -> Result<Vec<(TsmFile, Option<TornTombstones>)>> {
    let open = &|names: &[FileName]| -> Result<Vec<_>> {
        let open = |&name: &FileName| {
            let (file, torn) = TsmFile::open_strictly(fs, dir, name)?;
            file.check_keys().map(|()| (file, torn))
        };
        names.iter().map(open).collect()
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(names.len() / FILES_PER_THREAD);
    if threads < 2 {
        return open(names);
    }
    let parts: Vec<_> = thread::scope(|scope| {
        let parts = names.chunks(names.len().div_ceil(threads));
        let begin = |part| (part, thread::Builder::new().spawn_scoped(scope, move || open(part)));
        let workers: Vec<_> = parts.map(begin).collect();
        // Where the system gives no thread, this one does it.
        let end = |(part, worker): (_, io::Result<ScopedJoinHandle<'_, _>>)| match worker {
            Ok(worker) => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => open(part),
        };
        workers.into_iter().map(end).collect()
    });
    parts.into_iter().collect::<Result<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect())
}

impl FileSet {
    /// Opens every TSM file of `dir`. One that cannot be opened is an error that names it; the others are untouched.
    /// With it those whose tombstones end in the middle; the log has to tell why, see [`FileSet::finish_deletes`].
    pub(crate) fn open<F: Fs>(fs: &F, dir: &Path) -> Result<(Self, Vec<TornTombstones>)> {
        let mut names = tsm_names(fs, dir)?;
        names.sort_unstable();
        let generation = highest_generation(fs, dir)?;
        let (mut files, mut torn) = (Vec::with_capacity(names.len()), Vec::new());
        for (file, flaw) in open_all(fs, dir, &names)? {
            files.push(Arc::new(file));
            torn.extend(flaw);
        }
        let live = ArcSwap::from_pointee(files);
        let (writing, unfinished) = (Mutex::default(), Mutex::default());
        Ok((Self { live, changes: Mutex::new(generation), writing, unfinished }, torn))
    }

    /// The files as they are now; the set stays whole for as long as it is held.
    pub fn load(&self) -> Guard<Arc<Vec<Arc<TsmFile>>>> {
        self.live.load()
    }

    /// Waits until nobody else changes the set.
    pub(crate) fn change(&self) -> Change<'_> {
        Change { set: self, generation: self.changes.lock() }
    }

    /// Carries out the deletes that the log holds, as far as files lack them: one that a crash cut short is then as
    /// whole as if it had been acknowledged, and takes the place of what was torn by it.
    ///
    /// # Errors
    /// Tombstones that are torn although the log knows of no delete there; nothing is changed then.
    pub(crate) fn finish_deletes<F: Fs>(
        &self,
        fs: &F,
        torn: &[TornTombstones],
        deletes: &[Replayed],
    ) -> Result<()> {
        let mut change = self.change();
        // A new file that took the name of one that is gone would lose points to a delete of its time.
        let named = deletes.iter().flat_map(|delete| &delete.files).map(|(name, _)| name.generation);
        *change.generation = named.fold(*change.generation, u64::max);
        for flaw in torn {
            let files = change.files();
            let Some(file) = files.iter().find(|file| file.name() == flaw.name) else { continue };
            flaw.explain(file, deletes)?;
            let (path, at, bytes) = (file.tombstone_path(), file.tombstone_bytes(), flaw.bytes);
            tracing::warn!(path = %path.display(), at, bytes, "a delete that was not finished is written again");
        }
        // What is read of a delete that the log still has need not be durable. Once it is, the log may go.
        let named: BTreeSet<FileName> =
            deletes.iter().flat_map(|delete| &delete.files).map(|(name, _)| *name).collect();
        for file in change.files().iter().filter(|file| named.contains(&file.name())) {
            file.rewrite_tombstones(fs)?;
        }
        for delete in deletes {
            let named: BTreeSet<FileName> = delete.files.iter().map(|(name, _)| *name).collect();
            // Others are older than the delete only by luck: their own log would say so.
            let batches = change.batches(&delete.deletion, |name| named.contains(&name));
            change.write_tombstones(fs, batches)?;
        }
        Ok(())
    }
}

/// The highest generation of which there is anything but a temporary file: a file that was quarantined, or tombstones of
/// one, count as well.
fn highest_generation<F: Fs>(fs: &F, dir: &Path) -> Result<u64> {
    let names = fs.list(dir).on("list", dir)?;
    let lasting =
        names.iter().filter_map(|name| name.to_str()).filter(|name| name.strip_suffix(".tmp").is_none());
    let numbered = lasting.filter_map(file_of);
    Ok(numbered.map(|name| name.generation).max().unwrap_or(0))
}

/// The right to change the set.
#[derive(Debug)]
pub(crate) struct Change<'s> {
    set: &'s FileSet,
    generation: MutexGuard<'s, u64>,
}

/// The tombstones of one delete, by the file they belong to.
pub(crate) type Batches = Vec<(Arc<TsmFile>, Vec<Tombstone>)>;

impl<'s> Change<'s> {
    /// A generation that no file has.
    pub(crate) fn next_generation(&mut self) -> Result<u64> {
        if *self.generation >= NUMBER_MAX {
            let kind = ErrorKind::NumberTooHigh { what: "generation", number: *self.generation + 1 };
            return Err(Error::new("number a file", kind));
        }
        *self.generation += 1;
        Ok(*self.generation)
    }

    /// The files that readers see.
    pub(crate) fn files(&self) -> Arc<Vec<Arc<TsmFile>>> {
        self.set.live.load_full()
    }

    /// Says that files are being written from what can be read now: what is deleted from here on must be deleted from
    /// them too, before readers see them.
    pub(crate) fn begin_writing(&self) -> Writing<'s> {
        let mut writing = self.set.writing.lock();
        let id = writing.last().map_or(0, |(id, _)| id + 1);
        writing.push((id, Vec::new()));
        Writing { set: self.set, id }
    }

    /// What was deleted since the writing began. No more is deleted while the change is held.
    pub(crate) fn deleted_since(&self, writing: &Writing<'_>) -> Vec<Arc<Deletion>> {
        let all = self.set.writing.lock();
        all.iter().find(|(id, _)| *id == writing.id).map_or_else(Vec::new, |(_, deleted)| deleted.clone())
    }

    /// Tells all who write files.
    pub(crate) fn note(&self, deletion: &Arc<Deletion>) {
        self.set.writing.lock().iter_mut().for_each(|(_, deleted)| deleted.push(deletion.clone()));
    }

    /// The tombstones that `deletion` needs, in the files of these names.
    pub(crate) fn batches(&self, deletion: &Deletion, of: impl Fn(FileName) -> bool) -> Batches {
        let files = self.set.live.load();
        let files = files.iter().filter(|file| of(file.name()));
        files
            .map(|file| (file.clone(), file.batch(deletion)))
            .filter(|(_, batch)| !batch.is_empty())
            .collect()
    }

    /// Carries a delete out in the files, durably, and shows it to readers. After a failure it is unfinished.
    pub(crate) fn carry_out<F: Fs>(&self, fs: &F, deletion: &Arc<Deletion>, batches: Batches) -> Result<()> {
        let named = batches.iter().map(|(file, _)| file.name()).collect();
        self.write_tombstones(fs, batches)
            .inspect_err(|_| self.set.unfinished.lock().push((deletion.clone(), named)))
    }

    /// Carries out what is left of unfinished deletes. Before that no file of theirs may take another name, and no log go:
    /// its record, with the names of the files, is what finishes them after a crash.
    pub(crate) fn finish_deletes<F: Fs>(&self, fs: &F) -> Result<()> {
        let mut unfinished = self.set.unfinished.lock();
        while let Some((deletion, named)) = unfinished.first() {
            // What is in other files was written after it.
            self.write_tombstones(fs, self.batches(deletion, |name| named.contains(&name)))?;
            unfinished.remove(0);
        }
        Ok(())
    }

    /// Writes tombstones, durably, and shows them to readers.
    fn write_tombstones<F: Fs>(&self, fs: &F, batches: Batches) -> Result<()> {
        for (file, batch) in batches {
            let written = file.write_tombstones(fs, batch)?;
            self.swap(&[file.name()], vec![Arc::new(written)]);
        }
        Ok(())
    }

    /// Shows `come` to readers in the place of `gone`, in one step.
    pub(crate) fn swap(&self, gone: &[FileName], come: Vec<Arc<TsmFile>>) {
        let live = self.set.live.load();
        let stay = live.iter().filter(|file| !gone.contains(&file.name())).cloned();
        let mut files: Vec<_> = stay.chain(come).collect();
        files.sort_by_key(|file| file.name());
        debug_assert!(
            files.windows(2).all(|pair| pair[0].name() < pair[1].name()),
            "names are given away once"
        );
        self.set.live.store(Arc::new(files));
    }

    /// Removes the files `gone`, which others have replaced durably: the points first, then the tombstones, for the one
    /// without the other would bring deleted points back. Who reads them goes on.
    pub(crate) fn remove<F: Fs>(_held: &Self, fs: &F, dir: &Path, gone: &[Arc<TsmFile>]) -> Result<()> {
        const OPERATION: &str = "remove compacted file";
        if gone.is_empty() {
            return Ok(());
        }
        let remove = |paths: Vec<PathBuf>| remove_together(fs, dir, &paths).on(OPERATION, dir);
        remove(gone.iter().map(|file| file.path().to_path_buf()).collect())?;
        fs.point("compaction: inputs removed");
        let written = gone.iter().filter(|file| file.tombstone_bytes() > 0);
        let tombstones: Vec<_> = written.map(|file| file.tombstone_path()).collect();
        if tombstones.is_empty() { Ok(()) } else { remove(tombstones) }
    }
}

/// Files that are being written; see [`Change::begin_writing`].
#[derive(Debug)]
pub(crate) struct Writing<'s> {
    set: &'s FileSet,
    id: u64,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.set.writing.lock().retain(|(id, _)| *id != self.id);
    }
}
