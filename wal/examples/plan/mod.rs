//! Runs the operations of a plan, one JSON object per line.

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use tsmith_wal::etcd::{
    DiskStorage, Entry, EntryKind, HardState, SnapshotRecord, Snapshotter, Storage, Wal, WalOptions,
};
use tsmith_wal::fs::OsFs;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Runs the operations of the plan in `dir`.
pub(crate) fn play(plan: &str, dir: &Path) -> Result<()> {
    let mut player =
        Player { dir, options: WalOptions::default(), last: SnapshotRecord::default(), open: None };
    for (number, line) in plan.lines().enumerate() {
        let step = serde_json::from_str(line).map_err(Into::into).and_then(|op| player.step(&op));
        step.map_err(|error| format!("line {}: {error}", number + 1))?;
    }
    Ok(())
}

struct Player<'a> {
    dir: &'a Path,
    options: WalOptions,
    /// The last snapshot record of the plan.
    last: SnapshotRecord,
    open: Option<DiskStorage>,
}

impl Player<'_> {
    fn step(&mut self, op: &Value) -> Result<()> {
        match text(&op["op"])? {
            "create" => {
                let metadata = hex(&op["metadata"])?;
                self.options = WalOptions { segment_bytes: number(&op["segment_bytes"])?, ..self.options };
                let wal = Wal::create(OsFs, self.dir, metadata.as_deref(), self.options)?;
                self.open = Some(self.storage(wal));
            }
            "save" => {
                let state = state(&op["state"])?;
                let entries = op["entries"].as_array().map_or(&[][..], Vec::as_slice);
                let entries = entries.iter().map(entry).collect::<Result<Vec<_>>>()?;
                self.storage_mut()?.save(&state, &entries)?;
            }
            "snapshot" => {
                // Plans have no snapshot files, so only the record is written.
                self.last = SnapshotRecord::new(number(&op["index"])?, number(&op["term"])?);
                let record = self.last.clone();
                self.storage_mut()?.wal().save_snapshot(&record)?;
            }
            "reopen" => {
                self.close()?;
                let (wal, _) = Wal::open(OsFs, self.dir, &self.last, self.options)?;
                self.open = Some(self.storage(wal));
            }
            "close" => self.close()?,
            other => return Err(format!("unknown operation {other}").into()),
        }
        Ok(())
    }

    fn storage(&self, wal: Wal) -> DiskStorage {
        DiskStorage::new(wal, Snapshotter::new(OsFs, &self.dir.with_extension("snap")))
    }

    fn storage_mut(&mut self) -> Result<&mut DiskStorage> {
        self.open.as_mut().ok_or_else(|| "the log is not open".into())
    }

    fn close(&mut self) -> Result<()> {
        Ok(self.open.take().ok_or("the log is not open")?.close()?)
    }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| format!("expected text, found {value}").into())
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().ok_or_else(|| format!("expected a number, found {value}").into())
}

fn hex(value: &Value) -> Result<Option<Vec<u8>>> {
    if value.is_null() {
        return Ok(None);
    }
    let digits = text(value)?;
    let bytes = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some((char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?) as u8),
        _ => None,
    });
    let bytes = bytes
        .collect::<Option<_>>()
        .ok_or_else(|| format!("expected pairs of hex digits, found {digits:?}"))?;
    Ok(Some(bytes))
}

fn state(value: &Value) -> Result<HardState> {
    if value.is_null() {
        return Ok(HardState::default());
    }
    let [term, vote, commit] = ["term", "vote", "commit"].map(|name| number(&value[name]));
    Ok(HardState { term: term?, vote: vote?, commit: commit? })
}

fn entry(value: &Value) -> Result<Entry> {
    Ok(Entry {
        kind: EntryKind(i32::try_from(number(&value["type"])?)?),
        term: number(&value["term"])?,
        index: number(&value["index"])?,
        data: hex(&value["data"])?.map(Bytes::from),
    })
}
