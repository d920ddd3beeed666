//! `redb`, a copy-on-write B-tree in one file, in pure Rust. One transaction for each call.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tsmith_bench::{Found, OpenPeer, PeerResult, StorePeer};
use tsmith_codecs::{Batch, FieldKey, SeriesKey, TimeRange};

use super::rows::{self, Columns};

const POINTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("points");

/// The store. It has its default options.
#[derive(Debug)]
pub struct Redb;

impl StorePeer for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn summary(&self) -> String {
        "crate redb 4: a copy-on-write B-tree in one file".into()
    }

    fn promise(&self, durable: bool) -> Option<&'static str> {
        Some(if durable {
            "a power cut: one transaction with `Durability::Immediate` for each call"
        } else {
            "nothing: one transaction with `Durability::None` for each call"
        })
    }

    fn open(&self, dir: &Path, durable: bool) -> PeerResult<Box<dyn OpenPeer>> {
        let database = Database::create(dir.join("points.redb"))?;
        // So that reads find the table.
        let begun = database.begin_write()?;
        begun.open_table(POINTS)?;
        begun.commit()?;
        Ok(Box::new(Open {
            database,
            durability: if durable { Durability::Immediate } else { Durability::None },
        }))
    }
}

struct Open {
    database: Database,
    durability: Durability,
}

impl OpenPeer for Open {
    fn write(&self, batch: &Batch<'_>, _prepared: &[u8]) -> PeerResult {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(POINTS)?;
            rows::of_batch(batch, |key, value| {
                table.insert(key, value)?;
                Ok(())
            })?;
        }
        Ok(transaction.commit()?)
    }

    /// A durable transaction also keeps those before it.
    fn flush(&self) -> PeerResult {
        Ok(self.database.begin_write()?.commit()?)
    }

    fn scan(&self, found: &mut Found<'_>) -> PeerResult {
        let table = self.database.begin_read()?.open_table(POINTS)?;
        let mut columns = Columns::new(found);
        for row in table.iter()? {
            let (key, value) = row?;
            columns.add(key.value(), value.value())?;
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
        let table = self.database.begin_read()?.open_table(POINTS)?;
        let mut columns = Columns::new(found);
        for field in fields {
            let (first, last) = rows::bounds(FieldKey::new(series.0, field), range);
            for row in table.range(&first[..]..=&last[..])? {
                let (key, value) = row?;
                columns.add(key.value(), value.value())?;
            }
        }
        columns.end()
    }

    fn close(self: Box<Self>) -> PeerResult {
        self.flush()
    }
}
