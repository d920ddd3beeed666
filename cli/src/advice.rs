//! What the user can do about a log that does not open.

use std::path::Path;

use tsmith_wal::ErrorKind;
use tsmith_wal::etcd::is_segment;

/// The corruption of a log, without advice. The engine's own text advises programs, not users of the command.
pub(crate) fn log_corruption(error: &tsmith_wal::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::CorruptSegment { found } => {
            Some(format!("{found}, with intact records after it: corruption, not a torn write"))
        }
        ErrorKind::MissingSegment => Some("a segment with records is missing before this one".to_owned()),
        ErrorKind::Missing { first, last } => {
            let records = if first == last {
                format!("record {first} is")
            } else {
                format!("records {first} to {last} are")
            };
            Some(format!("{records} missing before this segment: a segment file was lost or emptied"))
        }
        ErrorKind::Refused(source) => {
            // The offset of this error counts from the start of the record's content.
            let reason = match source.downcast_ref::<tsmith_wal::Error>() {
                Some(inner) => match inner.offset() {
                    Some(offset) => format!("byte {offset} of its content: {}", inner.kind()),
                    None => inner.kind().to_string(),
                },
                None => source.to_string(),
            };
            Some(format!("this valid record cannot be replayed: {reason}"))
        }
        _ => None,
    }
}

/// The corruption of a log, and what to do about it on the command line.
pub(crate) fn log_advice(error: &tsmith_wal::Error) -> Option<String> {
    let corruption = log_corruption(error)?;
    let path = error.path().map_or_else(String::new, |path| format!("{}: ", path.display()));
    let offset = error.offset().map_or_else(String::new, |offset| format!("offset {offset}: "));
    let is_etcds = error.path().and_then(Path::file_name).is_some_and(is_segment);
    let way = if is_etcds {
        "run `tsmith snapshot --recovery salvage`, which writes the valid records to TSM files and truncates the log"
    } else {
        "run `tsmith repair` (with --dry-run first); `tsmith snapshot --recovery salvage` works without a repair"
    };
    Some(format!(
        "{path}{offset}{corruption}. Nothing was changed. Restore the file from a backup, or {way}. See docs/recovery.md"
    ))
}
