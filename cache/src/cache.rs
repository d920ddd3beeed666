//! [`Cache`]: the gate, the live and the frozen store, and the receipts.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::budget::Budget;
use crate::{
    Batch, Column, FieldKey, FieldType, Position, Refused, Reserved, Result, Storer, TimeRange, WhenFull,
};

/// The limits of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheOptions {
    /// The most bytes it holds, as InfluxDB counts them (`cache-max-memory-size`), or `None` for no limit.
    pub limit: Option<u64>,
    /// What a full cache does with a batch.
    pub when_full: WhenFull,
}

/// A storer with a memory limit, a gate, and a frozen copy during snapshots.
///
/// A writer enters the gate with [`Cache::admit`] and leaves it with [`Admitted::publish`]. [`Cache::freeze`] closes
/// the gate while the caller cuts the log and the stores are swapped. So the frozen store holds exactly what the log
/// holds before the cut. Readers take no lock of the cache. Each read sees one consistent pair of stores.
///
/// A thread that holds an [`Admitted`] or a [`Paused`] must not admit, pause, freeze or delete. It would wait for
/// itself.
pub struct Cache<S> {
    budget: Budget,
    gate: RwLock<()>,
    stores: ArcSwap<Stores<S>>,
    /// Held by the thread that changes `stores`.
    swap: Mutex<()>,
    /// Creates an empty store.
    make: Box<dyn Fn() -> S + Send + Sync>,
}

struct Stores<S> {
    live: Arc<S>,
    /// Whether a batch was ever reserved in `live`. If not, reads need not look for a key.
    touched: Arc<AtomicBool>,
    frozen: Option<Frozen<S>>,
}

impl<S: Storer + Default> Default for Cache<S> {
    fn default() -> Self {
        Self::new(CacheOptions::default())
    }
}

impl<S: Storer + Default> Cache<S> {
    /// An empty cache.
    pub fn new(options: CacheOptions) -> Self {
        Self::with(options, S::default)
    }
}

impl<S: Storer> Cache<S> {
    /// An empty cache whose stores `make` creates, for example with [`DynStorer::of::<Ring>`](crate::DynStorer::of).
    pub fn with(options: CacheOptions, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self {
            budget: Budget::new(options.limit, options.when_full),
            gate: RwLock::new(()),
            stores: ArcSwap::from_pointee(Stores {
                live: Arc::new(make()),
                touched: Arc::default(),
                frozen: None,
            }),
            swap: Mutex::new(()),
            make: Box::new(make),
        }
    }

    /// Promises that the batch can be published: its values fit into memory and its types agree.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full), at once or after waiting as [`WhenFull`] says, and
    /// [`Error::TypeConflict`](crate::Error::TypeConflict). After an error the cache is unchanged.
    pub fn admit<'c, 'b>(&'c self, batch: &'b Batch<'b>) -> Result<Admitted<'c, 'b, S>> {
        let needed = batch.cached_bytes();
        let mut deadline = None;
        loop {
            // Claimed inside the gate, so that a freeze never counts the bytes of a batch that goes into the next
            // store.
            let gate = self.gate.read();
            match self.budget.claim(needed) {
                Ok(()) => return self.reserve(gate, batch, needed),
                Err(full) => {
                    drop(gate);
                    deadline = deadline.or_else(|| self.budget.deadline());
                    let Some(deadline) = deadline else { return Err(full) };
                    self.budget.wait(needed, deadline)?;
                }
            }
        }
    }

    /// Like [`Cache::admit`], for a batch that is already in the log. The limit does not apply, because a replay must
    /// be able to finish.
    ///
    /// # Errors
    /// [`Error::TypeConflict`](crate::Error::TypeConflict).
    pub fn admit_replayed<'c, 'b>(&'c self, batch: &'b Batch<'b>) -> Result<Admitted<'c, 'b, S>> {
        let gate = self.gate.read();
        let needed = batch.cached_bytes();
        self.budget.add(needed);
        self.reserve(gate, batch, needed)
    }

    fn reserve<'c, 'b>(
        &'c self,
        gate: RwLockReadGuard<'c, ()>,
        batch: &'b Batch<'b>,
        value_bytes: u64,
    ) -> Result<Admitted<'c, 'b, S>> {
        let stores = self.stores.load();
        if !stores.touched.load(Ordering::Relaxed) {
            stores.touched.store(true, Ordering::Release);
        }
        match stores.live.reserve(batch) {
            Ok(Reserved { reservation, new_key_bytes }) => {
                self.budget.add(new_key_bytes);
                Ok(Admitted {
                    budget: &self.budget,
                    stores,
                    batch,
                    reservation: Some(reservation),
                    value_bytes,
                    _gate: gate,
                })
            }
            Err(Refused { error, part: Reserved { reservation, new_key_bytes } }) => {
                self.budget.add(new_key_bytes);
                self.budget.free(value_bytes + stores.live.release(batch, reservation));
                Err(error)
            }
        }
    }

    /// Appends the points of `key` inside `range` to `out` in ascending order, with the newest value for each time.
    /// Returns false, and appends nothing, if there are none.
    ///
    /// If a key has different types in the live and the frozen store, only the live points count.
    pub fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool {
        let stores = self.stores.load();
        if stores.frozen.is_none() && !stores.touched.load(Ordering::Acquire) {
            return false;
        }
        let Some(frozen) = &stores.frozen else { return stores.live.read(key, range, out) };
        let mut both = Column::new(out.field_type());
        if !frozen.read(key, range, &mut both) {
            return stores.live.read(key, range, out);
        }
        let mut live = Column::new(both.field_type());
        if stores.live.read(key, range, &mut live) {
            if both.extend(live.as_ref()).is_ok() {
                both.sort_dedup();
            } else {
                both = live;
            }
        }
        out.extend(both.as_ref()).is_ok()
    }

    /// Calls `f` once for each key with live or frozen values, in any order. `f` must not call the cache.
    pub fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        let stores = self.stores.load();
        if let Some(frozen) = &stores.frozen {
            frozen.keys(&mut |key, field_type| {
                if stores.live.field_type(key).is_none() {
                    f(key, field_type);
                }
            });
        }
        stores.live.keys(f);
    }

    /// The type of the cached values of `key`.
    pub fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        let stores = self.stores.load();
        let frozen = || stores.frozen.as_ref().and_then(|frozen| frozen.field_type(key));
        stores.live.field_type(key).or_else(frozen)
    }

    /// Removes the points of `key` inside `range`. It first waits until every admitted batch is published. See
    /// [`Paused::delete`].
    pub fn delete(&self, key: FieldKey<'_>, range: TimeRange) {
        self.pause().delete(key, range);
    }

    /// Closes the gate. It waits until every admitted batch is published or dropped, and admits none while the guard
    /// lives. Log a delete while you hold the guard, so that the delete has the same place among the writes in the
    /// log and in the cache.
    pub fn pause(&self) -> Paused<'_, S> {
        Paused { gate: self.gate.write(), cache: self }
    }

    /// Freezes the live columns for a snapshot and makes an empty store live. Returns `None` if there are no live
    /// columns.
    ///
    /// `quiet` runs while no batch is between admission and publication. In it, the caller cuts its log and returns
    /// the position of the cut. All frozen points lie before the cut, and all points published later lie after it.
    ///
    /// If the store of an earlier, failed attempt still exists, this method returns it again with the position of
    /// *its* cut and does not run `quiet`. That store does not contain what was published since, so the log after its
    /// cut must stay.
    ///
    /// # Errors
    /// Those of `quiet`. The cache is then unchanged.
    pub fn freeze<E>(
        &self,
        quiet: impl FnOnce() -> std::result::Result<Position, E>,
    ) -> std::result::Result<Option<Frozen<S>>, E> {
        let _swap = self.swap.lock();
        if let Some(frozen) = &self.stores.load().frozen {
            return Ok(Some(frozen.clone()));
        }
        let gate = self.gate.write();
        if self.budget.live() == 0 {
            return Ok(None);
        }
        let cut = quiet()?;
        let bytes = self.budget.freeze();
        let frozen = Frozen { store: self.stores.load().live.clone(), cut, bytes };
        let stores =
            Stores { live: Arc::new((self.make)()), touched: Arc::default(), frozen: Some(frozen.clone()) };
        self.stores.store(Arc::new(stores));
        drop(gate);
        Ok(Some(frozen))
    }

    /// Drops a frozen store. Call it after its files are durable and readers can find them. Readers of the cache no
    /// longer see the store, its memory is free, and waiting writers continue. A store that was dropped before is
    /// ignored.
    ///
    /// A reader of cache and files must read the cache first. Points that are no longer there are then already in a
    /// file.
    #[expect(clippy::needless_pass_by_value, reason = "the caller must not use the store afterwards")]
    pub fn drop_frozen(&self, frozen: Frozen<S>) {
        let _swap = self.swap.lock();
        let stores = self.stores.load_full();
        if stores.frozen.as_ref().is_none_or(|present| !Arc::ptr_eq(&present.store, &frozen.store)) {
            return;
        }
        self.stores.store(Arc::new(Stores {
            live: stores.live.clone(),
            touched: stores.touched.clone(),
            frozen: None,
        }));
        self.budget.drop_frozen(frozen.bytes);
    }

    /// Refuses every batch that waits for memory with [`Error::Full`](crate::Error::Full). No batch waits until
    /// [`Cache::drop_frozen`] frees memory. Call this if snapshots keep failing.
    pub fn stop_waiting(&self) {
        self.budget.stop_waiting();
    }

    /// Refuses every batch that waits for memory with [`Error::Closed`](crate::Error::Closed). From now on no batch
    /// waits, because no snapshot will free memory. A batch that fits is still admitted.
    pub fn close(&self) {
        self.budget.close();
    }

    /// Whether a batch waits for memory, or was refused for lack of memory, since the last freeze. A snapshot is then
    /// due, even if the live store is small. A batch larger than the limit does not count, because it never fits.
    pub fn memory_wanted(&self) -> bool {
        self.budget.memory_wanted()
    }

    /// Bytes of live and frozen values and keys, as InfluxDB counts them.
    pub fn size(&self) -> u64 {
        self.budget.total()
    }

    /// Bytes of values and keys that the next [`Cache::freeze`] would freeze.
    pub fn live_bytes(&self) -> u64 {
        self.budget.live()
    }
}

impl<S> fmt::Debug for Cache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// A batch that the cache can publish without failing. Dropping it instead releases its reservation.
#[must_use = "`publish` makes an admitted batch visible"]
pub struct Admitted<'c, 'b, S: Storer> {
    budget: &'c Budget,
    stores: Guard<Arc<Stores<S>>>,
    batch: &'b Batch<'b>,
    /// `None` after publication.
    reservation: Option<S::Reservation>,
    value_bytes: u64,
    _gate: RwLockReadGuard<'c, ()>,
}

impl<S: Storer> Admitted<'_, '_, S> {
    /// Makes the batch visible to readers. It cannot fail, because admission reserved the memory. The position `at`
    /// must be drawn after the admission.
    pub fn publish(mut self, at: Position) -> Published {
        if let Some(reservation) = self.reservation.take() {
            self.stores.live.write(self.batch, reservation, at);
        }
        Published { at }
    }
}

impl<S: Storer> Drop for Admitted<'_, '_, S> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            let key_bytes = self.stores.live.release(self.batch, reservation);
            self.budget.free(self.value_bytes + key_bytes);
        }
    }
}

impl<S: Storer> fmt::Debug for Admitted<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").field("value_bytes", &self.value_bytes).finish_non_exhaustive()
    }
}

/// Receipt: readers see the batch.
#[derive(Debug)]
#[must_use = "the acknowledgement needs this proof that readers see the batch"]
pub struct Published {
    at: Position,
}

impl Published {
    /// The position at which it was published.
    pub fn position(&self) -> Position {
        self.at
    }
}

/// A closed gate. See [`Cache::pause`].
#[must_use = "the gate opens again when this is dropped"]
pub struct Paused<'c, S> {
    cache: &'c Cache<S>,
    #[expect(dead_code, reason = "held until dropped")]
    gate: RwLockWriteGuard<'c, ()>,
}

impl<S: Storer> Paused<'_, S> {
    /// Removes the points of `key` inside `range` from the live and the frozen store.
    ///
    /// The thread that writes the frozen store to files may already have read the points. Then it must delete them
    /// from the files too. The memory of frozen points is counted until the store is dropped.
    pub fn delete(&self, key: FieldKey<'_>, range: TimeRange) {
        let stores = self.cache.stores.load();
        let freed = stores.live.delete(key, range);
        self.cache.budget.free(freed);
        if let Some(frozen) = &stores.frozen {
            frozen.delete(key, range);
        }
    }
}

impl<S> fmt::Debug for Paused<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Paused")
    }
}

/// The columns of a snapshot. No batch is written to them any more, but a delete may still remove points.
pub struct Frozen<S> {
    store: Arc<S>,
    cut: Position,
    bytes: u64,
}

impl<S> Frozen<S> {
    /// The position where the log was cut. All points of this store lie before it.
    pub fn cut(&self) -> Position {
        self.cut
    }

    /// Bytes of values and keys, as InfluxDB counts them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl<S> Clone for Frozen<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), cut: self.cut, bytes: self.bytes }
    }
}

impl<S> Deref for Frozen<S> {
    type Target = Arc<S>;

    fn deref(&self) -> &Arc<S> {
        &self.store
    }
}

impl<S> fmt::Debug for Frozen<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("cut", &self.cut).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, FieldType, Ring, Value};

    /// Story: a refused batch made the byte count too small. A reader that took zero for an empty store did not see
    /// an acknowledged point.
    #[test]
    fn reads_do_not_depend_on_the_byte_count() {
        let cache = Cache::<Ring>::default();
        let read = || {
            let mut column = Column::new(FieldType::Integer);
            cache.read(FieldKey::new(b"m", b"f"), TimeRange::ALL, &mut column)
        };
        assert!(!read());
        let mut builder = BatchBuilder::new();
        builder.begin(b"m"[..].into());
        builder.field(b"f"[..].into(), Value::Integer(1)).expect("its first type");
        builder.commit(1);
        let batch = builder.finish();
        let _published = cache.admit(&batch).expect("it fits").publish(Position(1));
        cache.budget.free(cache.size());
        assert_eq!(cache.size(), 0);
        assert!(read());
    }
}
