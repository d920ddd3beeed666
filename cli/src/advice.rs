//! What to do about a log that does not open.

use std::path::Path;

use tsmith_wal::ErrorKind;
use tsmith_wal::etcd::SegmentName;

/// What is wrong with a corrupt log, without what a program could do about it.
pub(crate) fn log_corruption(error: &tsmith_wal::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::CorruptSegment { found } => {
            Some(format!("{found}, with intact records after it: corruption, not a torn write"))
        }
        ErrorKind::Missing { first, last } => Some(format!(
            "records {first} to {last} are missing before this segment: a file is gone, or was emptied"
        )),
        _ => None,
    }
}

/// What is wrong with a corrupt log, and what to do about it on the command line.
pub(crate) fn log_advice(error: &tsmith_wal::Error) -> Option<String> {
    let corruption = log_corruption(error)?;
    let path = error.path().map_or_else(String::new, |path| format!("{}: ", path.display()));
    let offset = error.offset().map_or_else(String::new, |offset| format!("offset {offset}: "));
    let is_etcds = error.path().and_then(Path::file_name).and_then(SegmentName::parse).is_some();
    let way = if is_etcds {
        "`tsmith snapshot` with `--recovery salvage` writes the records that pass their checks to TSM files, and truncates the log"
    } else {
        "`tsmith repair` of the directory keeps the records that pass their checks, and the file as it was; `--dry-run` shows \
         what it would drop; `import` and `snapshot` go on without it by `--recovery salvage`"
    };
    Some(format!("{path}{offset}{corruption}. Nothing was changed. Restore it from a copy; or {way}"))
}
