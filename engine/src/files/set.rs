//! [`FileSet`]: the files that readers see, and the only way to change them.

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

/// A thread to open files pays for at least this many.
const FILES_PER_THREAD: usize = 16;

/// The files that readers see, oldest first.
///
/// A reader loads one pointer and never waits. A removed file is unlinked while readers may still use it.
/// Only one thread changes the set at a time.
#[derive(Debug)]
pub(crate) struct FileSet {
    live: ArcSwap<Vec<Arc<TsmFile>>>,
    /// The highest generation assigned so far.
    changes: Mutex<u64>,
    /// The deletes since the start of each running snapshot or compaction. Changed only while `changes` is
    /// held.
    writing: Mutex<Vec<(u64, Vec<Arc<Deletion>>)>>,
    /// Deletes that are in the log but not in all files they name. Changed only while `changes` is held.
    unfinished: Mutex<Vec<(Arc<Deletion>, BTreeSet<FileName>)>>,
}

/// Opens these files, in parallel if there are many. Returns them in the same order.
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
        // If the system refuses a thread, this one does the work.
        let end = |(part, worker): (_, io::Result<ScopedJoinHandle<'_, _>>)| match worker {
            Ok(worker) => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => open(part),
        };
        workers.into_iter().map(end).collect()
    });
    parts.into_iter().collect::<Result<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect())
}

impl FileSet {
    /// Opens every TSM file of `dir`. Also returns the files with torn tombstones, which the log must
    /// explain; see [`FileSet::finish_deletes`].
    ///
    /// # Errors
    /// A file cannot be opened. The error names it. No file is changed.
    pub(crate) fn open<F: Fs>(fs: &F, dir: &Path) -> Result<(Self, Vec<TornTombstones>)> {
        let mut names = tsm_names(fs, dir)?;
        names.sort_unstable();
        let generation = highest_generation(fs, dir)?;
        let (mut files, mut torn) = (Vec::with_capacity(names.len()), Vec::new());
        for (file, tail) in open_all(fs, dir, &names)? {
            files.push(Arc::new(file));
            torn.extend(tail);
        }
        let live = ArcSwap::from_pointee(files);
        let (writing, unfinished) = (Mutex::default(), Mutex::default());
        Ok((Self { live, changes: Mutex::new(generation), writing, unfinished }, torn))
    }

    /// The current files. They stay valid while the guard is held.
    pub(crate) fn load(&self) -> Guard<Arc<Vec<Arc<TsmFile>>>> {
        self.live.load()
    }

    /// Waits for the right to change the set.
    pub(crate) fn change(&self) -> Change<'_> {
        Change { set: self, generation: self.changes.lock() }
    }

    /// Carries out the deletes of the log in files that do not have them yet. A delete that a crash
    /// interrupted is then complete, and its tombstones replace the torn ones.
    ///
    /// # Errors
    /// Torn tombstones that no delete of the log explains. Then nothing is changed.
    pub(crate) fn finish_deletes<F: Fs>(
        &self,
        fs: &F,
        torn: &[TornTombstones],
        deletes: &[Replayed],
    ) -> Result<()> {
        let mut change = self.change();
        // A delete names files by generation. A new file must not reuse the name of a removed one, or the
        // delete would apply to it.
        let named = deletes.iter().flat_map(|delete| &delete.files).map(|(name, _)| name.generation);
        *change.generation = named.fold(*change.generation, u64::max);
        for tail in torn {
            let files = change.files();
            let Some(file) = files.iter().find(|file| file.name() == tail.name) else { continue };
            tail.explain(file, deletes)?;
            let (path, at, bytes) = (file.tombstone_path(), file.tombstone_bytes(), tail.bytes);
            tracing::warn!(path = %path.display(), at, bytes, "rewriting the tombstones of an interrupted delete");
        }
        // Tombstones of a delete in the log need not be durable yet. They must be before the log is
        // truncated.
        let named: BTreeSet<FileName> =
            deletes.iter().flat_map(|delete| &delete.files).map(|(name, _)| *name).collect();
        for file in change.files().iter().filter(|file| named.contains(&file.name())) {
            file.rewrite_tombstones(fs)?;
        }
        for delete in deletes {
            let named: BTreeSet<FileName> = delete.files.iter().map(|(name, _)| *name).collect();
            // Files that the delete does not name are newer than it.
            let batches = change.batches(&delete.deletion, |name| named.contains(&name));
            change.write_tombstones(fs, batches)?;
        }
        Ok(())
    }
}

/// The highest generation in `dir`, without temporary files. Quarantined files and tombstones count.
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

/// The tombstones of one delete, by file.
pub(crate) type Batches = Vec<(Arc<TsmFile>, Vec<Tombstone>)>;

impl<'s> Change<'s> {
    /// Assigns a generation that no file has.
    pub(crate) fn next_generation(&mut self) -> Result<u64> {
        if *self.generation >= NUMBER_MAX {
            let kind = ErrorKind::NumberTooHigh { what: "generation", number: *self.generation + 1 };
            return Err(Error::new("assign a generation", kind));
        }
        *self.generation += 1;
        Ok(*self.generation)
    }

    /// The files that readers see.
    pub(crate) fn files(&self) -> Arc<Vec<Arc<TsmFile>>> {
        self.set.live.load_full()
    }

    /// Registers a snapshot or compaction that begins to write files. Deletes from here on must also be
    /// applied to the new files before readers see them.
    pub(crate) fn begin_writing(&self) -> Writing<'s> {
        let mut writing = self.set.writing.lock();
        let id = writing.last().map_or(0, |(id, _)| id + 1);
        writing.push((id, Vec::new()));
        Writing { set: self.set, id }
    }

    /// The deletes since the writing began. No delete runs while the change is held.
    pub(crate) fn deleted_since(&self, writing: &Writing<'_>) -> Vec<Arc<Deletion>> {
        let all = self.set.writing.lock();
        all.iter().find(|(id, _)| *id == writing.id).map_or_else(Vec::new, |(_, deleted)| deleted.clone())
    }

    /// Records a delete for all running snapshots and compactions.
    pub(crate) fn note(&self, deletion: &Arc<Deletion>) {
        self.set.writing.lock().iter_mut().for_each(|(_, deleted)| deleted.push(deletion.clone()));
    }

    /// The tombstones that `deletion` needs, in the files that `of` selects.
    pub(crate) fn batches(&self, deletion: &Deletion, of: impl Fn(FileName) -> bool) -> Batches {
        let files = self.set.live.load();
        let files = files.iter().filter(|file| of(file.name()));
        files
            .map(|file| (file.clone(), file.batch(deletion)))
            .filter(|(_, batch)| !batch.is_empty())
            .collect()
    }

    /// Carries out a delete durably in the files and shows it to readers. After a failure the delete is
    /// unfinished.
    pub(crate) fn carry_out<F: Fs>(&self, fs: &F, deletion: &Arc<Deletion>, batches: Batches) -> Result<()> {
        let named = batches.iter().map(|(file, _)| file.name()).collect();
        self.write_tombstones(fs, batches)
            .inspect_err(|_| self.set.unfinished.lock().push((deletion.clone(), named)))
    }

    /// Carries out the rest of unfinished deletes. Until then no file they name may be renamed or replaced,
    /// and the log must keep their records: after a crash, these finish the deletes.
    pub(crate) fn finish_deletes<F: Fs>(&self, fs: &F) -> Result<()> {
        let mut unfinished = self.set.unfinished.lock();
        while let Some((deletion, named)) = unfinished.first() {
            // Other files were written after the delete.
            self.write_tombstones(fs, self.batches(deletion, |name| named.contains(&name)))?;
            unfinished.remove(0);
        }
        Ok(())
    }

    /// Writes tombstones durably and shows them to readers.
    fn write_tombstones<F: Fs>(&self, fs: &F, batches: Batches) -> Result<()> {
        for (file, batch) in batches {
            let written = file.write_tombstones(fs, batch)?;
            self.swap(&[file.name()], vec![Arc::new(written)]);
        }
        Ok(())
    }

    /// Replaces the files `gone` by `come`, in one step for readers.
    pub(crate) fn swap(&self, gone: &[FileName], come: Vec<Arc<TsmFile>>) {
        let live = self.set.live.load();
        let stay = live.iter().filter(|file| !gone.contains(&file.name())).cloned();
        let mut files: Vec<_> = stay.chain(come).collect();
        files.sort_by_key(|file| file.name());
        debug_assert!(
            files.windows(2).all(|pair| pair[0].name() < pair[1].name()),
            "each name is assigned once"
        );
        self.set.live.store(Arc::new(files));
    }

    /// Removes the files `gone`, which others have replaced durably. The TSM files go first and then their
    /// tombstones: without tombstones, deleted points would reappear. Readers of these files continue.
    pub(crate) fn remove<F: Fs>(_held: &Self, fs: &F, dir: &Path, gone: &[Arc<TsmFile>]) -> Result<()> {
        const OPERATION: &str = "remove compacted files";
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
