//! The in-memory columns of a time-series engine. Readers see them before they are written to files.
//!
//! A [`Storer`] keeps columns by series and field. A [`Cache`] wraps a storer and adds a memory limit. It admits
//! batches before they are logged and publishes them to readers afterwards. For a snapshot it freezes its columns,
//! and new batches go into an empty store. The cache knows nothing of logs or files; it gets only a [`Position`] from
//! the log.
//!
//! ```text
//! batch ── admit ──> Admitted ── publish(position) ──> Published        readers see frozen and live
//!            │ memory, types                 │
//!            └ refused: Error                v
//!                                  live ── freeze ──> frozen ── drop_frozen ──> dropped, its memory is free
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
//! // Here the caller logs the batch. The log returns the position.
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
pub use erased::{DynReservation, DynStorer};
pub use error::{Error, Result};
pub use hashmap::OneMap;
pub use ring::{Ring, RingReservation, partition};
pub use storers::StorerEntry;
pub use table::TableReservation;

// The types in the signatures above, so that users of this crate need no other crate.
pub use tsmith_codecs::{
    Batch, BatchBuilder, BatchField, BatchSeries, Column, ColumnRef, FieldKey, FieldType, Position,
    RunBuilder, SeriesKey, TimeRange, TypeConflict, Value, Values, ValuesRef,
};

/// Stores columns in memory by series and field.
///
/// A batch is reserved, and then written or released exactly once, on the same storer. Between the two calls, the log
/// assigns the position of the batch. So all values that a column holds when a batch reserves are older than that
/// batch. Only batches whose reservations overlap can be written out of order.
pub trait Storer: Send + Sync + 'static {
    /// What [`Storer::reserve`] found, so that [`Storer::write`] need not look up anything again.
    type Reservation: Send + 'static;

    /// Finds or creates the column of every key in the batch. The type of each column stays fixed until the batch is
    /// written or released.
    ///
    /// Laws:
    /// - It refuses only type conflicts, and the error names the key.
    /// - After its part is released, a refused batch leaves no trace.
    /// - A column without values and reservations counts as missing, so it can get a new type.
    ///
    /// # Errors
    /// [`Refused`] with [`Error::TypeConflict`].
    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<Self::Reservation>, Refused<Self::Reservation>>;

    /// Adds the values of a reserved batch to their columns. It cannot fail.
    ///
    /// Law: if two values have the same time, the one with the later position counts, in whatever order batches are
    /// written. Within a batch, the later value counts.
    fn write(&self, batch: &Batch<'_>, reservation: Self::Reservation, at: Position);

    /// Drops the reservation of a batch without writing it, or the reserved part of a refused batch. Returns the
    /// bytes of the keys that disappear with it.
    fn release(&self, batch: &Batch<'_>, reservation: Self::Reservation) -> u64;

    /// Runs `f` on the column of `key`. Returns `None` if the column has no values. `f` must not call the storer.
    ///
    /// Law: the points are in order of their positions. Times need not ascend and may repeat. If a time repeats, the
    /// last point counts.
    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R>;

    /// Calls `f` once for each key that has values, in any order. `f` must not call the storer.
    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType));

    /// Removes the points of `key` inside `range` and returns the bytes freed. Values count as in
    /// [`ValuesRef::cached_bytes`]. The composite key counts if no point and no reservation is left.
    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64;

    /// Whether readers get back what was written. A storer that does not keep values cannot open a directory that has
    /// some.
    fn keeps_values(&self) -> bool {
        true
    }

    /// The type of the column of `key`, or `None` if it has no values.
    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is not general enough in lifetimes"
        )]
        self.with(key, |column| column.field_type())
    }

    /// Appends the points of `key` inside `range` to `out` in ascending order, one for each time. Returns false, and
    /// appends nothing, if there are none or if `out` holds points of another type.
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

/// A batch with a type conflict.
///
/// Before this is released, other batches may have reserved keys that this batch added, without counting them. So the
/// caller must count the bytes of `part` before it releases the part, as for any other reservation.
#[must_use = "release its part; otherwise its columns keep their types forever"]
pub struct Refused<R> {
    /// The conflict.
    pub error: Error,
    /// The columns reserved before the conflict was found. Pass it only to [`Storer::release`].
    pub part: Reserved<R>,
}

impl<R> std::fmt::Debug for Refused<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

/// The columns of a batch, found or created.
#[derive(Debug)]
#[must_use = "write or release a reservation; otherwise its columns keep their types forever"]
pub struct Reserved<R> {
    /// Pass it to [`Storer::write`] or [`Storer::release`].
    pub reservation: R,
    /// Bytes of the composite keys that this batch adds. Each key counts once, for the batch that reserves it first.
    pub new_key_bytes: u64,
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
