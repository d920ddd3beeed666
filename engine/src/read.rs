//! Reading one key: files, oldest first, then the cache; the newest value of a time wins.

use std::sync::Arc;

use tsmith_cache::{Cache, Storer};
use tsmith_codecs::{AnyDecoder, BLOCK_VALUES_MAX, BlockEncoder, Column, FieldKey, FieldType, TimeRange};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::TsmFile;

const OPERATION: &str = "read";

/// Decodes the blocks of `E`, and of every encoder this build knows.
#[derive(Debug, Default)]
pub(crate) struct Decoder<E> {
    own: E,
    any: AnyDecoder,
}

impl<E: BlockEncoder> BlockEncoder for Decoder<E> {
    const TAGS: &'static [u8] = E::TAGS;

    fn encode(
        &mut self,
        column: tsmith_codecs::ColumnRef<'_>,
        out: &mut Vec<u8>,
    ) -> tsmith_codecs::Result<()> {
        self.own.encode(column, out)
    }

    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> tsmith_codecs::Result<()> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => self.own.decode(block, limit, out),
            _ => self.any.decode(block, limit, out),
        }
    }

    fn count(&mut self, block: &[u8]) -> tsmith_codecs::Result<(FieldType, u64)> {
        match block.first() {
            Some(tag) if E::TAGS.contains(tag) => self.own.count(block),
            _ => self.any.count(block),
        }
    }
}

/// Reads keys one after the other, and keeps its buffers between them.
#[derive(Debug)]
pub(crate) struct KeyReader<E> {
    decoder: Decoder<E>,
    block: Column,
    composite: Vec<u8>,
}

impl<E: BlockEncoder> Default for KeyReader<E> {
    fn default() -> Self {
        let block = Column::new(FieldType::Float);
        Self {
            decoder: Decoder { own: E::default(), any: AnyDecoder::default() },
            block,
            composite: Vec::new(),
        }
    }
}

impl<E: BlockEncoder> KeyReader<E> {
    /// Replaces `out` by the points of `key` inside `range`.
    ///
    /// The cache is read before the files: a snapshot moves values from the one to the other, and shows them in the
    /// files before it takes them from the cache.
    pub(crate) fn read<S: Storer>(
        &mut self,
        cache: &Cache<S>,
        files: impl FnOnce() -> Arc<Vec<Arc<TsmFile>>>,
        key: FieldKey<'_>,
        range: TimeRange,
        out: &mut Column,
    ) -> Result<()> {
        let mut hot = Column::new(FieldType::Float);
        cache.read(key, range, &mut hot);
        self.composite.clear();
        key.write_to(&mut self.composite);
        out.truncate(0);
        for file in files().iter() {
            self.read_file(file, range, out)?;
        }
        if !hot.is_empty() && !out.extend(hot.as_ref()) {
            let key = key.to_string();
            let (existing, incoming) = (out.field_type(), hot.field_type());
            return Err(Error::new(OPERATION, ErrorKind::TypeConflict { key, existing, incoming }));
        }
        out.sort_dedup();
        Ok(())
    }

    /// Appends what `file` holds of the present key.
    fn read_file(&mut self, file: &TsmFile, range: TimeRange, out: &mut Column) -> Result<()> {
        let reader = file.reader();
        if !reader.range().overlaps(range) {
            return Ok(());
        }
        let Some(entry_of_key) = reader.find(&self.composite) else { return Ok(()) };
        let deleted = file.deleted(&self.composite);
        for entry in entry_of_key.entries() {
            if !entry.range.overlaps(range) {
                continue;
            }
            reader
                .read_block(entry_of_key, entry, &mut self.decoder, BLOCK_VALUES_MAX, &mut self.block)
                .on(OPERATION, file.path())?;
            for &gone in deleted {
                self.block.exclude(gone);
            }
            let fits = out.extend(self.block.as_ref().within(range));
            if !fits {
                let key = String::from_utf8_lossy(&self.composite).into_owned();
                let (existing, incoming) = (out.field_type(), self.block.field_type());
                let conflict = ErrorKind::TypeConflict { key, existing, incoming };
                return Err(Error::at(OPERATION, file.path(), conflict));
            }
        }
        Ok(())
    }
}
