//! From a view to rows: the keys that are wanted in the order of their bytes, each in the order of time.

use std::path::Path;

use tsmith_engine::view::View;
use tsmith_engine::{Column, FieldKey, FieldType, TimeRange};

use crate::exit::{Result, complain};
use crate::filter::FilterArgs;
use crate::output::{Field, Rows};
use crate::progress::{Bar, percent};

/// The columns of one series are read together up to about this many blocks of 1000 values; longer series are read in
/// pieces of time, so that memory does not grow with them.
const BLOCKS_AT_ONCE: usize = 4096;

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

/// Files of strangers may hold keys without a separator: series without a field.
fn parse(key: &[u8]) -> FieldKey<'_> {
    FieldKey::parse(key).unwrap_or(FieldKey::new(key, b""))
}

/// Writes all values that are wanted, series by series. True when some could not be read; they were reported.
pub(crate) fn all(
    view: &View,
    path: &Path,
    filter: &FilterArgs,
    rows: &mut Rows,
    bar: &mut Bar,
) -> Result<bool> {
    let keys = wanted_keys(view, filter);
    rows.announce(keys.iter().map(|key| parse(key)));
    let mut reader = view.reader();
    let mut columns: Vec<Column> = Vec::new();
    let mut bad: Vec<bool> = Vec::new();
    let mut done = 0;
    let mut problems = false;
    let joined = rows.joins_fields();
    for group in keys.chunk_by(|a, b| joined && parse(a).series == parse(b).series) {
        columns.resize_with(columns.len().max(group.len()), || Column::new(FieldType::Float));
        bad.clear();
        bad.resize(group.len(), false);
        let windows = if joined { windows(view, group, filter.range()) } else { vec![filter.range()] };
        for window in windows {
            for ((key, column), bad) in group.iter().zip(&mut columns).zip(&mut bad) {
                column.truncate(0);
                if let (false, Err(error)) = (*bad, reader.read(parse(key), window, column)) {
                    complain(&format!("{}: {error}", path.display()));
                    column.truncate(0);
                    (*bad, problems) = (true, true);
                }
            }
            let fields: Vec<Field<'_>> = group
                .iter()
                .zip(&columns)
                .map(|(key, column)| Field { name: parse(key).field, column })
                .collect();
            rows.series(parse(&group[0]).series, &fields)?;
        }
        done += group.len();
        bar.show(|| format!("{} {done} of {} keys", percent(done as u64, keys.len() as u64), keys.len()));
    }
    Ok(problems)
}

/// Writes rows key by key, in this order. True when some could not be read; they were reported.
pub(crate) fn ordered(
    view: &View,
    path: &Path,
    filter: &FilterArgs,
    order: Order,
    rows: &mut Rows,
) -> Result<bool> {
    let keys = wanted_keys(view, filter);
    rows.announce(keys.iter().map(|key| parse(key)));
    let mut reader = view.reader();
    let mut column = Column::new(FieldType::Float);
    let mut left = order.limit.unwrap_or(u64::MAX);
    let mut problems = false;
    for key in &keys {
        if left == 0 {
            break;
        }
        let key = parse(key);
        if let Err(error) = reader.read(key, filter.range(), &mut column) {
            complain(&format!("{}: {error}", path.display()));
            problems = true;
            continue;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(column.len());
        left -= take as u64;
        if order.descending {
            let places: Vec<usize> = (0..column.len()).rev().take(take).collect();
            column = column.as_ref().gather(&places);
        } else {
            column.truncate(take);
        }
        rows.series(key.series, &[Field { name: key.field, column: &column }])?;
    }
    Ok(problems)
}

/// Cuts `range` where blocks of these keys begin, so that each piece holds a bounded number of them.
fn windows(view: &View, keys: &[Vec<u8>], range: TimeRange) -> Vec<TimeRange> {
    let mut starts = Vec::new();
    for file in view.files() {
        for key in keys {
            let entries = file.reader().find(key).into_iter().flat_map(tsmith_tsm::KeyEntry::entries);
            starts.extend(
                entries.map(|entry| entry.range.min).filter(|&min| range.min < min && min <= range.max),
            );
        }
    }
    starts.sort_unstable();
    let mut cuts: Vec<i64> = starts.into_iter().skip(BLOCKS_AT_ONCE).step_by(BLOCKS_AT_ONCE).collect();
    cuts.dedup();
    let mut from = range.min;
    let mut windows = Vec::with_capacity(cuts.len() + 1);
    for cut in cuts {
        windows.push(TimeRange::new(from, cut - 1));
        from = cut;
    }
    windows.push(TimeRange::new(from, range.max));
    windows
}
