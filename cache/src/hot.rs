//! One column in memory: chunks of points in order of their positions.
//!
//! ```text
//! full chunks of CHUNK_POINTS ── tail, grown in small steps        16 bytes per point, little unused memory
//!                  ^ for overlapping reservations: (position, start of the run)
//! ```
//!
//! The time and the value of a point are stored together, and are split when a column is read. So a batch with one
//! value per column causes one cache miss per column instead of two. Readers have to copy anyway.
//!
//! A position is drawn after the reservation. So all points that a column holds when a batch reserves are older than
//! that batch, and a batch that reserves and writes alone just appends. Only while several batches hold reservations
//! does the column remember where their runs begin. It then inserts a late run before the runs with later positions.

use std::ops::Range;

use tsmith_codecs::{Column, ColumnRef, FieldType, Position, StringColumn, TimeRange, Values, ValuesRef};

/// The number of points in a full chunk. A growing column never moves a full chunk.
const CHUNK_POINTS: usize = 1024;

/// With at least this many full chunks, the tail is allocated in full. With fewer, it grows so that at most a quarter
/// of the column is unused.
const STEADY_CHUNKS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Point {
    time: i64,
    /// The bits of the value. For a string, the end of the string in the text of the column.
    bits: u64,
}

/// A column of a table. See the module documentation.
#[derive(Debug)]
pub(crate) struct HotColumn {
    tail: Vec<Point>,
    rare: Option<Box<Rare>>,
    /// The number of open reservations.
    waiting: u32,
    name: u32,
    field_type: FieldType,
    /// Whether the times strictly ascend. A reader then searches instead of sorting.
    ascending: bool,
}

/// Every write accesses one column, so columns must stay small.
const _: () = assert!(size_of::<HotColumn>() == 48);

/// Data that short columns of numbers do not need.
#[derive(Debug, Default)]
struct Rare {
    full: Vec<Vec<Point>>,
    /// All strings of the column, one after the other.
    text: Vec<u8>,
    races: Races,
}

/// The generation in which a reservation is counted. See [`Races`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation(pub(crate) bool);

/// The runs that a batch still to be written may have to precede.
///
/// Reservations are counted in two generations. When the older generation is empty, the runs that existed when the
/// younger one began are no longer needed. So the list stays short even if reservations always overlap.
///
/// When all reservations are gone, the list is emptied but keeps its memory. Two writers that met once will meet
/// again in the next batch.
#[derive(Debug, Default)]
struct Races {
    /// Ascending by position and by index.
    runs: Vec<Run>,
    waiting: [u32; 2],
    young: Generation,
    /// This many leading runs are older than every reservation of the younger generation. A late run inserted among
    /// them is older too, and is removed in the next round.
    old_runs: usize,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    at: Position,
    start: usize,
}

impl HotColumn {
    pub(crate) fn new(name: u32, field_type: FieldType) -> Self {
        Self { tail: Vec::new(), rare: None, waiting: 0, name, field_type, ascending: true }
    }

    #[inline]
    pub(crate) fn name(&self) -> u32 {
        self.name
    }

    #[inline]
    pub(crate) fn field_type(&self) -> FieldType {
        self.field_type
    }

    fn len(&self) -> usize {
        self.full().len() * CHUNK_POINTS + self.tail.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // A full chunk is put away only when more points follow.
        self.tail.is_empty()
    }

    /// Whether the column has no values and no reservations. It then counts as missing.
    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.waiting == 0 && self.is_empty()
    }

    /// Sets another type. The column must be vacant.
    #[inline]
    pub(crate) fn adopt(&mut self, field_type: FieldType) {
        debug_assert!(self.is_vacant(), "only a vacant column changes its type");
        self.field_type = field_type;
    }

    /// Counts one more reservation.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Generation {
        self.waiting += 1;
        if self.waiting == 1 { Generation(false) } else { self.join_race() }
    }

    #[cold]
    fn join_race(&mut self) -> Generation {
        let others = self.waiting - 1;
        let races = &mut self.rare.get_or_insert_default().races;
        if !races.are_on() {
            races.waiting = [others, 0];
        }
        races.waiting[usize::from(races.young.0)] += 1;
        races.young
    }

    /// Drops a reservation, after its write or without one.
    #[inline]
    pub(crate) fn release(&mut self, generation: Generation) {
        self.waiting -= 1;
        if let Some(rare) = &mut self.rare {
            if self.waiting == 0 {
                rare.races.end();
            } else if rare.races.are_on() {
                rare.races.release(generation);
            }
        }
    }

    /// Appends the points of a batch that holds a reservation. The reservation has checked that the types agree.
    #[inline]
    pub(crate) fn write(&mut self, points: ColumnRef<'_>, at: Position) {
        match &mut self.rare {
            Some(rare) if rare.races.are_on() => self.write_in_race(points, at),
            _ => self.append(points),
        }
    }

    #[cold]
    fn write_in_race(&mut self, points: ColumnRef<'_>, at: Position) {
        let end = self.len();
        let Some(Rare { races, .. }) = self.rare.as_deref_mut() else { return self.append(points) };
        let place = races.runs.partition_point(|run| run.at <= at);
        let start = races.runs.get(place).map_or(end, |run| run.start);
        races.runs[place..].iter_mut().for_each(|run| run.start += points.len());
        races.runs.insert(place, Run { at, start });
        let later = self.split_off(start);
        self.append(points);
        if let Some(later) = later {
            self.append(later.as_ref());
        }
    }

    /// Removes and returns all points from `start` on. The points before it are not touched, so the cost depends only
    /// on the number of moved points.
    fn split_off(&mut self, start: usize) -> Option<Column> {
        let len = self.len();
        if start == len {
            return None;
        }
        let later = self.column_of(start..len);
        let text_end = self.text_end(start);
        if let Some(rare) = &mut self.rare {
            rare.text.truncate(text_end);
            // A tail is empty only in an empty column.
            let chunk = start.saturating_sub(1) / CHUNK_POINTS;
            if let Some(tail) = rare.full.drain(chunk.min(rare.full.len())..).next() {
                self.tail = tail;
            }
        }
        self.tail.truncate(start - self.full().len() * CHUNK_POINTS);
        Some(later)
    }

    /// The end of the text of the first `len` points.
    fn text_end(&self, len: usize) -> usize {
        let Some(last) = len.checked_sub(1).filter(|_| self.field_type == FieldType::String) else {
            return 0;
        };
        self.slices(last..len).flatten().next().map_or(0, |point| point.bits as usize)
    }

    /// Replaces all points.
    fn refill(&mut self, points: ColumnRef<'_>) {
        if let Some(rare) = &mut self.rare {
            rare.full.clear();
            rare.text.clear();
        }
        self.tail = Vec::new();
        self.ascending = true;
        self.append(points);
    }

    #[inline]
    fn append(&mut self, points: ColumnRef<'_>) {
        debug_assert_eq!(points.field_type(), self.field_type, "the reservation fixed the type");
        if self.ascending {
            let follows = match (self.tail.last(), points.times().first()) {
                (Some(last), Some(&first)) => last.time < first,
                _ => true,
            };
            self.ascending = follows && points.is_strictly_ascending();
        }
        let len = self.tail.len() + points.len();
        if len <= CHUNK_POINTS { self.push(points, len) } else { self.push_across(points) }
    }

    /// Appends points that fit into the tail. The tail then has `len` points.
    #[inline]
    fn push(&mut self, points: ColumnRef<'_>, len: usize) {
        if len > self.tail.capacity() {
            self.tail.reserve_exact(step(len) - self.tail.len());
        }
        let times = points.times().iter();
        let tail = &mut self.tail;
        match points.values() {
            ValuesRef::Float(v) => {
                tail.extend(times.zip(v).map(|(&time, v)| Point { time, bits: v.to_bits() }));
            }
            ValuesRef::Integer(v) => {
                tail.extend(times.zip(v).map(|(&time, v)| Point { time, bits: v.cast_unsigned() }));
            }
            ValuesRef::Unsigned(v) => tail.extend(times.zip(v).map(|(&time, &bits)| Point { time, bits })),
            ValuesRef::Boolean(v) => {
                tail.extend(times.zip(v).map(|(&time, &v)| Point { time, bits: u64::from(v) }));
            }
            ValuesRef::String(v) => {
                let text = &mut self.rare.get_or_insert_default().text;
                if v.bytes().len() > text.capacity() - text.len() {
                    text.reserve_exact(v.bytes().len().max(text.len() / 4));
                }
                tail.extend(times.zip(v.iter()).map(|(&time, v)| {
                    text.extend_from_slice(v);
                    Point { time, bits: text.len() as u64 }
                }));
            }
        }
    }

    fn push_across(&mut self, mut points: ColumnRef<'_>) {
        while !points.is_empty() {
            if self.tail.len() == CHUNK_POINTS {
                let full = &mut self.rare.get_or_insert_default().full;
                let reservation = (full.len() + 1).min(STEADY_CHUNKS) * (CHUNK_POINTS / STEADY_CHUNKS);
                let next = Vec::with_capacity(reservation);
                full.push(std::mem::replace(&mut self.tail, next));
            }
            let fit = points.len().min(CHUNK_POINTS - self.tail.len());
            self.push(points.slice(0..fit), self.tail.len() + fit);
            points = points.slice(fit..points.len());
        }
    }

    /// Runs `f` on all points.
    pub(crate) fn with<R>(&self, f: impl FnOnce(ColumnRef<'_>) -> R) -> R {
        f(self.column_of(0..self.len()).as_ref())
    }

    /// Appends the points inside `range` to `out` in ascending order, one for each time. Returns false, and appends
    /// nothing, if there are none or if `out` holds points of another type.
    pub(crate) fn read(&self, range: TimeRange, out: &mut Column) -> bool {
        let inside = if self.ascending {
            let from = self.place(|time| time < range.min);
            let to = self.place(|time| time <= range.max);
            self.column_of(from..to.max(from))
        } else {
            let times = self.slices(0..self.len()).flatten().map(|point| point.time);
            let places: Vec<usize> =
                times.enumerate().filter(|&(_, time)| range.contains(time)).map(|(place, _)| place).collect();
            let mut inside = self.column_of(0..self.len()).as_ref().gather(&places);
            inside.sort_dedup();
            inside
        };
        !inside.is_empty() && out.extend(inside.as_ref()).is_ok()
    }

    /// The number of leading points of an ascending column that satisfy `before`.
    fn place(&self, before: impl Fn(i64) -> bool) -> usize {
        let full = self.full();
        let chunk = full.partition_point(|chunk| chunk.last().is_some_and(|point| before(point.time)));
        let points = full.get(chunk).unwrap_or(&self.tail);
        chunk * CHUNK_POINTS + points.partition_point(|point| before(point.time))
    }

    /// The points at these indexes, chunk by chunk.
    fn slices(&self, places: Range<usize>) -> impl Iterator<Item = &[Point]> {
        let chunks = self.full().iter().chain([&self.tail]).enumerate();
        chunks.map(move |(at, chunk)| {
            let clip = |place: usize| place.saturating_sub(at * CHUNK_POINTS).min(chunk.len());
            &chunk[clip(places.start)..clip(places.end)]
        })
    }

    /// Times and values at these indexes.
    fn column_of(&self, places: Range<usize>) -> Column {
        let mut times = Vec::with_capacity(places.len());
        self.slices(places.clone()).for_each(|points| times.extend(points.iter().map(|point| point.time)));
        let values = match self.field_type {
            FieldType::Float => Values::Float(self.values_of(places, f64::from_bits)),
            FieldType::Integer => Values::Integer(self.values_of(places, u64::cast_signed)),
            FieldType::Unsigned => Values::Unsigned(self.values_of(places, |bits| bits)),
            FieldType::Boolean => Values::Boolean(self.values_of(places, |bits| bits != 0)),
            FieldType::String => Values::String(self.strings_of(places)),
        };
        Column::from_parts(times, values).expect("a point is a time and a value")
    }

    fn values_of<T>(&self, places: Range<usize>, value: impl Fn(u64) -> T) -> Vec<T> {
        let mut values = Vec::with_capacity(places.len());
        self.slices(places).for_each(|points| values.extend(points.iter().map(|point| value(point.bits))));
        values
    }

    fn strings_of(&self, places: Range<usize>) -> StringColumn {
        let text = self.rare.as_ref().map_or(&[][..], |rare| &rare.text);
        let before =
            places.start.checked_sub(1).and_then(|last| self.slices(last..places.start).flatten().next());
        let mut from = before.map_or(0, |point| point.bits as usize);
        let mut strings = StringColumn::default();
        for point in self.slices(places).flatten() {
            strings.push(&text[from..point.bits as usize]);
            from = point.bits as usize;
        }
        strings
    }

    /// Removes the points inside `range` and returns the bytes freed.
    pub(crate) fn delete(&mut self, range: TimeRange) -> u64 {
        let all = self.column_of(0..self.len());
        if self.rare.as_ref().is_none_or(|rare| !rare.races.are_on()) {
            // Like InfluxDB, removes duplicates together with the deleted points. InfluxDB's byte count depends on
            // it.
            let mut left = all.clone();
            left.exclude(range);
            left.sort_dedup();
            if left.len() < all.len() {
                self.refill(left.as_ref());
            }
            return all.as_ref().values().cached_bytes() - left.as_ref().values().cached_bytes();
        }
        let kept: Vec<usize> = (0..all.len()).filter(|&place| !range.contains(all.times()[place])).collect();
        if kept.len() == all.len() {
            return 0;
        }
        if let Some(Rare { races, .. }) = self.rare.as_deref_mut() {
            for run in &mut races.runs {
                run.start = kept.partition_point(|&place| place < run.start);
            }
        }
        let left = all.as_ref().gather(&kept);
        self.refill(left.as_ref());
        all.as_ref().values().cached_bytes() - left.as_ref().values().cached_bytes()
    }

    /// Reads where the next point goes. The processor then fetches that memory while other columns are processed.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        self.tail.last().map_or(0, |point| point.bits)
    }

    #[inline]
    fn full(&self) -> &[Vec<Point>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.full)
    }
}

impl Races {
    /// Whether a reservation overlapped another one that is still open, or did so since the last time without
    /// reservations.
    #[inline]
    fn are_on(&self) -> bool {
        self.waiting != [0, 0]
    }

    #[inline]
    fn end(&mut self) {
        self.runs.clear();
        self.waiting = [0, 0];
        self.young = Generation(false);
        self.old_runs = 0;
    }

    fn release(&mut self, generation: Generation) {
        self.waiting[usize::from(generation.0)] -= 1;
        let older = Generation(!self.young.0);
        if self.waiting[usize::from(older.0)] == 0 {
            self.runs.drain(..self.old_runs);
            self.old_runs = self.runs.len();
            self.young = older;
        }
    }
}

/// The capacity for `len` points. It grows in four steps per doubling, so a tenth is unused on average. Below 32
/// points there are fewer steps, because allocations cost more than unused memory.
fn step(len: usize) -> usize {
    let unit = match len {
        0..=16 => 4,
        17..=64 => 8,
        _ => 1 << (usize::BITS - (len - 1).leading_zeros() - 3),
    };
    len.next_multiple_of(unit).min(CHUNK_POINTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsmith_codecs::Value;

    #[test]
    fn capacities_grow_in_small_steps() {
        for len in 1..=CHUNK_POINTS {
            let capacity = step(len);
            assert!(capacity >= len && capacity < len + 4.max(len / 2), "{len} {capacity}");
        }
    }

    #[test]
    fn split_off_works_at_every_index() {
        for field_type in [FieldType::Integer, FieldType::String] {
            let mut all = Column::new(field_type);
            for n in 0..3 * CHUNK_POINTS as i64 {
                let text = n.to_string();
                let value = match field_type {
                    FieldType::String => Value::String(text.as_bytes()),
                    _ => Value::Integer(n),
                };
                all.push(n, value).expect("one type");
            }
            for len in [0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 3072] {
                for start in [0, 1, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 3071, 3072]
                    .into_iter()
                    .filter(|&s| s <= len)
                {
                    let mut column = HotColumn::new(0, field_type);
                    column.append(all.as_ref().slice(0..len));
                    let later = column.split_off(start);
                    assert_eq!(later.as_ref().map_or(0, Column::len), len - start);
                    assert!(later.is_none_or(|later| later.as_ref() == all.as_ref().slice(start..len)));
                    assert_eq!((column.len(), column.is_empty()), (start, start == 0), "{start} of {len}");
                    // New points go where the cut was.
                    column.append(all.as_ref().slice(start..3072));
                    column.with(|joined| assert_eq!(joined, all.as_ref(), "{start} of {len}"));
                }
            }
        }
    }

    #[test]
    fn overlapping_reservations_keep_few_runs() {
        // There is always an open reservation here, because they overlap in a chain. A list that waits until none is
        // left would grow until the next snapshot.
        let mut column = HotColumn::new(0, FieldType::Integer);
        let mut last = column.reserve();
        for at in 1..10_000u64 {
            let next = column.reserve();
            let value = [at.cast_signed()];
            column.write(ColumnRef::new(&[0], ValuesRef::Integer(&value)).expect("one each"), Position(at));
            column.release(last);
            last = next;
            let runs = column.rare.as_ref().map_or(0, |rare| rare.races.runs.len());
            assert!(runs <= 4, "{runs} runs after {at} writes");
        }
        assert_eq!(column.len(), 9_999);
        column.release(last);
        assert!(column.rare.as_ref().is_none_or(|rare| !rare.races.are_on()));
    }
}
