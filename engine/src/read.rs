//! Reads one key: files, oldest first, then the cache. The newest value of a time wins.

use std::sync::Arc;

use tsmith_cache::{Cache, Storer};
use tsmith_codecs::{Column, Decoders, FieldKey, FieldType, TimeRange};
use tsmith_tsm::{AsReader, Cursor, Direction, Reader};

use crate::error::{Error, ErrorKind, Result};
use crate::files::TsmFile;

const OPERATION: &str = "read";

impl AsReader for TsmFile {
    fn as_reader(&self) -> &Reader {
        self.reader()
    }
}

/// Reads one key after the other and keeps its buffers.
#[derive(Debug)]
pub(crate) struct KeyReader {
    decoders: Decoders,
    cursor: Cursor<Arc<TsmFile>>,
    batch: Column,
    hot: Column,
    composite: Vec<u8>,
}

impl KeyReader {
    /// A reader for files whose blocks `decoders` can read.
    pub(crate) fn new(decoders: &Decoders) -> Self {
        Self {
            decoders: decoders.clone(),
            cursor: Cursor::new(TimeRange::ALL, Direction::Ascending),
            batch: Column::new(FieldType::Float),
            hot: Column::new(FieldType::Float),
            composite: Vec::new(),
        }
    }

    /// Replaces `out` by the points of `key` inside `range`, ascending.
    pub(crate) fn read<S: Storer>(
        &mut self,
        cache: &Cache<S>,
        files: impl FnOnce() -> Arc<Vec<Arc<TsmFile>>>,
        key: FieldKey<'_>,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<()> {
        // `out` is overwritten, not cleared first: clearing takes 5 % of a read.
        self.begin(cache, files, key, range, Direction::Ascending).inspect_err(|_| out.truncate(0))?;
        if !self.next(out)? {
            return Ok(());
        }
        let mut batch = std::mem::replace(&mut self.batch, Column::new(FieldType::Float));
        let mut done = self.next(&mut batch);
        while let Ok(true) = done {
            let extended = out.extend(batch.as_ref());
            debug_assert_eq!(extended, Ok(()), "a cursor has one type");
            done = self.next(&mut batch);
        }
        self.batch = batch;
        done.map(drop)
    }

    /// Moves to the first point of `key` inside `range`, or to the last one when descending.
    ///
    /// The cache is read before the files. A snapshot moves values from cache to files, and shows them in the
    /// files before it removes them from the cache.
    pub(crate) fn begin<S: Storer>(
        &mut self,
        cache: &Cache<S>,
        files: impl FnOnce() -> Arc<Vec<Arc<TsmFile>>>,
        key: FieldKey<'_>,
        range: TimeRange,
        direction: Direction,
    ) -> Result<()> {
        self.hot.truncate(0);
        cache.read(key, range, &mut self.hot);
        self.composite.clear();
        key.write_to(&mut self.composite);
        self.cursor.reset(range, direction);
        for file in files().iter().filter(|file| file.reader().range().overlaps(range)) {
            let deleted = file.deleted(&self.composite);
            self.cursor.add_file(Arc::clone(file), &self.composite, deleted).map_err(|error| match error
                .kind()
            {
                &tsmith_tsm::ErrorKind::TypeChange { expected, found } => {
                    Error::at(OPERATION, file.path(), conflict(key, expected, found))
                }
                _ => Error::at(OPERATION, file.path(), error.into()),
            })?;
        }
        self.cursor.add_points(&mut self.hot).map_err(|kind| match kind {
            tsmith_tsm::ErrorKind::TypeChange { expected, found } => {
                Error::new(OPERATION, conflict(key, expected, found))
            }
            other => Error::new(OPERATION, tsmith_tsm::Error::from(other).into()),
        })
    }

    /// Replaces `out` by the next points of the key. Returns false at the end.
    ///
    /// An error names the unreadable block. The next call continues after it.
    pub(crate) fn next(&mut self, out: &mut Column) -> Result<bool> {
        let cursor = &mut self.cursor;
        cursor.next(&mut self.decoders, out).map_err(|failed| match cursor.file(failed.file) {
            Some(file) => Error::at(OPERATION, file.path(), failed.error.into()),
            None => Error::new(OPERATION, failed.error.into()),
        })
    }

    /// Moves to the first point at or after `time`; when descending, to the last one at or before it.
    pub(crate) fn seek(&mut self, time: i64) {
        self.cursor.seek(time);
    }
}

fn conflict(key: FieldKey<'_>, existing: FieldType, incoming: FieldType) -> ErrorKind {
    ErrorKind::TypeConflict { key: key.to_string(), existing, incoming }
}
