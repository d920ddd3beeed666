//! New files of a snapshot or a compaction. They are written under temporary names and published together or
//! not at all.
//!
//! ```text
//! write .tsm.tmp ─▶ sync ─▶ tombstones of deletes since the start ─▶ rename, sync the directory ─▶ show
//!   ─▶ unlink the replaced files, sync the directory
//! ```

mod scratch;

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_codecs::TimeRange;
use tsmith_tsm::{Version, Writer};
use tsmith_wal::fs::{FileWriter, Fs, FsFile};

use crate::delete::record::Deletion;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{Change, FileName, NUMBER_MAX, TsmFile, Writing};

use scratch::IndexFile;

/// Bytes buffered per file before a write. The kernel handles larger writes in fewer pieces, so merges are
/// faster than with 128 KiB, although a smaller buffer would stay in the CPU cache.
pub(crate) const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// A file being written.
pub(crate) type Open<F> = Writer<BufWriter<FileWriter<<F as Fs>::File>>>;

/// The files of one generation while they are being written.
#[derive(Debug)]
pub(crate) struct Output<'e, F: Fs> {
    operation: &'static str,
    fs: &'e F,
    dir: &'e Path,
    /// Maximum memory for a file's index. The rest spills to a temporary file.
    index_bytes: usize,
    /// The name of the next file.
    next: FileName,
    begun: Vec<FileName>,
    /// Files that are complete except for their name, in the order of `begun`.
    complete: Vec<F::File>,
    tombstones: Vec<PathBuf>,
    /// Whether files may already have their final names.
    renaming: bool,
}

impl<'e, F: Fs> Output<'e, F> {
    /// Creates an output whose first file is named `first`. `index_bytes` limits the memory for each index.
    pub(crate) fn new(
        operation: &'static str,
        fs: &'e F,
        dir: &'e Path,
        (first, index_bytes): (FileName, usize),
    ) -> Self {
        Self {
            operation,
            fs,
            dir,
            index_bytes,
            next: first,
            begun: Vec::new(),
            complete: Vec::new(),
            tombstones: Vec::new(),
            renaming: false,
        }
    }

    /// The operation that writes the files, for errors.
    pub(crate) fn operation(&self) -> &'static str {
        self.operation
    }

    pub(crate) fn begin(&mut self, version: Version) -> Result<Open<F>> {
        let name = self.next;
        let path = self.dir.join(name.temporary());
        if name.sequence > NUMBER_MAX {
            return Err(Error::at(
                self.operation,
                &path,
                ErrorKind::NumberTooHigh { what: "sequence", number: name.sequence },
            ));
        }
        let file = self.fs.create_new(&path).on(self.operation, &path)?;
        self.begun.push(name);
        self.next.sequence += 1;
        let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, FileWriter::new(file));
        let scratch = IndexFile::new(self.fs.clone(), self.dir.join(format!("{name}.idx.tmp")));
        Ok(Writer::new(out, version).spill_index_to(Box::new(scratch), self.index_bytes))
    }

    pub(crate) fn finish(&mut self, writer: Open<F>) -> Result<()> {
        let path = self.temporary();
        let (out, _) = writer.finish().on(self.operation, &path)?;
        let out = out.into_inner().map_err(std::io::IntoInnerError::into_error).on(self.operation, &path)?;
        self.complete.push(out.finish().on(self.operation, &path)?);
        Ok(())
    }

    /// Removes the last begun file, which has no block.
    pub(crate) fn drop_empty(&mut self, writer: Open<F>) -> Result<()> {
        drop(writer);
        let Some(name) = self.begun.pop() else { return Ok(()) };
        let path = self.dir.join(name.temporary());
        self.fs.remove(&path).on(self.operation, &path)
    }

    /// The path of the last begun file.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.join(self.begun.last().map_or_else(String::new, |name| name.temporary()))
    }

    /// Makes the content durable. This takes longest, so it happens before the caller takes a [`Change`].
    pub(crate) fn sync(&self) -> Result<()> {
        for (name, file) in self.begun.iter().zip(&self.complete) {
            let path = self.dir.join(name.temporary());
            file.sync_all().on(self.operation, &path)?;
        }
        Ok(())
    }

    /// Publishes the files and shows them to readers in place of `gone`. Deletes since the writing began are
    /// applied first. `has` tells whether the source of the files still has a key. If several deletes
    /// together removed a key, all its points are deleted here, because the key may have another type by now.
    ///
    /// # Errors
    /// Nothing is shown to readers. Call [`Output::discard`].
    pub(crate) fn publish(
        &mut self,
        change: &Change<'_>,
        writing: &Writing<'_>,
        gone: &[Arc<TsmFile>],
        has: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Arc<TsmFile>>> {
        let mut deleted = change.deleted_since(writing);
        let mut keys: Vec<_> = deleted.iter().flat_map(|deletion| deletion.keys.iter().cloned()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !has(key));
        if !keys.is_empty() {
            deleted.push(Arc::new(Deletion { keys, range: TimeRange::ALL }));
        }
        self.renaming = true;
        let mut files = Vec::with_capacity(self.begun.len());
        for (name, file) in self.begun.iter().zip(&self.complete) {
            let mut opened = TsmFile::unpublished(self.fs, self.dir, *name)?;
            for deletion in &deleted {
                opened = write_tombstones(self.fs, opened, deletion, &mut self.tombstones)?;
            }
            let path = self.dir.join(name.to_string());
            self.fs.publish(file, &self.dir.join(name.temporary()), &path).on(self.operation, &path)?;
            files.push(Arc::new(opened));
        }
        self.fs.point("output: published");
        let gone: Vec<FileName> = gone.iter().map(|file| file.name()).collect();
        change.swap(&gone, files.clone());
        Ok(files)
    }

    /// Removes the written files.
    ///
    /// # Errors
    /// A file that got its final name cannot be removed. It would reappear when the directory is opened
    /// again, with points deleted in the meantime. So the caller must refuse further writes and deletes.
    pub(crate) fn discard(&self) -> Result<()> {
        for name in &self.begun {
            let path = self.dir.join(name.temporary());
            if let Err(error) = self.fs.remove(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                // Opening the directory removes it.
                tracing::warn!(path = %path.display(), %error, "cannot remove a temporary file");
            }
        }
        if !self.renaming {
            return Ok(());
        }
        let names = self.begun.iter().map(|name| self.dir.join(name.to_string()));
        for path in names.chain(self.tombstones.iter().cloned()) {
            match self.fs.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).on(self.operation, &path);
                }
                _ => {}
            }
        }
        self.fs.sync_dir(self.dir).on(self.operation, self.dir)
    }
}

/// Applies a delete to a file that still has its temporary name. The tombstones get their name first, so the
/// file never appears without them.
fn write_tombstones<F: Fs>(
    fs: &F,
    file: TsmFile,
    deletion: &Deletion,
    begun: &mut Vec<PathBuf>,
) -> Result<TsmFile> {
    let batch = file.batch(deletion);
    if batch.is_empty() {
        return Ok(file);
    }
    begun.push(file.tombstone_path());
    file.write_tombstones(fs, batch)
}
