//! The write path: check the types, be admitted by the cache, then log and cache in the chosen order.

use std::cell::RefCell;

use tsmith_cache::Storer;
use tsmith_codecs::{Batch, BlockEncoder, TimeRange};
use tsmith_wal::Log;

use crate::error::{Context, Result};
use crate::line::{self, LineOptions, Rejected};
use crate::order::{Ack, commit};
use crate::schema::SchemaCheck;
use crate::{Engine, FieldTyping, Inner};

const OPERATION: &str = "write";

/// A thread keeps a batch up to this size between its writes.
const KEPT_BYTES_MAX: usize = 16 << 20;

thread_local! {
    static BATCH: RefCell<Batch<'static>> = RefCell::default();
}

/// What became of a text of line protocol.
#[derive(Debug)]
#[must_use = "rejected lines are reported here and nowhere else"]
pub struct WriteReport {
    /// Lines that became points.
    pub points: usize,
    /// Values of those points.
    pub values: usize,
    /// The first and the last time of those points.
    pub times: Option<TimeRange>,
    /// Lines that did not, with number and reason.
    pub rejected: Vec<Rejected>,
    /// The receipt of the points; `None` when there was none.
    pub ack: Option<Ack>,
}

impl<S: Storer, L: Log, E: BlockEncoder> Engine<S, L, E> {
    /// Writes the good lines of `text`, all or none of them, and reports the bad ones.
    pub fn write_lines(&self, text: &[u8], options: &LineOptions) -> Result<WriteReport> {
        let inner = &*self.inner;
        inner.check_writable(OPERATION)?;
        let mut builder = BATCH.take().recycle();
        let mut schema = SchemaCheck::new(&inner.fields, inner.typing, |key| inner.type_of_key(key));
        let utf8_names = options.utf8_names || inner.typing == FieldTyping::Measurement;
        let options = LineOptions { utf8_names, ..*options };
        let rejected = line::parse(text, &options, &mut schema, &mut builder);
        let (points, times) = (builder.point_count(), builder.time_range());
        let batch = builder.finish();
        let values = batch.value_count();
        let ack = if batch.is_empty() { None } else { Some(inner.write_checked(&batch)?) };
        if batch.cached_bytes() <= KEPT_BYTES_MAX as u64 {
            BATCH.set(batch.cleared());
        }
        Ok(WriteReport { points, values, times, rejected, ack })
    }

    /// Writes a batch, all of it or nothing. When it returns, the batch is as durable as the log's durability says.
    ///
    /// # Errors
    /// A value of another type than its field has; a full cache; a log that cannot make it durable. After the last the
    /// batch may or may not be there when the engine is opened again, but whole if it is.
    pub fn write(&self, batch: &Batch<'_>) -> Result<Ack> {
        let inner = &*self.inner;
        inner.check_writable(OPERATION)?;
        SchemaCheck::new(&inner.fields, inner.typing, |key| inner.type_of_key(key))
            .batch(OPERATION, batch)?;
        inner.write_checked(batch)
    }
}

impl<S: Storer, L: Log, E> Inner<S, L, E> {
    fn write_checked(&self, batch: &Batch<'_>) -> Result<Ack> {
        self.fields_index.forget(&self.fs, &self.dirs.data)?;
        let admitted = self.cache.admit(batch).during(OPERATION)?;
        let ack = commit(self.options.order, &self.log, batch, admitted)?;
        self.after_write();
        Ok(ack)
    }

    /// Notes the time, and wakes the snapshot when the cache has grown enough for one.
    fn after_write(&self) {
        self.worker.note_write();
        if self.options.background && self.cache.live_bytes() > self.options.snapshot_bytes {
            self.worker.wake();
        }
    }
}
