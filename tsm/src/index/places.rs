//! Where keys are by their hash: what a file grows that is asked for many single keys.
//!
//! A search halves the offsets and looks at a key each time, most of them not in the processor's cache. A hash leads to
//! the key at once, but takes time to be made and memory to be kept. So it is made when the searches of a file took
//! about as long as it does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use tsmith_codecs::SeriesKey;

/// Hashing so many keys takes as long as one search.
const KEYS_PER_SEARCH: usize = 8;
/// Files with more keys are searched for ever: nobody should wait for their hash.
const KEYS_MAX: usize = 1 << 20;

/// The places of the keys, once they were asked for often enough.
#[derive(Debug, Default)]
pub(super) struct Places {
    table: OnceLock<Table>,
    searches: AtomicUsize,
}

impl Places {
    /// What was made.
    pub(super) fn get(&self) -> Option<&Table> {
        self.table.get()
    }

    /// Counts a search among `keys` keys, of which `key_at` gives the one at a place; the one that makes them too many
    /// makes the table.
    pub(super) fn searched<'k>(&self, keys: usize, key_at: impl Fn(u32) -> &'k [u8]) {
        if keys <= KEYS_MAX && self.searches.fetch_add(1, Ordering::Relaxed) == keys / KEYS_PER_SEARCH {
            drop(self.table.set(Table::new(keys, key_at)));
        }
    }
}

/// The place of each key by its hash; five to eleven bytes a key.
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

    /// What `key_at` says of the place of `key`: it is asked about places until it knows one as its own.
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
