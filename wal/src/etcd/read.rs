//! Reads a member's log without opening it. Nothing is locked or changed, so another process can be writing
//! to it.

use std::path::Path;

use super::fold::{Contents, Entries, Fold};
use super::frame::kind;
use super::names;
use super::proto::{Head, NUMBER, message};
use super::walk::walk;
use super::{EtcdError, EtcdSegments, RawRecords, SnapshotRecord, Strictness};
use crate::directory::read_segment;
use crate::fs::Fs;
use crate::{Error, Result};

/// The content of the log in `dir` after the snapshot `start`. A torn tail ends the log and is not an error.
pub fn read<F: Fs>(fs: &F, dir: &Path, start: &SnapshotRecord) -> Result<Contents> {
    let (contents, stopped) = read_prefix(fs, dir, start)?;
    stopped.map_or(Ok(contents), Err)
}

/// The content up to the place where etcd would fail, and the error.
pub(crate) fn read_prefix<F: Fs>(
    fs: &F,
    dir: &Path,
    start: &SnapshotRecord,
) -> Result<(Contents, Option<Error>)> {
    let names = names::from_index(fs, dir, start.index)?;
    let mut fold = Fold::new(Entries::Keep(start), names[0]);
    let walk = walk(fs, dir, &names, &mut fold)?;
    let refused = || fold.refuses_start(start).map(|error| Error::from(error).at_path(dir));
    let stopped = walk.corruption(Strictness::Etcd).or_else(refused);
    Ok((Contents { tail: walk.tail(), ..fold.contents }, stopped))
}

/// The metadata in the first segment: what was given to [`Wal::create`](super::Wal::create). Checksums are
/// not verified.
pub fn metadata<F: Fs>(fs: &F, dir: &Path) -> Result<Option<Vec<u8>>> {
    let path = dir.join(names::segments(fs, dir)?[0].file_name());
    let bytes = read_segment::<EtcdSegments, F>(fs, &path)?;
    for record in RawRecords::new(&bytes) {
        let record = record.map_err(|error| Error::from(error).at_path(&path))?;
        if record.kind == kind::METADATA {
            return Ok(record.data.map(<[u8]>::to_vec));
        }
    }
    Err(Error::from(EtcdError::Headless).at_path(&path))
}

/// Whether the log in `dir` belongs to a member of etcd itself, which has a database beside its snapshots.
/// Such a log's metadata holds only the numbers of the member and of its cluster.
pub fn is_member<F: Fs>(fs: &F, dir: &Path) -> bool {
    metadata(fs, dir).is_ok_and(|found| found.is_some_and(|found| is_of_member(&found)))
}

pub(super) fn is_of_member(metadata: &[u8]) -> bool {
    let Ok([node, cluster]) = message("metadata", [NUMBER; 2], metadata) else { return false };
    let (node, cluster) = (node.or_zero(), cluster.or_zero());
    node != 0 && cluster != 0 && *Head([(0x08, node), (0x10, cluster)]).encode() == *metadata
}

/// The committed snapshots that the log names, oldest first. The log can be opened at each of them whose
/// segments exist. Segments may be purged meanwhile. As in etcd, the log ends at the first torn record of any
/// segment.
pub fn valid_snapshot_entries<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<SnapshotRecord>> {
    known_snapshots(fs, dir, Strictness::Etcd)
}

/// The same, but fails on what `strictness` considers corruption.
pub(super) fn known_snapshots<F: Fs>(
    fs: &F,
    dir: &Path,
    strictness: Strictness,
) -> Result<Vec<SnapshotRecord>> {
    loop {
        let names = names::segments(fs, dir)?;
        let mut fold = Fold::new(Entries::Ignore, names[0]);
        match walk(fs, dir, &names, &mut fold) {
            // Purging removes segments from the front.
            Err(error) if error.is_missing() && names::segments(fs, dir)?.first() > names.first() => {}
            walk => return walk?.corruption(strictness).map_or_else(|| Ok(fold.committed()), Err),
        }
    }
}
