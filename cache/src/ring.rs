//! [`Ring`]: partitions by the hash of the series, as InfluxDB's cache has them.

use parking_lot::RwLock;

use crate::table::{Room, Table};
use crate::{
    Batch, Column, ColumnRef, FieldKey, FieldType, Position, Refused, Reserved, SeriesKey, Storer, TimeRange,
};

/// How many partitions a ring has; InfluxDB has had as many since 1.5.
pub const PARTITIONS: usize = 16;

/// The partition of a key with this [`SeriesKey::hash64`].
///
/// The function is InfluxDB's, its argument is not: there the composite key is hashed, here the series, so that a line
/// costs one hash and all its fields are under one lock.
pub fn partition(hash: u64) -> usize {
    (hash % PARTITIONS as u64) as usize
}

/// Sixteen tables of columns, each under a lock of its own.
///
/// A batch is grouped by partition first, so that each lock is taken once a batch and not once a key.
#[derive(Debug, Default)]
pub struct Ring {
    partitions: [Partition; PARTITIONS],
}

/// On cache lines of its own: neighbours would slow each other's locks down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Partition {
    table: RwLock<Table>,
}

/// The reservation of a batch in a [`Ring`].
#[derive(Debug)]
pub struct RingRoom {
    room: Room,
    groups: Groups,
}

impl Ring {
    fn partition_of(&self, series: &[u8]) -> (&RwLock<Table>, u64) {
        let hash = SeriesKey(series).hash64();
        (&self.partitions[partition(hash)].table, hash)
    }
}

impl Storer for Ring {
    type Room = RingRoom;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<RingRoom>, Refused<RingRoom>> {
        let groups = Groups::of(batch);
        let mut room = Room::new(batch);
        let mut new_key_bytes = 0;
        let outcome = groups.each().try_for_each(|(at, members)| {
            self.partitions[at].table.write().reserve(batch, members, &mut room, &mut new_key_bytes)
        });
        let reserved = Reserved { room: RingRoom { room, groups }, new_key_bytes };
        match outcome {
            Ok(()) => Ok(reserved),
            Err(error) => Err(Refused { error, part: reserved }),
        }
    }

    fn write(&self, batch: &Batch<'_>, RingRoom { room, groups }: RingRoom, position: Position) {
        for (at, members) in groups.each() {
            self.partitions[at].table.write().write(batch, members, &room, position);
        }
    }

    fn release(&self, batch: &Batch<'_>, RingRoom { room, groups }: RingRoom) -> u64 {
        groups
            .each()
            .map(|(at, members)| self.partitions[at].table.write().release(batch, members, &room))
            .sum()
    }

    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        let (table, hash) = self.partition_of(key.series);
        table.read().column(key, hash).map(|column| column.with(f))
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        for partition in &self.partitions {
            partition.table.read().keys(f);
        }
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        let (table, hash) = self.partition_of(key.series);
        table.write().delete(key, hash, range)
    }

    fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool {
        let (table, hash) = self.partition_of(key.series);
        table.read().column(key, hash).is_some_and(|column| column.read(range, out))
    }

    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        let (table, hash) = self.partition_of(key.series);
        table.read().column(key, hash).map(crate::hot::HotColumn::field_type)
    }
}

/// The series of a batch, by partition: a counting sort, stable, so that a key's points stay in order.
#[derive(Debug)]
struct Groups {
    members: Vec<u32>,
    ends: [u32; PARTITIONS],
}

impl Groups {
    fn of(batch: &Batch<'_>) -> Self {
        let mut ends = [0; PARTITIONS];
        for series in batch.series() {
            ends[partition(series.hash())] += 1;
        }
        let mut next = [0; PARTITIONS];
        let mut sum = 0;
        for (next, end) in next.iter_mut().zip(&mut ends) {
            *next = sum;
            sum += *end;
            *end = sum;
        }
        let mut members = vec![0; batch.series_count()];
        for (at, series) in batch.series().enumerate() {
            let next = &mut next[partition(series.hash())];
            members[*next as usize] = at as u32;
            *next += 1;
        }
        Self { members, ends }
    }

    /// Every partition that has series of the batch, with their places in the batch.
    fn each(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = usize> + Clone)> {
        let mut from = 0;
        self.ends.iter().enumerate().filter_map(move |(at, &end)| {
            let members = &self.members[from..end as usize];
            from = end as usize;
            (!members.is_empty()).then(|| (at, members.iter().map(|&member| member as usize)))
        })
    }
}
