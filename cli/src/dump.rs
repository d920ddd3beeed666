//! From a view to rows: the keys that are wanted in the order of their bytes, each in the order of time.

use std::path::Path;

use tsmith_engine::view::{View, ViewReader};
use tsmith_engine::{Column, ColumnRef, Direction, FieldKey, FieldType, TimeRange};

use crate::exit::{Failure, Result};
use crate::filter::FilterArgs;
use crate::output::{Field, Rows};
use crate::progress::{Bar, percent};

/// The fields of a series are written together up to this many, a block of each being in memory; of more, a line holds
/// only these.
const FIELDS_AT_ONCE: usize = 256;

/// No further field is written together with others whose blocks have so many bytes.
const BYTES_AT_ONCE: u64 = 8 << 20;

/// Which rows, beyond the filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Latest first.
    pub(crate) descending: bool,
    /// At most so many.
    pub(crate) limit: Option<u64>,
}

/// The keys of a view that are wanted, ascending.
pub(crate) fn wanted_keys(view: &View, filter: &FilterArgs) -> Vec<Vec<u8>> {
    let mut keys = view.keys();
    keys.retain(|key| filter.wants(parse(key)));
    keys
}

/// A key of a view always has a field.
fn parse(key: &[u8]) -> FieldKey<'_> {
    FieldKey::parse(key).unwrap_or(FieldKey::new(key, b""))
}

/// Writes all values that are wanted, series by series. True when some could not be read; they were reported.
pub(crate) fn all(
    view: &View,
    path: &Path,
    filter: &FilterArgs,
    range: TimeRange,
    rows: &mut Rows,
    bar: &mut Bar,
) -> Result<bool> {
    let keys = wanted_keys(view, filter);
    rows.announce(keys.iter().map(|key| parse(key)));
    let mut problems = false;
    let mut done = 0;
    let mut fields: Vec<FieldReader<'_>> = Vec::new();
    let joined = rows.joins_fields();
    for group in keys.chunk_by(|a, b| joined && parse(a).series == parse(b).series) {
        let mut rest = group;
        while !rest.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            for key in rest.iter().take(FIELDS_AT_ONCE) {
                if bytes >= BYTES_AT_ONCE {
                    break;
                }
                if fields.len() == count {
                    fields.push(FieldReader::new(view));
                }
                let field = &mut fields[count];
                problems |= field.begin(path, parse(key), range, Direction::Ascending);
                problems |= field.fill(path);
                bytes += field.batch.as_ref().values().cached_bytes();
                count += 1;
            }
            let (part, later) = rest.split_at(count);
            problems |= join(path, part, &mut fields[..count], rows)?;
            rest = later;
            done += count;
            bar.show(|| format!("{} {done} of {} keys", percent(done as u64, keys.len() as u64), keys.len()));
        }
    }
    Ok(problems)
}

/// Writes the points of some fields of one series, those of one time together.
fn join(path: &Path, keys: &[Vec<u8>], fields: &mut [FieldReader<'_>], rows: &mut Rows) -> Result<bool> {
    let mut problems = false;
    loop {
        for field in fields.iter_mut() {
            problems |= field.fill(path);
        }
        // Up to here the points of all fields are at hand.
        let Some(until) = fields.iter().filter_map(|field| field.batch.times().last().copied()).min() else {
            return Ok(problems);
        };
        let parts: Vec<Field<'_>> = fields
            .iter_mut()
            .zip(keys)
            .map(|(field, key)| Field { name: parse(key).field, column: field.take(until) })
            .collect();
        let Some(key) = keys.first() else { return Ok(problems) };
        rows.series(parse(key).series, &parts)?;
    }
}

/// Writes rows key by key, in this order. True when some could not be read; they were reported.
pub(crate) fn ordered(
    view: &View,
    path: &Path,
    filter: &FilterArgs,
    range: TimeRange,
    order: Order,
    rows: &mut Rows,
) -> Result<bool> {
    let keys = wanted_keys(view, filter);
    rows.announce(keys.iter().map(|key| parse(key)));
    let direction = if order.descending { Direction::Descending } else { Direction::Ascending };
    let mut field = FieldReader::new(view);
    let mut left = order.limit.unwrap_or(u64::MAX);
    let mut problems = false;
    for key in &keys {
        if left == 0 {
            break;
        }
        let key = parse(key);
        problems |= field.begin(path, key, range, direction);
        while left > 0 {
            problems |= field.fill(path);
            let taken = field.take_points(usize::try_from(left).unwrap_or(usize::MAX));
            if taken.is_empty() {
                break;
            }
            left -= taken.len() as u64;
            rows.series(key.series, &[Field { name: key.field, column: taken }])?;
        }
    }
    Ok(problems)
}

/// One field, a batch of its points at a time.
struct FieldReader<'v> {
    reader: ViewReader<'v>,
    batch: Column,
    /// Points of the batch before this one are written.
    from: usize,
    ended: bool,
}

impl<'v> FieldReader<'v> {
    fn new(view: &'v View) -> Self {
        Self { reader: view.reader(), batch: Column::new(FieldType::Float), from: 0, ended: true }
    }

    /// Goes to the first point; true when that failed, which was reported.
    fn begin(&mut self, path: &Path, key: FieldKey<'_>, range: TimeRange, direction: Direction) -> bool {
        self.batch.truncate(0);
        self.from = 0;
        let begun = self.reader.begin(key, range, direction);
        self.ended = begun.is_err();
        report(path, begun.err())
    }

    /// Reads on when all of the batch is written; true when something could not be read, which was reported.
    fn fill(&mut self, path: &Path) -> bool {
        let mut problems = false;
        while self.from == self.batch.len() && !self.ended {
            self.from = 0;
            match self.reader.next(&mut self.batch) {
                Ok(more) => self.ended = !more,
                Err(error) => problems |= report(path, Some(error)),
            }
        }
        problems
    }

    /// The next points up to `until`.
    fn take(&mut self, until: i64) -> ColumnRef<'_> {
        let from = self.from;
        self.from = self.batch.times().partition_point(|&time| time <= until).max(from);
        self.batch.as_ref().slice(from..self.from)
    }

    /// The next points, at most so many.
    fn take_points(&mut self, most: usize) -> ColumnRef<'_> {
        let from = self.from;
        self.from = from.saturating_add(most).min(self.batch.len());
        self.batch.as_ref().slice(from..self.from)
    }
}

/// Reports an error if there is one, with the file at fault, or what is read.
fn report(path: &Path, error: Option<tsmith_engine::Error>) -> bool {
    error.is_some_and(|error| {
        Failure::from(error).complain_of(path);
        true
    })
}
