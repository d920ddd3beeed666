//! A hash table from keys to their places in the index. It is built for a file after many lookups of single keys.
//!
//! A binary search reads a key in each step, and most keys are not in the cache. A hash table finds the key at once,
//! but it takes time to build and memory to keep. So it is built once the searches of a file have taken about as long
//! as building it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use tsmith_codecs::SeriesKey;

/// Hashing this many keys takes as long as one search.
const KEYS_PER_SEARCH: usize = 8;
/// Files with more keys always use the binary search, so that no lookup waits for a long build.
const KEYS_MAX: usize = 1 << 20;

/// The places of the keys, once there were enough lookups.
#[derive(Debug, Default)]
pub(super) struct Places {
    table: OnceLock<Table>,
    searches: AtomicUsize,
}

impl Places {
    /// The table, if it was built.
    pub(super) fn get(&self) -> Option<&Table> {
        self.table.get()
    }

    /// Counts a search among `keys` keys. `key_at` returns the key at a place. The search that reaches the limit
    /// builds the table.
    pub(super) fn searched<'k>(&self, keys: usize, key_at: impl Fn(u32) -> &'k [u8]) {
        if keys <= KEYS_MAX && self.searches.fetch_add(1, Ordering::Relaxed) == keys / KEYS_PER_SEARCH {
            drop(self.table.set(Table::new(keys, key_at)));
        }
    }
}

/// The place of each key by its hash. It takes five to eleven bytes per key.
#[derive(Debug)]
pub(super) struct Table(HashTable<u32>);

impl Table {
    fn new<'k>(keys: usize, key_at: impl Fn(u32) -> &'k [u8]) -> Self {
        let mut table = HashTable::with_capacity(keys);
        for place in 0..keys as u32 {
            table.insert_unique(hash(key_at(place)), place, |&place| hash(key_at(place)));
        }
        Self(table)
    }

    /// Finds the place of `key`. `key_at` checks candidate places until it accepts one.
    pub(super) fn find<T>(&self, key: &[u8], mut key_at: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut found = None;
        self.0.find(hash(key), |&place| {
            found = key_at(place);
            found.is_some()
        });
        found
    }
}

fn hash(key: &[u8]) -> u64 {
    SeriesKey(key).hash64()
}
