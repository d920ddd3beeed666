//! Which series and times the workloads `range` and `delete` take. They are the same in every cell.

use std::collections::BTreeMap;

use tsmith_codecs::{Column, FieldType, TimeRange};

use crate::adapter::{Store, field_key};
use crate::error::Result;
use crate::inputs::Rng;

/// Queries of one repetition.
const QUERIES: usize = 200;

/// Calls of one repetition that delete.
const DELETES: usize = 20;

const HOUR: i64 = 3_600_000_000_000;

/// The keys of each series.
pub(super) type Keys = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

fn keys_by_series(store: &Store) -> Result<Keys> {
    by_series(store.keys())
}

/// Sorts keys by series.
pub(super) fn by_series(keys: impl IntoIterator<Item = Vec<u8>>) -> Result<Keys> {
    let mut all = Keys::new();
    for key in keys {
        let series = field_key(&key)?.series.to_vec();
        all.entry(series).or_default().push(key);
    }
    for keys in all.values_mut() {
        keys.sort_unstable();
    }
    Ok(all)
}

/// All fields of one series in one hour.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) range: TimeRange,
}

impl Query {
    /// Random series, each with an hour that begins at one of its points.
    pub(super) fn random(store: &Store) -> Result<Vec<Self>> {
        let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
        Self::random_of(keys_by_series(store)?, |key| {
            reader.read(field_key(key)?, TimeRange::ALL, &mut column)?;
            Ok(column.times().to_vec())
        })
    }

    /// The same, from the keys of each series and the times of a key.
    pub(super) fn random_of(
        keys: Keys,
        mut times_of: impl FnMut(&[u8]) -> Result<Vec<i64>>,
    ) -> Result<Vec<Self>> {
        let series: Vec<Vec<Vec<u8>>> = keys.into_values().collect();
        let mut rng = Rng::named("range");
        let mut queries = Vec::with_capacity(QUERIES);
        for _ in 0..QUERIES {
            let keys = series[rng.below(series.len() as u64) as usize].clone();
            let times = times_of(&keys[0])?;
            let begin = times[rng.below(times.len() as u64) as usize];
            queries.push(Self { keys, range: TimeRange::new(begin, begin.saturating_add(HOUR - 1)) });
        }
        Ok(queries)
    }
}

/// Deletes of a part of each of some series.
#[derive(Debug)]
pub(super) struct Deletes {
    of: Vec<(Vec<u8>, TimeRange)>,
    /// Points that they delete.
    pub(super) values: u64,
}

impl Deletes {
    /// Ranges of random series, in the half of their points that is neither at the begin nor at the end. With few series, there
    /// are several ranges of each.
    pub(super) fn random(store: &Store) -> Result<Self> {
        let mut series: Vec<(Vec<u8>, Vec<Vec<u8>>)> = keys_by_series(store)?.into_iter().collect();
        Rng::named("delete").shuffle(&mut series);
        series.truncate(DELETES);
        let rounds = DELETES.div_ceil(series.len());
        let (mut reader, mut column) = (store.reader(), Column::new(FieldType::Float));
        let mut all = Self { of: Vec::new(), values: 0 };
        for round in 0..rounds {
            for (series, keys) in &series {
                reader.read(field_key(&keys[0])?, TimeRange::ALL, &mut column)?;
                let times = column.times();
                let at = |round| times[times.len() / 4 + times.len() / 2 * round / rounds];
                let (begin, next) = (at(round), at(round + 1));
                let range = TimeRange::new(begin, begin.max(next.saturating_sub(1)));
                for key in keys {
                    reader.read(field_key(key)?, range, &mut column)?;
                    all.values += column.len() as u64;
                }
                all.of.push((series.clone(), range));
            }
        }
        Ok(all)
    }

    pub(super) fn run(&self, store: &Store) -> Result {
        self.of.iter().try_for_each(|(series, range)| store.delete(series, *range))
    }
}
