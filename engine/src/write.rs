//! The write path: check types, let the cache admit the batch, then log and cache in the chosen order.

use std::cell::RefCell;
use std::collections::HashMap;

use tsmith_cache::Storer;
use tsmith_codecs::{Batch, BlockEncoder, FieldKey, FieldType, TimeRange};
use tsmith_wal::Log;

use crate::error::{Error, ErrorKind, Result};
use crate::line::{self, LineOptions, Rejected};
use crate::order::{Ack, Admission, commit};
use crate::schema::{SchemaCheck, SecondType};
use crate::turns::Turn;
use crate::{Engine, FieldTyping, Inner};

const OPERATION: &str = "write";

/// A thread keeps a batch of at most this size between writes.
const KEPT_BYTES_MAX: usize = 16 << 20;

thread_local! {
    static BATCH: RefCell<Batch<'static>> = RefCell::default();
}

/// Maximum number of type checks for one batch. A batch is checked again if another one changed a type
/// meanwhile. One or two checks are usual.
const CHECKS_MAX: usize = 1000;

/// The result of writing a text of line protocol.
#[derive(Debug)]
#[must_use = "rejected lines are only reported here"]
pub struct WriteReport {
    /// Lines that became points.
    pub points: usize,
    /// Values of those points.
    pub values: usize,
    /// Integers among them that became floats; see [`OnConflict::Widen`](crate::line::OnConflict::Widen).
    pub widened: u64,
    /// The first and the last time of those points.
    pub times: Option<TimeRange>,
    /// Lines that were rejected, with number and reason.
    pub rejected: Vec<Rejected>,
    /// Fields that got a second type in their measurement.
    pub second_types: Vec<SecondType>,
    /// The receipt of the points; `None` if there are none.
    pub ack: Option<Ack>,
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Writes the valid lines of `text` atomically, and reports the rejected ones.
    pub fn write_lines(&self, text: &[u8], options: &LineOptions) -> Result<WriteReport> {
        self.inner.write_lines(text, options, None)
    }

    /// Like [`Engine::write_lines`], but types are decided as if the texts were written one after the other,
    /// in the order of their turns. The calling thread must not hold an earlier turn.
    pub fn write_lines_in_turn(&self, text: &[u8], options: &LineOptions, turn: Turn) -> Result<WriteReport> {
        self.inner.write_lines(text, options, Some(turn))
    }

    /// Writes a batch atomically. When it returns, the batch is as durable as the log's durability mode says.
    ///
    /// # Errors
    /// A value has another type than its field, the cache is full, or the log cannot make the batch durable.
    /// After a failure of the log, reopening shows either the complete batch or none of it.
    pub fn write(&self, batch: &Batch<'_>) -> Result<Ack> {
        let inner = &*self.inner;
        inner.check_writable(OPERATION)?;
        inner.until_types_agree(|| {
            let mut check = inner.check();
            check.batch(OPERATION, batch)?;
            Ok(inner.write_checked(batch, check, &mut None)?.0)
        })
    }
}

impl<S: Storer, L: Log + ?Sized, E> Inner<S, L, E> {
    fn write_lines(&self, text: &[u8], options: &LineOptions, mut turn: Option<Turn>) -> Result<WriteReport> {
        self.check_writable(OPERATION)?;
        let utf8_names = options.utf8_names || self.typing == FieldTyping::Measurement;
        let options = LineOptions { utf8_names, ..*options };
        self.until_types_agree(|| {
            let mut builder = BATCH.take().recycle();
            let mut check = self.check();
            let rejected = line::parse(text, &options, &mut check, &mut builder);
            let (points, times) = (builder.point_count(), builder.time_range());
            let batch = builder.finish();
            let (values, widened) = (batch.value_count(), check.widened());
            let written =
                if batch.is_empty() { None } else { Some(self.write_checked(&batch, check, &mut turn)?) };
            if batch.cached_bytes() <= KEPT_BYTES_MAX as u64 {
                BATCH.set(batch.cleared());
            }
            let (ack, second_types) = written.map_or((None, Vec::new()), |(ack, second)| (Some(ack), second));
            Ok(WriteReport { points, values, widened, times, rejected, second_types, ack })
        })
    }

    fn check(&self) -> SchemaCheck<'_, impl Fn(FieldKey<'_>) -> Option<FieldType>> {
        SchemaCheck::new(&self.fields, self.typing, |key| self.type_of_key(key))
    }

    /// Runs `write` until no batch in flight contradicts it. If that other batch is published, its type
    /// counts.
    fn until_types_agree<T>(&self, mut write: impl FnMut() -> Result<T, Refused>) -> Result<T> {
        let mut checks = 1;
        loop {
            match write() {
                Ok(done) => return Ok(done),
                Err(Refused::Overtaken(error)) if checks == CHECKS_MAX => return Err(error),
                // Wait until every batch in flight is published or dropped.
                Err(Refused::Overtaken(_)) => drop(self.cache.pause()),
                Err(Refused::Failed(error)) => return Err(error),
            }
            checks += 1;
        }
    }

    /// Writes a batch that `check` has accepted. The turn, if there is one, ends with the admission.
    fn write_checked<'t, K: Fn(FieldKey<'_>) -> Option<FieldType>>(
        &'t self,
        batch: &Batch<'_>,
        check: SchemaCheck<'t, K>,
        turn: &mut Option<Turn>,
    ) -> Result<(Ack, Vec<SecondType>), Refused> {
        self.fields_index.delete(&self.fs, &self.dirs.data)?;
        if let Some(turn) = turn {
            turn.wait();
        }
        let admitted = self.cache.admit(batch).map_err(|error| {
            let is_conflict = matches!(error, tsmith_cache::Error::TypeConflict { .. });
            let failing = if error.is_transient() { self.worker.failing() } else { None };
            let kind = failing.map_or(error.into(), |cause| ErrorKind::SnapshotsFail(Box::new(cause)));
            let error = Error::new(OPERATION, kind);
            if is_conflict && !contradicts_itself(batch) {
                Refused::Overtaken(error)
            } else {
                Refused::Failed(error)
            }
        })?;
        // Inside the gate: nothing is frozen or deleted until the batch is published or dropped.
        let claims = check.claim(OPERATION, batch).map_err(Refused::Overtaken)?;
        drop(turn.take());
        let written = commit(self.options.order, &*self.log, batch, Admission { claims, admitted })?;
        self.after_write();
        Ok(written)
    }

    /// Records the time, and wakes the snapshot thread if the cache is large enough.
    fn after_write(&self) {
        self.worker.note_write();
        if self.options.background && self.cache.live_bytes() > self.options.snapshot_bytes {
            self.worker.wake();
        }
    }
}

/// Whether a key of the batch has columns of two types.
fn contradicts_itself(batch: &Batch<'_>) -> bool {
    let mut types = HashMap::new();
    let mut differs =
        |key: FieldKey<'_>, field_type| *types.entry(key.to_composite()).or_insert(field_type) != field_type;
    !batch.has_unique_keys() && batch.columns().any(|(key, column)| differs(key, column.field_type()))
}

/// Why a batch was not written.
enum Refused {
    /// After the check, another batch gave a field another type: check again.
    Overtaken(Error),
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tsmith_cache::Ring;
    use tsmith_codecs::{Timestamp, Tsm1};
    use tsmith_wal::FileLog;
    use tsmith_wal::testing::SimFs;

    use super::*;
    use crate::{Advice, BatchBuilder, Dirs, FieldTyping, Options, Selection, Value};

    type Shard = Engine<Ring, FileLog<SimFs>, Tsm1>;

    const TYPINGS: [FieldTyping; 2] = [FieldTyping::Series, FieldTyping::Measurement];

    fn open(fs: &SimFs, typing: FieldTyping) -> Shard {
        let options =
            Options { background: false, encode_threads: 1, typing: Some(typing), ..Options::default() };
        Shard::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options).expect("opens")
    }

    fn write(shard: &Shard, text: &str) -> WriteReport {
        shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).expect("enough space")
    }

    fn integer(series: &'static [u8]) -> Batch<'static> {
        let mut builder = BatchBuilder::new();
        builder.begin(series.into());
        builder.field(b"v".as_slice().into(), Value::Integer(7)).expect("one type");
        builder.commit(7);
        builder.finish()
    }

    /// Story: a snapshot ran between the check of a batch and its admission. The live store was empty by
    /// then, and the batch was logged although the new file had another type.
    #[test]
    fn a_type_change_after_the_check_is_detected() {
        for typing in TYPINGS {
            let shard = open(&SimFs::default(), typing);
            let (inner, batch) = (&*shard.inner, integer(b"m"));
            let mut check = inner.check();
            check.batch(OPERATION, &batch).expect("nothing is known");
            assert_eq!(write(&shard, "m v=1.5 1").points, 1);
            shard.snapshot().expect("enough space");
            let written = inner.write_checked(&batch, check, &mut None);
            assert!(matches!(written, Err(Refused::Overtaken(_))), "{typing:?}");
            let error = shard.write(&batch).expect_err("another type");
            assert!(matches!(error.kind(), ErrorKind::TypeConflict { .. }), "{error}");
        }
    }

    #[test]
    fn a_batch_with_two_types_for_a_key_is_refused() {
        let mut runs = tsmith_codecs::RunBuilder::new();
        for value in [Value::Float(1.5), Value::Integer(7)] {
            runs.begin(b"m".as_slice().into(), b"v".as_slice().into(), value.field_type());
            assert!(runs.push(1, value));
        }
        let batch = runs.finish();
        assert!(contradicts_itself(&batch) && !contradicts_itself(&integer(b"m")));
        for typing in TYPINGS {
            let shard = open(&SimFs::default(), typing);
            let error = shard.write(&batch).expect_err("two types");
            assert_eq!(error.advice(), Advice::GiveUp, "{error}");
            assert_eq!(write(&shard, "m v=t 1").points, 1, "the refused batch leaves no type");
        }
    }

    #[test]
    fn a_failed_log_write_leaves_no_type() {
        for typing in TYPINGS {
            let fs = SimFs::default();
            let shard = open(&fs, typing);
            fs.set_space(Some(0));
            let full = shard.write_lines(b"m v=1.5 1", &LineOptions::new(Timestamp(0)));
            assert_eq!(full.expect_err("no space").advice(), Advice::RetryLater);
            fs.heal();
            assert_eq!(write(&shard, "m v=7i 2").points, 1, "{typing:?}");
        }
    }

    /// Story: a field without points kept its type until the engine was opened again.
    #[test]
    fn a_deleted_field_takes_any_type() {
        for (typing, snapshot) in [(0, false), (0, true), (1, false), (1, true)] {
            let fs = SimFs::default();
            let shard = open(&fs, TYPINGS[typing]);
            assert_eq!(write(&shard, "m,t=a v=1.5 1\nm,t=b v=1.5 1\nm2 v=1.5 1").points, 3);
            if snapshot {
                shard.snapshot().expect("enough space");
            }
            let delete = |key| {
                let key = FieldKey::new(key, b"v");
                shard.delete(Selection::Key(key), TimeRange::ALL).expect("enough space")
            };
            delete(b"m,t=a");
            let report = write(&shard, "m,t=a v=7i 2");
            assert_eq!(report.points, usize::from(typing == 0), "another series may hold the type");
            delete(b"m,t=a");
            delete(b"m,t=b");
            let report = write(&shard, "m,t=a v=7i 2\nm2 v=7i 2");
            assert_eq!((report.points, report.second_types.len()), (1, 0), "{:?}", report.rejected);
            drop(shard);
            let shard = open(&fs.kill(), TYPINGS[typing]);
            let column = shard.read(FieldKey::new(b"m,t=a", b"v"), TimeRange::ALL).expect("readable");
            assert_eq!((column.times(), column.field_type()), (&[2][..], FieldType::Integer));
        }
    }
}
