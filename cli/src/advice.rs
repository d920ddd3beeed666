//! What to do about a log that does not open.

use std::path::Path;

use tsmith_wal::ErrorKind;
use tsmith_wal::etcd::SegmentName;

/// What is wrong with a log, if it is damaged, without what a program could do about it.
pub(crate) fn log_damage(error: &tsmith_wal::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::Damaged { found } => {
            Some(format!("{found}, with intact records after it: damage, not a torn write"))
        }
        ErrorKind::Missing { first, last } => Some(format!(
            "records {first} to {last} are missing before this segment: a file is gone, or was emptied"
        )),
        _ => None,
    }
}

/// What is wrong with a log, if it is damaged, and what to do about it on the command line.
pub(crate) fn log_advice(error: &tsmith_wal::Error) -> Option<String> {
    let damage = log_damage(error)?;
    let path = error.path().map_or_else(String::new, |path| format!("{}: ", path.display()));
    let offset = error.offset().map_or_else(String::new, |offset| format!("offset {offset}: "));
    let is_etcds = error.path().and_then(Path::file_name).and_then(SegmentName::parse).is_some();
    let way = if is_etcds {
        "`tsmith snapshot` with `--recovery salvage` writes what checks out to TSM files, and lets go of the log"
    } else {
        "`tsmith repair` of the directory keeps what checks out and the file as it was, `--dry-run` says what it would leave \
         out; `import` and `snapshot` go on without it by `--recovery salvage`"
    };
    Some(format!("{path}{offset}{damage}. Nothing was changed. Restore it from a copy; or {way}"))
}
