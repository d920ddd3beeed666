//! One hot column: chunks of points in order of their positions.
//!
//! ```text
//! full chunks of CHUNK_POINTS ── tail, grown in small steps        16 bytes a point, and little slack
//!                  ^ runs of batches whose reservations overlap: (position, where the run begins)
//! ```
//!
//! Order: what a column holds when a batch reserves is older than that batch, for its position is drawn afterwards. So
//! a batch that reserves and writes alone appends. Only while several hold reservations does the column remember where
//! the runs of the others begin, and a late one is put in before those of later positions.

use tsmith_codecs::{Column, ColumnRef, FieldType, Position, TimeRange};

/// Points of a full chunk. A column never moves a full chunk to grow.
const CHUNK_POINTS: usize = 1024;

/// A column of this many full chunks allocates the next one whole: the slack is small by then.
const STEADY_CHUNKS: usize = 8;

/// A column of one table. See the module.
#[derive(Debug)]
pub(crate) struct HotColumn {
    tail: Column,
    rare: Option<Box<Rare>>,
    /// Reservations outstanding.
    waiting: u32,
    name: u32,
}

/// What most columns do not need.
#[derive(Debug, Default)]
struct Rare {
    full: Vec<Column>,
    races: Option<Races>,
}

/// Which of two sets a reservation is counted in; see [`Races`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(pub(crate) bool);

/// The runs that a batch still to come may have to go before.
///
/// Reservations are counted in two generations. When the older one has gone, the runs that were there when the younger
/// began concern nobody any more: so under steady contention the list stays short.
#[derive(Debug)]
struct Races {
    /// Ascending by position, and by place.
    runs: Vec<Run>,
    waiting: [u32; 2],
    young: Generation,
    /// So many of the first runs are older than every reservation of the young generation.
    old_runs: usize,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    at: Position,
    start: usize,
}

impl HotColumn {
    pub(crate) fn new(name: u32, field_type: FieldType) -> Self {
        Self { tail: Column::new(field_type), rare: None, waiting: 0, name }
    }

    #[inline]
    pub(crate) fn name(&self) -> u32 {
        self.name
    }

    #[inline]
    pub(crate) fn field_type(&self) -> FieldType {
        self.tail.field_type()
    }

    pub(crate) fn len(&self) -> usize {
        self.full().len() * CHUNK_POINTS + self.tail.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.full().is_empty()
    }

    /// Without values and reservations: no column to anyone.
    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.waiting == 0 && self.is_empty()
    }

    /// Takes a new type. The column is vacant.
    pub(crate) fn adopt(&mut self, field_type: FieldType) {
        debug_assert!(self.is_vacant(), "only a vacant column changes its type");
        self.tail.reset(field_type);
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
        let races = self.rare.get_or_insert_default().races.get_or_insert_with(|| Races {
            runs: Vec::new(),
            waiting: [others, 0],
            young: Generation(false),
            old_runs: 0,
        });
        races.waiting[usize::from(races.young.0)] += 1;
        races.young
    }

    /// Gives a reservation back, after its write or without one.
    #[inline]
    pub(crate) fn settle(&mut self, generation: Generation) {
        self.waiting -= 1;
        if let Some(rare) = &mut self.rare {
            if self.waiting == 0 {
                rare.races = None;
            } else if let Some(races) = &mut rare.races {
                races.settle(generation);
            }
        }
    }

    /// Adds the points of a batch that holds a reservation. The types agree: the reservation saw to it.
    #[inline]
    pub(crate) fn write(&mut self, points: ColumnRef<'_>, at: Position) {
        match &mut self.rare {
            Some(rare) if rare.races.is_some() => self.write_in_race(points, at),
            _ => self.append(points),
        }
    }

    #[cold]
    fn write_in_race(&mut self, points: ColumnRef<'_>, at: Position) {
        let end = self.len();
        let Some(races) = self.rare.as_mut().and_then(|rare| rare.races.as_mut()) else {
            return self.append(points);
        };
        let place = races.runs.partition_point(|run| run.at <= at);
        let start = races.runs.get(place).map_or(end, |run| run.start);
        races.runs[place..].iter_mut().for_each(|run| run.start += points.len());
        if place < races.old_runs {
            // Older than a run that is older than the young generation.
            races.old_runs += 1;
        }
        races.runs.insert(place, Run { at, start });
        let later = self.split_off(start);
        self.append(points);
        if let Some(later) = later {
            self.append(later.as_ref());
        }
    }

    /// Removes all points from `start` on and gives them.
    fn split_off(&mut self, start: usize) -> Option<Column> {
        if start == self.len() {
            return None;
        }
        let all = self.to_column();
        let all = all.as_ref();
        self.refill(all.slice(0..start));
        Some(all.slice(start..all.len()).to_column())
    }

    /// Replaces all points.
    fn refill(&mut self, points: ColumnRef<'_>) {
        if let Some(rare) = &mut self.rare {
            rare.full.clear();
        }
        self.tail = Column::new(points.field_type());
        self.append(points);
    }

    #[inline]
    fn append(&mut self, points: ColumnRef<'_>) {
        let len = self.tail.len() + points.len();
        if len <= CHUNK_POINTS {
            self.tail.reserve_exact(step(len) - self.tail.len());
            let fits = self.tail.extend(points);
            debug_assert!(fits, "the reservation fixed the type");
        } else {
            self.append_across(points);
        }
    }

    fn append_across(&mut self, mut points: ColumnRef<'_>) {
        let field_type = self.field_type();
        while !points.is_empty() {
            if self.tail.len() == CHUNK_POINTS {
                let mut next = Column::new(field_type);
                let full = &mut self.rare.get_or_insert_default().full;
                if full.len() + 1 >= STEADY_CHUNKS {
                    next.reserve_exact(CHUNK_POINTS);
                }
                full.push(std::mem::replace(&mut self.tail, next));
            }
            let fit = points.len().min(CHUNK_POINTS - self.tail.len());
            self.append(points.slice(0..fit));
            points = points.slice(fit..points.len());
        }
    }

    /// Runs `f` on all points. A column of one chunk is lent as it is; others are joined for the occasion.
    pub(crate) fn with<R>(&self, f: impl FnOnce(ColumnRef<'_>) -> R) -> R {
        if self.full().is_empty() { f(self.tail.as_ref()) } else { f(self.to_column().as_ref()) }
    }

    fn to_column(&self) -> Column {
        let mut all = Column::new(self.field_type());
        all.reserve_exact(self.len());
        for chunk in self.full().iter().chain([&self.tail]) {
            let fits = all.extend(chunk.as_ref());
            debug_assert!(fits, "all chunks of a column have its type");
        }
        all
    }

    /// Removes the points inside `range`; returns the bytes freed.
    pub(crate) fn delete(&mut self, range: TimeRange) -> u64 {
        let all = self.to_column();
        let inside = |place: &usize| range.contains(all.times()[*place]);
        let kept: Vec<usize> = (0..all.len()).filter(|place| !inside(place)).collect();
        if kept.len() == all.len() {
            return 0;
        }
        if let Some(races) = self.rare.as_mut().and_then(|rare| rare.races.as_mut()) {
            for run in &mut races.runs {
                run.start = kept.partition_point(|&place| place < run.start);
            }
        }
        let left = all.as_ref().gather(&kept);
        self.refill(left.as_ref());
        all.as_ref().values().cached_bytes() - left.as_ref().values().cached_bytes()
    }

    /// Reads where the next point goes, so that the processor fetches it while others are looked at.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        use tsmith_codecs::Values;
        let value = match self.tail.values() {
            Values::Float(v) => v.last().map_or(0, |v| v.to_bits()),
            Values::Integer(v) => v.last().map_or(0, |v| v.cast_unsigned()),
            Values::Unsigned(v) => v.last().copied().unwrap_or(0),
            Values::Boolean(v) => v.last().map_or(0, |&v| u64::from(v)),
            Values::String(_) => 0,
        };
        value ^ self.tail.times().last().map_or(0, |t| t.cast_unsigned())
    }

    #[inline]
    fn full(&self) -> &[Column] {
        self.rare.as_ref().map_or(&[], |rare| &rare.full)
    }
}

impl Races {
    fn settle(&mut self, generation: Generation) {
        self.waiting[usize::from(generation.0)] -= 1;
        let older = Generation(!self.young.0);
        if self.waiting[usize::from(older.0)] == 0 {
            self.runs.drain(..self.old_runs);
            self.old_runs = self.runs.len();
            self.young = older;
        }
    }
}

/// The capacity for `len` points: four steps to a doubling, so that a tenth is slack on average. Odd, because common
/// allocators put 8 bytes before a block and round to 16: an even number of 8-byte words would waste one.
#[inline]
fn step(len: usize) -> usize {
    if len <= 5 {
        return 5;
    }
    let unit = 1usize << (usize::BITS - (len - 1).leading_zeros()).saturating_sub(3);
    (len.next_multiple_of(unit) | 1).min(CHUNK_POINTS).max(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsmith_codecs::ValuesRef;

    #[test]
    fn capacities_hold_their_points_and_grow_in_small_steps() {
        for len in 1..=CHUNK_POINTS {
            let capacity = step(len);
            assert!(capacity >= len && (len < 16 || capacity <= len + len / 3), "{len} {capacity}");
        }
    }

    #[test]
    fn under_steady_contention_the_runs_stay_few() {
        // Reservations that overlap in a chain never leave the column alone; a list that waited for that would grow
        // until the next snapshot.
        let mut column = HotColumn::new(0, FieldType::Integer);
        let mut last = column.reserve();
        for at in 1..10_000u64 {
            let next = column.reserve();
            let value = [at.cast_signed()];
            column.write(ColumnRef::new(&[0], ValuesRef::Integer(&value)).expect("one each"), Position(at));
            column.settle(last);
            last = next;
            let runs =
                column.rare.as_ref().and_then(|rare| rare.races.as_ref()).map_or(0, |races| races.runs.len());
            assert!(runs <= 4, "{runs} runs after {at} writes");
        }
        assert_eq!(column.len(), 9_999);
        column.settle(last);
        assert!(column.rare.as_ref().is_none_or(|rare| rare.races.is_none()));
    }
}
