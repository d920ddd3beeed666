//! `fjall`, a log-structured store of keys and values in pure Rust. One atomic batch for each call.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tsmith_bench::{Found, OpenPeer, PeerResult, StorePeer};
use tsmith_codecs::{Batch, FieldKey, SeriesKey, TimeRange};

use super::rows::{self, Columns};

/// The store. It has its default options.
#[derive(Debug)]
pub struct Fjall;

impl StorePeer for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn summary(&self) -> String {
        "crate fjall 3: a log-structured merge tree of keys and values, lz4".into()
    }

    fn promise(&self, durable: bool) -> Option<&'static str> {
        Some(if durable {
            "a power cut: one batch and one fdatasync of its journal for each call"
        } else {
            "the end of the process: its journal is in the cache of the operating system"
        })
    }

    fn open(&self, dir: &Path, durable: bool) -> PeerResult<Box<dyn OpenPeer>> {
        let database = Database::builder(dir).open()?;
        let points = database.keyspace("points", KeyspaceCreateOptions::default)?;
        Ok(Box::new(Open {
            database,
            points,
            mode: if durable { PersistMode::SyncData } else { PersistMode::Buffer },
        }))
    }
}

struct Open {
    points: Keyspace,
    database: Database,
    mode: PersistMode,
}

impl OpenPeer for Open {
    fn write(&self, batch: &Batch<'_>, _prepared: &[u8]) -> PeerResult {
        let mut rows = self.database.batch().durability(Some(self.mode));
        rows::of_batch(batch, |key, value| {
            rows.insert(&self.points, key, value);
            Ok(())
        })?;
        Ok(rows.commit()?)
    }

    fn flush(&self) -> PeerResult {
        Ok(self.points.rotate_memtable_and_wait()?)
    }

    fn scan(&self, found: &mut Found<'_>) -> PeerResult {
        let mut columns = Columns::new(found);
        for row in self.points.iter() {
            let (key, value) = row.into_inner()?;
            columns.add(&key, &value)?;
        }
        columns.end()
    }

    fn range(
        &self,
        series: SeriesKey<'_>,
        fields: &[&[u8]],
        range: TimeRange,
        found: &mut Found<'_>,
    ) -> PeerResult {
        let mut columns = Columns::new(found);
        for field in fields {
            let (first, last) = rows::bounds(FieldKey::new(series.0, field), range);
            for row in self.points.range(first..=last) {
                let (key, value) = row.into_inner()?;
                columns.add(&key, &value)?;
            }
        }
        columns.end()
    }

    fn close(self: Box<Self>) -> PeerResult {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
