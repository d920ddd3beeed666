//! Hot columns of a time-series engine: what readers see before it is a file.
//!
//! A [`Storer`] keeps columns by series and field. A [`Cache`] stands in front of one: it holds the memory limit,
//! admits batches before they are logged and shows them afterwards, and hands its columns to a snapshot while new ones
//! fill up. It knows nothing of logs or files; a [`Position`] is all it hears of a log.
//!
//! ```text
//! batch ── admit ──> Admitted ── publish(position) ──> Published        readers: frozen, then live
//!            │ memory, types                 │
//!            └ refused: Error                v
//!                                  live ── freeze ──> frozen ── drop_frozen ──> gone, its memory free again
//! ```
//!
//! ```
//! use tsmith_cache::{BatchBuilder, Cache, CacheOptions, Column, FieldKey, FieldType, Position, Ring, TimeRange, Value};
//!
//! let cache: Cache<Ring> = Cache::new(CacheOptions::default());
//! let mut points = BatchBuilder::new();
//! points.begin(b"cpu,host=a".into());
//! points.field(b"usage".into(), Value::Float(0.5)).expect("one type");
//! points.commit(10);
//! let batch = points.finish();
//!
//! let admitted = cache.admit(&batch)?;
//! // Here the caller logs the batch, which gives its position.
//! let _published = admitted.publish(Position(1));
//!
//! let mut column = Column::new(FieldType::Float);
//! assert!(cache.read(FieldKey::new(b"cpu,host=a", b"usage"), TimeRange::ALL, &mut column));
//! assert_eq!(column.times(), [10]);
//! # Ok::<(), tsmith_cache::Error>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod budget;
mod cache;
mod empty;
mod erased;
mod error;
mod hashmap;
mod hot;
mod names;
mod ring;
mod storers;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use budget::WhenFull;
pub use cache::{Admitted, Cache, CacheOptions, Frozen, Paused, Published};
pub use empty::Empty;
pub use erased::{DynRoom, DynStorer};
pub use error::{Error, Result};
pub use hashmap::OneMap;
pub use ring::{PARTITIONS, Ring, RingRoom, partition};
pub use storers::StorerEntry;
pub use table::Room;

// The words of the signatures above, so that a user of this crate needs no other.
pub use tsmith_codecs::{
    Batch, BatchBuilder, BatchField, BatchSeries, Column, ColumnRef, FieldKey, FieldType, Position,
    RunBuilder, SeriesKey, TimeRange, Value, Values, ValuesRef,
};

/// Columns that readers see before they are files.
///
/// A batch is reserved, then written or released, once and on the storer that reserved it. Between the two its
/// position in the log is drawn: so the values a column holds when a batch reserves are older than that batch, and only
/// batches whose reservations overlap can arrive in the wrong order.
pub trait Storer: Send + Sync + 'static {
    /// What [`Storer::reserve`] found out, so that [`Storer::write`] need not look anything up again.
    type Room: Send + 'static;

    /// Finds or makes the column of every key of the batch, and fixes its type until the batch is written or released.
    ///
    /// Laws: it refuses only a type conflict, and names the key; with its part released, a refused batch leaves no trace.
    /// A column without values and without reservations is no column: it takes a new type.
    ///
    /// # Errors
    /// [`Refused`], with [`Error::TypeConflict`].
    fn reserve(&self, batch: &Batch<'_>) -> std::result::Result<Reserved<Self::Room>, Refused<Self::Room>>;

    /// Puts the values of a reserved batch into their columns. It cannot fail.
    ///
    /// Law: at equal times the value of the later position counts, in whatever order batches arrive; within a batch the
    /// later value.
    fn write(&self, batch: &Batch<'_>, room: Self::Room, at: Position);

    /// Gives a reservation back unused, that of a whole batch or the part of a refused one. Returns the bytes of the keys
    /// that vanish with it.
    fn release(&self, batch: &Batch<'_>, room: Self::Room) -> u64;

    /// Runs `f` on the column of `key`; `None` when it has no values. `f` must not call the storer.
    ///
    /// Law: the points come in order of their positions. Their times need not ascend and may repeat; of equal times
    /// the last counts.
    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R>;

    /// Calls `f` once for every key that has values, in any order. `f` must not call the storer.
    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType));

    /// Removes the points of `key` inside `range`. Returns the bytes freed: those of the values as
    /// [`ValuesRef::cached_bytes`] counts them, and of the composite key when no point and no reservation is left.
    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64;

    /// Whether readers get back what was written. A storer that keeps nothing cannot serve a directory with values.
    fn keeps_values(&self) -> bool {
        true
    }

    /// The type of the column of `key`; `None` when it has no values.
    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is not general enough in lifetimes"
        )]
        self.with(key, |column| column.field_type())
    }

    /// Appends the points of `key` inside `range` to `out`, ascending, one for each time. False, and nothing appended,
    /// when there is none, or when `out` holds points of another type.
    fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool {
        let read = self.with(key, |column| {
            if column.is_strictly_ascending() {
                let inside = column.within(range);
                return !inside.is_empty() && out.extend(inside).is_ok();
            }
            let places: Vec<usize> =
                (0..column.len()).filter(|&i| range.contains(column.times()[i])).collect();
            let mut inside = column.gather(&places);
            inside.sort_dedup();
            !inside.is_empty() && out.extend(inside.as_ref()).is_ok()
        });
        read.unwrap_or(false)
    }
}

/// A batch that cannot be reserved whole.
///
/// Meanwhile other batches may have reserved keys that this one brought in, and not counted them: so the bytes of its part
/// are counted before it is released, like those of any other reservation.
#[must_use = "its part is to be released, else its columns keep their types for ever"]
pub struct Refused<R> {
    /// Why.
    pub error: Error,
    /// What was reserved before that was found out, for [`Storer::release`] alone.
    pub part: Reserved<R>,
}

impl<R> std::fmt::Debug for Refused<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

/// The columns of a batch, found or made.
#[derive(Debug)]
#[must_use = "a reservation is written or released, else its columns keep their types for ever"]
pub struct Reserved<R> {
    /// For [`Storer::write`] or [`Storer::release`].
    pub room: R,
    /// Bytes of the composite keys that this batch brings in; each key counts once, for the first who reserves it.
    pub new_key_bytes: u64,
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
