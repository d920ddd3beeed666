//! Cutting a torn tail off.

use std::path::{Path, PathBuf};

use super::read::{Walk, Wiped, walk};
use super::{names, pipeline};
use crate::directory::lock;
use crate::fs::{Fs, FsFile, create_temporary};
use crate::{Error, Result};

/// What [`repair`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairReport {
    /// The last segment: the only one that a crash can tear, and the only one that is looked at.
    pub path: PathBuf,
    /// The copy of the segment as it was, if something was cut off.
    pub copy: Option<PathBuf>,
    /// The end of its last whole record.
    pub offset: u64,
    /// Bytes that were cut off, zeros at the end not counted.
    pub lost_bytes: u64,
    /// Whole records among them, at least. A write of many records may leave some when the power goes; so does damage
    /// in the midst of the segment, and then they are lost.
    pub later_records: u64,
    /// Whether they show that more was durable than is kept: then it was damage for certain.
    pub acknowledged: bool,
}

/// Cuts what is torn off the end of the log, after copying the segment to `<name>.broken`. Does nothing to a log that
/// ends well. Files that were to become segments go first: on a full disk the copy takes their space.
///
/// An error is what cutting does not mend: damage in the last segment. Damage in an earlier one is not
/// looked for, and the next reading tells it.
pub fn repair<F: Fs>(fs: &F, dir: &Path) -> Result<RepairReport> {
    let names = names::segments(fs, dir)?;
    let last = names.len() - 1;
    let path = dir.join(names[last].file_name());
    let at = |operation| move |error| Error::io(operation, error);
    let file = fs.open(&path).map_err(|error| at("open")(error).at_path(&path))?;
    lock(&file, &path)?;
    let end = walk(fs, dir, &names[last..], |_, _| Ok(()))?;
    let mut report = RepairReport {
        path: path.clone(),
        copy: None,
        offset: end.offset,
        lost_bytes: 0,
        later_records: 0,
        acknowledged: false,
    };
    match &end.flaw {
        None => return Ok(report),
        Some(flaw) if !flaw.is_torn() => return end.error().map_or(Ok(report), Err),
        Some(_) => end.damage().map_or(Ok(()), Err)?,
    }
    pipeline::remove_unused(fs, dir)?;
    let copy = dir.join(format!("{}.broken", names[last].file_name()));
    let len = file.len().map_err(|error| at("look at")(error).at_path(&path))?;
    copy_durably(fs, &end, len, &copy).map_err(|error| at("copy")(error).at_path(&copy))?;
    let cut = file.set_len(end.offset).and_then(|()| file.sync_all());
    cut.map_err(|error| at("cut")(error).at_path(&path))?;
    report.copy = Some(copy);
    if let Some(Wiped { bytes, records, acknowledged, .. }) = end.behind() {
        (report.lost_bytes, report.later_records, report.acknowledged) = (bytes, records, acknowledged);
    }
    tracing::warn!(
        path = %path.display(), report.offset, report.lost_bytes, report.later_records, "cut the torn tail"
    );
    Ok(report)
}

/// The copy is there, whole, before the original is cut; until then an earlier one stays.
pub(super) fn copy_durably<F: Fs>(fs: &F, end: &Walk, len: u64, copy: &Path) -> std::io::Result<()> {
    let (temporary, file) = create_temporary(fs, copy)?;
    let written = file.write_all_at(&end.bytes, 0).and_then(|()| file.set_len(len));
    let published = written.and_then(|()| fs.publish(&file, &temporary, copy));
    published.inspect_err(|_| drop(fs.remove(&temporary)))
}
