//! Turns a view into rows: the selected keys in byte order, the values of each key in time order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsmith_engine::view::{View, ViewReader};
use tsmith_engine::{Column, ColumnRef, Direction, Error, ErrorKind, FieldKey, FieldType, TimeRange};

use crate::exit::{Failure, Result, complain};
use crate::filter::FilterArgs;
use crate::output::{Field, Rows, count};
use crate::progress::{Bar, percent};

/// How many fields of a series can share a line. One block of each is in memory.
const FIELDS_AT_ONCE: usize = 256;

/// When the blocks of the fields reach this size, no further field shares the line.
const BYTES_AT_ONCE: u64 = 8 << 20;

/// Order and number of the rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Latest first.
    pub(crate) descending: bool,
    /// The maximum number of rows.
    pub(crate) limit: Option<u64>,
}

/// The selected keys of a view, ascending.
pub(crate) fn wanted_keys(view: &View, filter: &FilterArgs) -> Vec<Vec<u8>> {
    let mut keys = view.keys();
    keys.retain(|key| filter.wants(parse(key)));
    keys
}

/// Splits a key of a view, which always has a field.
fn parse(key: &[u8]) -> FieldKey<'_> {
    FieldKey::parse(key).unwrap_or(FieldKey::new(key, b""))
}

/// Writes all selected values, series by series. Returns true if some could not be read; those are reported.
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
    let mut errors = Errors::new(path);
    let mut done = 0;
    let mut fields: Vec<FieldReader<'_>> = Vec::new();
    let joined = rows.joins_fields();
    for group in keys.chunk_by(|a, b| joined && parse(a).series == parse(b).series) {
        let mut rest = group;
        while !rest.is_empty() {
            let (mut begun, mut bytes) = (0, 0);
            for key in rest.iter().take(FIELDS_AT_ONCE) {
                if bytes >= BYTES_AT_ONCE {
                    break;
                }
                if fields.len() == begun {
                    fields.push(FieldReader::new(view));
                }
                let field = &mut fields[begun];
                field.begin(parse(key), range, Direction::Ascending, &mut errors);
                field.fill(&mut errors);
                bytes += field.batch.as_ref().values().cached_bytes();
                begun += 1;
            }
            let (part, later) = rest.split_at(begun);
            join(part, &mut fields[..begun], rows, &mut errors)?;
            rest = later;
            done += begun;
            bar.show(|| format!("{} {done} of {} keys", percent(done as u64, keys.len() as u64), keys.len()));
        }
    }
    Ok(errors.finish())
}

/// Writes the points of some fields of one series. Points of one time are written together.
fn join(
    keys: &[Vec<u8>],
    fields: &mut [FieldReader<'_>],
    rows: &mut Rows,
    errors: &mut Errors<'_>,
) -> Result<()> {
    loop {
        for field in fields.iter_mut() {
            field.fill(errors);
        }
        // Up to this time, the points of all fields are in memory.
        let Some(until) = fields.iter().filter_map(|field| field.batch.times().last().copied()).min() else {
            return Ok(());
        };
        let parts: Vec<Field<'_>> = fields
            .iter_mut()
            .zip(keys)
            .map(|(field, key)| Field { name: parse(key).field, column: field.take(until) })
            .collect();
        let Some(key) = keys.first() else { return Ok(()) };
        rows.series(parse(key).series, &parts)?;
    }
}

/// Writes rows key by key, in this order. Returns true if some could not be read; those are reported.
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
    let mut errors = Errors::new(path);
    for key in &keys {
        if left == 0 {
            break;
        }
        let key = parse(key);
        field.begin(key, range, direction, &mut errors);
        while left > 0 {
            field.fill(&mut errors);
            let taken = field.take_points(usize::try_from(left).unwrap_or(usize::MAX));
            if taken.is_empty() {
                break;
            }
            left -= taken.len() as u64;
            rows.series(key.series, &[Field { name: key.field, column: taken }])?;
        }
    }
    Ok(errors.finish())
}

/// One field, a batch of its points at a time.
struct FieldReader<'v> {
    reader: ViewReader<'v>,
    batch: Column,
    /// The first point of the batch that is not written yet.
    from: usize,
    ended: bool,
}

impl<'v> FieldReader<'v> {
    fn new(view: &'v View) -> Self {
        Self { reader: view.reader(), batch: Column::new(FieldType::Float), from: 0, ended: true }
    }

    /// Goes to the first point.
    fn begin(&mut self, key: FieldKey<'_>, range: TimeRange, direction: Direction, errors: &mut Errors<'_>) {
        self.batch.truncate(0);
        self.from = 0;
        let begun = self.reader.begin(key, range, direction);
        self.ended = begun.is_err();
        if let Err(error) = begun {
            errors.add(error);
        }
    }

    /// Reads the next batch if the current one is written.
    fn fill(&mut self, errors: &mut Errors<'_>) {
        while self.from == self.batch.len() && !self.ended {
            self.from = 0;
            match self.reader.next(&mut self.batch) {
                Ok(more) => self.ended = !more,
                Err(error) => errors.add(error),
            }
        }
    }

    /// The next points up to `until`.
    fn take(&mut self, until: i64) -> ColumnRef<'_> {
        let from = self.from;
        self.from = self.batch.times().partition_point(|&time| time <= until).max(from);
        self.batch.as_ref().slice(from..self.from)
    }

    /// The next points, `most` or fewer.
    fn take_points(&mut self, most: usize) -> ColumnRef<'_> {
        let from = self.from;
        self.from = from.saturating_add(most).min(self.batch.len());
        self.batch.as_ref().slice(from..self.from)
    }
}

/// The errors of reading `path`.
struct Errors<'p> {
    path: &'p Path,
    any: bool,
    /// The files with blocks of unknown encoders: the reason, and how many blocks. All blocks of such a file fail, so they are
    /// reported together.
    unknown: BTreeMap<PathBuf, (String, u64)>,
}

impl<'p> Errors<'p> {
    fn new(path: &'p Path) -> Self {
        Self { path, any: false, unknown: BTreeMap::new() }
    }

    /// Reports an error with the path of its file.
    fn add(&mut self, error: Error) {
        self.any = true;
        if let ErrorKind::Tsm(block) = error.kind()
            && matches!(block.kind(), tsmith_tsm::ErrorKind::UnknownEncoder { .. })
        {
            let file = error.path().unwrap_or(self.path).to_owned();
            self.unknown.entry(file).or_insert_with(|| (block.kind().to_string(), 0)).1 += 1;
            return;
        }
        Failure::from(error).complain_of(self.path);
    }

    /// Reports the blocks of unknown encoders. Returns true if there was any error.
    fn finish(self) -> bool {
        for (file, (reason, blocks)) in self.unknown {
            complain(&format!("{}: {reason}: {} left out", file.display(), count(blocks, "block")));
        }
        self.any
    }
}
