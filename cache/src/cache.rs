//! [`Cache`]: the gate, the two stores and the receipts.

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

/// How much a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheOptions {
    /// Most bytes it holds, by InfluxDB's account (`cache-max-memory-size`); `None` for no limit.
    pub limit: Option<u64>,
    /// What a full cache does with a batch.
    pub when_full: WhenFull,
}

/// A storer with a memory limit, a gate and a double buffer.
///
/// Writers go through the gate with [`Cache::admit`] and leave it with [`Admitted::publish`]; [`Cache::freeze`] closes
/// it for as long as it takes to cut the log and swap the stores. So what a frozen store holds is exactly what the log
/// holds before the cut. Readers take no lock of the cache: they see one pair of stores, whatever happens meanwhile.
///
/// A thread that holds an [`Admitted`] or a [`Paused`] must not admit, pause, freeze or delete: it would wait for
/// itself.
pub struct Cache<S> {
    budget: Budget,
    gate: RwLock<()>,
    stores: ArcSwap<Stores<S>>,
    /// Held by whoever changes `stores`.
    swap: Mutex<()>,
    /// Makes an empty store.
    make: Box<dyn Fn() -> S + Send + Sync>,
}

struct Stores<S> {
    live: Arc<S>,
    /// Whether a batch was ever reserved in `live`: in an untouched one no key need be looked for.
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
    /// An empty cache over stores that `make` makes, such as [`DynStorer::of::<Ring>`](crate::DynStorer::of).
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
    /// [`Error::TypeConflict`](crate::Error::TypeConflict). The cache is then as before.
    pub fn admit<'c, 'b>(&'c self, batch: &'b Batch<'b>) -> Result<Admitted<'c, 'b, S>> {
        let needed = batch.cached_bytes();
        let mut deadline = None;
        loop {
            // Claimed inside the gate, so that a freeze never takes the bytes of a batch that will be in the next store.
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

    /// As [`Cache::admit`], for a batch that the log holds already: the limit does not apply, for a replay that stops
    /// half-way helps nobody.
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
            Ok(Reserved { room, new_key_bytes }) => {
                self.budget.add(new_key_bytes);
                Ok(Admitted {
                    budget: &self.budget,
                    stores,
                    batch,
                    room: Some(room),
                    value_bytes,
                    _gate: gate,
                })
            }
            Err(Refused { error, part: Reserved { room, new_key_bytes } }) => {
                self.budget.add(new_key_bytes);
                self.budget.free(value_bytes + stores.live.release(batch, room));
                Err(error)
            }
        }
    }

    /// Appends the points of `key` inside `range` to `out`, ascending, the newest for each time. False, and nothing
    /// appended, when there is none.
    ///
    /// A key may be live with another type than it has in the frozen store; then only the live points count.
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

    /// Calls `f` once for every key that has values, live or frozen, in any order. `f` must not call the cache.
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

    /// The type `key` is cached with.
    pub fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        let stores = self.stores.load();
        let frozen = || stores.frozen.as_ref().and_then(|frozen| frozen.field_type(key));
        stores.live.field_type(key).or_else(frozen)
    }

    /// Removes the points of `key` inside `range`, after every batch admitted so far is published; see
    /// [`Paused::delete`].
    pub fn delete(&self, key: FieldKey<'_>, range: TimeRange) {
        self.pause().delete(key, range);
    }

    /// Closes the gate: waits until every admitted batch is published or dropped, and admits none while the guard
    /// lives. A delete is logged under it, so that its place among the writes is the same in the log and in the cache.
    pub fn pause(&self) -> Paused<'_, S> {
        Paused { gate: self.gate.write(), cache: self }
    }

    /// Takes the live columns for a snapshot; an empty store becomes live. `None` when there are none.
    ///
    /// `quiet` runs while no batch is between admission and publication: there the caller cuts its log, and gives the
    /// position of the cut. All that is frozen lies before it, all that is published later behind it.
    ///
    /// When the store of an earlier, failed attempt is still there, that one is given again, with the position of *its*
    /// cut, and `quiet` does not run: what was published since is not in it, and its log must stay.
    ///
    /// # Errors
    /// Those of `quiet`; nothing is changed then.
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

    /// Drops a frozen store once its files are durable and readers find them: readers of the cache stop seeing it, its
    /// memory is free and waiting writers go on. One that was forgotten before is ignored.
    ///
    /// A reader of cache and files looks at the cache first: what it misses there is in a file by then.
    #[expect(clippy::needless_pass_by_value, reason = "who drops a store has no use for it any more")]
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

    /// Refuses every batch that waits for room, with [`Error::Full`](crate::Error::Full), and lets none wait until
    /// [`Cache::drop_frozen`] frees memory: call this when snapshots fail again and again.
    pub fn stop_waiting(&self) {
        self.budget.stop_waiting();
    }

    /// Wakes every batch that waits for room, to be refused with [`Error::Closed`](crate::Error::Closed), and lets none
    /// wait from now on: no snapshot will free memory any more. What has room is admitted still.
    pub fn close(&self) {
        self.budget.close();
    }

    /// Whether a batch waits for room, or was refused for want of it, since the last store was frozen: a snapshot is due
    /// then, however little is live. A batch larger than the limit does not count, for it never fits.
    pub fn room_wanted(&self) -> bool {
        self.budget.room_wanted()
    }

    /// Bytes of values and keys, live and frozen, by InfluxDB's account.
    pub fn size(&self) -> u64 {
        self.budget.total()
    }

    /// Bytes of values and keys that the next [`Cache::freeze`] would take.
    pub fn live_bytes(&self) -> u64 {
        self.budget.live()
    }
}

impl<S> fmt::Debug for Cache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// A batch that the cache has promised to show. Dropped, it leaves no trace.
#[must_use = "an admitted batch is shown by `publish`"]
pub struct Admitted<'c, 'b, S: Storer> {
    budget: &'c Budget,
    stores: Guard<Arc<Stores<S>>>,
    batch: &'b Batch<'b>,
    /// None once published.
    room: Option<S::Room>,
    value_bytes: u64,
    _gate: RwLockReadGuard<'c, ()>,
}

impl<S: Storer> Admitted<'_, '_, S> {
    /// Shows the batch to readers. It cannot fail: admission reserved the room. `at` was drawn after the admission.
    pub fn publish(mut self, at: Position) -> Published {
        if let Some(room) = self.room.take() {
            self.stores.live.write(self.batch, room, at);
        }
        Published { at }
    }
}

impl<S: Storer> Drop for Admitted<'_, '_, S> {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            let key_bytes = self.stores.live.release(self.batch, room);
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
#[must_use = "it proves that readers see the batch: the acknowledgement takes it"]
pub struct Published {
    at: Position,
}

impl Published {
    /// The position it was published with.
    pub fn position(&self) -> Position {
        self.at
    }
}

/// A closed gate; see [`Cache::pause`].
#[must_use = "the gate opens again when this is dropped"]
pub struct Paused<'c, S> {
    cache: &'c Cache<S>,
    #[expect(dead_code, reason = "held until dropped")]
    gate: RwLockWriteGuard<'c, ()>,
}

impl<S: Storer> Paused<'_, S> {
    /// Removes the points of `key` inside `range`, live and frozen.
    ///
    /// Who writes the frozen store to files may have read them already, and has to delete them there too. Their memory
    /// counts until the store is forgotten.
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

/// The columns of a snapshot. Nobody writes to them any more; a delete may still take points away.
pub struct Frozen<S> {
    store: Arc<S>,
    cut: Position,
    bytes: u64,
}

impl<S> Frozen<S> {
    /// Where the log was cut: all of this store lies before it.
    pub fn cut(&self) -> Position {
        self.cut
    }

    /// Bytes of values and keys, by InfluxDB's account.
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

    /// Story: a refused batch made the account too small, and a reader that took zero for nothing missed what was
    /// acknowledged.
    #[test]
    fn a_point_is_read_whatever_the_account_says() {
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
        let _published = cache.admit(&batch).expect("there is room").publish(Position(1));
        cache.budget.free(cache.size());
        assert_eq!(cache.size(), 0);
        assert!(read());
    }
}
