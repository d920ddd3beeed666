//! Shows tombstones: keys and the time ranges deleted from them.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::repair::unfinished_delete;
use tsmith_engine::{Registry, TimeRange};
use tsmith_tsm::{TOMBSTONE_BYTES_MAX, Tombstone, Tombstones};
use tsmith_wal::fs::OsFs;

use crate::clock::rfc3339_text;
use crate::exit::{Failure, Result};
use crate::output::{Out, count};
use crate::problem::Problem;
use crate::read;

/// Limit of the bytes of keys that are shown. A gzip member of one megabyte can expand to a gigabyte.
const KEY_BYTES_MAX: usize = 256 << 20;

/// The content of a tombstone file.
#[derive(Serialize)]
pub(super) struct Content {
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u8>,
    records: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
    /// Whether the error is only the torn tail of a delete that the log still has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    torn: bool,
}

#[derive(Serialize)]
struct Record {
    key: String,
    min: i64,
    max: i64,
}

/// Reads a file. `wal` is the directory of the log that belongs to it.
pub(super) fn inspect(path: &Path, wal: Option<&Path>, registry: &Registry) -> Result<Content> {
    let bytes = read::within(path, TOMBSTONE_BYTES_MAX).map_err(|error| Failure::io(path, &error))?;
    let data = path.parent().unwrap_or(Path::new(""));
    let log = wal.map(|wal| registry.log_reader(&OsFs, data, wal));
    let torn = unfinished_delete(&OsFs, path, log.as_ref()).is_some();
    let mut content =
        Content { bytes: bytes.len() as u64, version: None, records: Vec::new(), error: None, torn };
    let tombstones = match Tombstones::new(&bytes) {
        Ok(tombstones) => tombstones,
        Err(error) => {
            content.error = Some(Problem::from(&error));
            return Ok(content);
        }
    };
    content.version = Some(tombstones.version());
    let mut key_bytes = 0;
    for tombstone in tombstones {
        match tombstone {
            Ok(Tombstone { key, range }) => {
                key_bytes += key.len() + size_of::<Record>();
                if key_bytes > KEY_BYTES_MAX {
                    let reason = "the file has more than 256 MiB of keys: the rest is not shown".to_owned();
                    content.error = Some(Problem::new(reason));
                    break;
                }
                content.records.push(Record {
                    key: to_text(&key).into_owned(),
                    min: range.min,
                    max: range.max,
                });
            }
            Err(error) => content.error = Some(Problem::from(&error)),
        }
    }
    Ok(content)
}

impl Content {
    pub(super) fn is_corrupt(&self) -> bool {
        self.error.is_some() && !self.torn
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let version = self.version.map_or_else(|| "?".to_owned(), |version| version.to_string());
        let records = count(self.records.len() as u64, "record");
        let written = writeln!(out.text(), "  tombstones version {version}, {} bytes, {records}", self.bytes);
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        for Record { key, min, max } in &self.records {
            let times = if TimeRange::new(*min, *max) == TimeRange::ALL {
                "all times".to_owned()
            } else {
                format!("{} to {}", rfc3339_text(*min), rfc3339_text(*max))
            };
            let written = writeln!(out.text(), "    {times}  {}", printable(key));
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
            out.spill()?;
        }
        if let Some(error) = &self.error {
            let what = if self.torn { "torn tail, left by a crash:" } else { "ERROR" };
            let written = writeln!(out.text(), "  {what} {error}");
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        }
        Ok(())
    }
}
