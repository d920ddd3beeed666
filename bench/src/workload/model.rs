//! What a store must hold after all batches, to compare it with what the store returns.

use std::collections::BTreeMap;

use tsmith_codecs::{Batch, Column, FieldKey};

use super::digest::{Contents, digest_of};
use super::queries::{Query, by_series};
use crate::error::Result;
use crate::peer::{Keeps, OpenPeer, StorePeer};

/// The points of every key in order of time. Of several points of one time, the last one.
#[derive(Debug)]
pub(super) struct Model(BTreeMap<Vec<u8>, Column>);

impl Model {
    pub(super) fn of(batches: &[Batch<'_>]) -> Result<Self> {
        let mut columns: BTreeMap<Vec<u8>, Column> = BTreeMap::new();
        for (key, data) in batches.iter().flat_map(Batch::columns) {
            let column = columns.entry(key.to_composite()).or_insert_with(|| Column::new(data.field_type()));
            column.extend(data).map_err(|_| format!("{key}: values of two types"))?;
        }
        columns.values_mut().for_each(Column::sort_dedup);
        Ok(Self(columns))
    }

    /// The queries of the workload `range`.
    pub(super) fn queries(&self) -> Result<Vec<Query>> {
        let keys = by_series(self.0.keys().cloned())?;
        Query::random_of(keys, |key| Ok(self.0[key].times().to_vec()))
    }

    /// Values that a store returns for a query.
    pub(super) fn values_in(&self, query: &Query, peer: &dyn StorePeer) -> u64 {
        let kept = |key: &&Vec<u8>| peer.keeps(self.0[*key].field_type()) != Keeps::Nothing;
        let inside = |key: &Vec<u8>| self.0[key].as_ref().within(query.range).len() as u64;
        query.keys.iter().filter(kept).map(inside).sum()
    }

    /// Reads everything back. Other values than those of the batches are an error. The second value says whether every bit was
    /// compared.
    pub(super) fn check(&self, peer: &dyn StorePeer, open: &dyn OpenPeer) -> Result<(Contents, bool)> {
        let (mut found, mut wrong) = (Contents::default(), None);
        let exact = self.0.values().all(|column| peer.keeps(column.field_type()) == Keeps::Exactly);
        open.scan(&mut |key, column| {
            let composite = key.to_composite();
            if exact && wrong.is_none() {
                wrong = self.difference(key, &composite, column);
            }
            found.add(&composite, column);
        })?;
        if let Some(wrong) = wrong {
            return Err(wrong.into());
        }
        let kept = self.0.values().filter(|column| peer.keeps(column.field_type()) != Keeps::Nothing);
        let expected: usize = kept.map(Column::len).sum();
        if found.values != expected as u64 {
            return Err(format!("reads back {} values of {expected}", found.values).into());
        }
        Ok((found, exact))
    }

    fn difference(&self, key: FieldKey<'_>, composite: &[u8], column: &Column) -> Option<String> {
        let Some(expected) = self.0.get(composite) else {
            return Some(format!("{key}: was never written"));
        };
        let same = digest_of(composite, column) == digest_of(composite, expected);
        (!same).then(|| {
            let (found, expected) = (column.len(), expected.len());
            format!("{key}: reads back {found} points that are not the {expected} that were written")
        })
    }
}
