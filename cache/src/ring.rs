//! [`Ring`]: partitions by the hash of the series, as in InfluxDB's cache.

use parking_lot::RwLock;

use crate::table::{Table, TableReservation};
use crate::{
    Batch, Column, ColumnRef, FieldKey, FieldType, Position, Refused, Reserved, SeriesKey, Storer, TimeRange,
};

/// The number of partitions. InfluxDB has the same number since 1.5.
const PARTITIONS: usize = 16;

/// The partition of a key with this [`SeriesKey::hash64`].
///
/// The function is that of InfluxDB, but InfluxDB hashes the composite key. Here only the series is hashed, so a line
/// costs one hash and all its fields are under one lock.
pub fn partition(hash: u64) -> usize {
    (hash % PARTITIONS as u64) as usize
}

/// Sixteen tables of columns, each with its own lock.
///
/// A batch is grouped by partition first, so each lock is taken once per batch instead of once per key.
#[derive(Debug, Default)]
pub struct Ring {
    partitions: [Partition; PARTITIONS],
}

/// Aligned to cache lines, so that locks of neighbouring partitions do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Partition {
    table: RwLock<Table>,
}

/// The reservation of a batch in a [`Ring`].
#[derive(Debug)]
pub struct RingReservation {
    reservation: TableReservation,
    groups: Groups,
}

impl Ring {
    fn partition_of(&self, series: &[u8]) -> (&RwLock<Table>, u64) {
        let hash = SeriesKey(series).hash64();
        (&self.partitions[partition(hash)].table, hash)
    }
}

impl Storer for Ring {
    type Reservation = RingReservation;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<RingReservation>, Refused<RingReservation>> {
        let groups = Groups::of(batch);
        let mut reservation = TableReservation::new(batch);
        let mut new_key_bytes = 0;
        let outcome = groups.each().try_for_each(|(at, members)| {
            self.partitions[at].table.write().reserve(batch, members, &mut reservation, &mut new_key_bytes)
        });
        let reserved = Reserved { reservation: RingReservation { reservation, groups }, new_key_bytes };
        match outcome {
            Ok(()) => Ok(reserved),
            Err(error) => Err(Refused { error, part: reserved }),
        }
    }

    fn write(
        &self,
        batch: &Batch<'_>,
        RingReservation { reservation, groups }: RingReservation,
        position: Position,
    ) {
        for (at, members) in groups.each() {
            self.partitions[at].table.write().write(batch, members, &reservation, position);
        }
    }

    fn release(&self, batch: &Batch<'_>, RingReservation { reservation, groups }: RingReservation) -> u64 {
        groups
            .each()
            .map(|(at, members)| self.partitions[at].table.write().release(batch, members, &reservation))
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

/// The series of a batch by partition. The counting sort is stable, so the points of a key stay in order.
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

    /// Each partition that has series of the batch, with their indexes in the batch.
    fn each(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = usize> + Clone)> {
        let mut from = 0;
        self.ends.iter().enumerate().filter_map(move |(at, &end)| {
            let members = &self.members[from..end as usize];
            from = end as usize;
            (!members.is_empty()).then(|| (at, members.iter().map(|&member| member as usize)))
        })
    }
}
