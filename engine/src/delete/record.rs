//! A delete as the log stores it: its points, the files that get tombstones, and how it is split into
//! records.

use tsmith_codecs::{FieldKey, TimeRange};

use crate::files::name::FileName;

/// Maximum bytes of keys in one record. A larger delete takes several records, which count only if all are
/// present.
const RECORD_KEY_BYTES: usize = 8 << 20;

/// Prefix of a pseudo-key that names a file to which the delete adds tombstones. It has no series, so nothing
/// can be stored under it. InfluxDB does not find it in its cache and ignores it.
const FILE_MARK: &[u8] = b"tsmith.tombstone ";

/// Prefix of a pseudo-key that numbers the records of a delete with several records.
const PART_MARK: &[u8] = b"tsmith.part ";

/// Deleted points: all points of these ascending composite keys inside the range.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) range: TimeRange,
}

/// A delete that was read from the log.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) deletion: Deletion,
    /// The files that get tombstones, and the length of each tombstone file before the delete.
    pub(crate) files: Vec<(FileName, u64)>,
}

/// Splits the keys into records of limited size.
pub(super) fn parts(keys: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let (mut parts, mut rest) = (Vec::new(), keys);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|key| {
            bytes += key.len();
            bytes <= RECORD_KEY_BYTES
        });
        let (these, later) = rest.split_at(fit.count().max(1));
        parts.push(these);
        rest = later;
    }
    parts
}

pub(super) fn part_mark(part: usize, of: usize) -> Vec<u8> {
    [PART_MARK, format!("{part} {of}").as_bytes()].concat()
}

fn read_part_mark(key: FieldKey<'_>) -> Option<(u64, u64)> {
    let mark = key.field.strip_prefix(PART_MARK).filter(|_| key.series.is_empty())?;
    let (part, of) = std::str::from_utf8(mark).ok()?.split_once(' ')?;
    Some((part.parse().ok()?, of.parse().ok()?))
}

/// The deletes of a log, while it is replayed.
#[derive(Debug, Default)]
pub(crate) struct Deletes {
    /// Deletes that are complete.
    pub(crate) complete: Vec<Replayed>,
    /// A delete with missing parts, and how many parts were read.
    begun: Option<(Replayed, u64)>,
}

impl Deletes {
    /// Takes a record. Returns true if it completes a delete.
    pub(crate) fn take(&mut self, keys: &[FieldKey<'_>], range: TimeRange) -> bool {
        let mut read = Replayed::new(keys, range);
        let Some((part, of)) = keys.iter().rev().find_map(|&key| read_part_mark(key)) else {
            self.interrupt();
            self.complete.push(read);
            return true;
        };
        match self.begun.take() {
            Some((mut begun, parts)) if parts + 1 == part && begun.deletion.range == range => {
                begun.deletion.keys.append(&mut read.deletion.keys);
                read = begun;
            }
            None if part == 1 => {}
            // The first part is missing: a crash removed it, or salvage dropped it.
            begun => {
                tracing::warn!(part, of, had = ?begun.map(|(_, parts)| parts), "a part of a delete is missing, so the delete is dropped");
                if part != 1 {
                    return false;
                }
            }
        }
        if part < of {
            self.begun = Some((read, part));
            return false;
        }
        self.complete.push(read);
        true
    }

    /// Another record follows. The incomplete delete was never acknowledged.
    pub(crate) fn interrupt(&mut self) {
        if let Some((_, parts)) = self.begun.take() {
            tracing::warn!(parts, "dropped an incomplete delete");
        }
    }
}

pub(super) fn file_mark(name: FileName, tombstone_bytes: u64) -> Vec<u8> {
    [FILE_MARK, format!("{name} {tombstone_bytes}").as_bytes()].concat()
}

fn read_file_mark(key: FieldKey<'_>) -> Option<(FileName, u64)> {
    let mark = key.field.strip_prefix(FILE_MARK).filter(|_| key.series.is_empty())?;
    let (name, bytes) = std::str::from_utf8(mark).ok()?.split_once(' ')?;
    Some((FileName::parse(name)?, bytes.parse().ok()?))
}

impl Replayed {
    /// Whether it deleted points from this file.
    pub(crate) fn names(&self, file: FileName) -> bool {
        self.files.iter().any(|(name, _)| *name == file)
    }

    /// Separates the keys of a record from its marks.
    pub(crate) fn new(keys: &[FieldKey<'_>], range: TimeRange) -> Self {
        let files = keys.iter().filter_map(|&key| read_file_mark(key)).collect();
        let is_mark = |key| read_file_mark(key).is_some() || read_part_mark(key).is_some();
        let keys = keys.iter().filter(|&&key| !is_mark(key));
        let mut keys: Vec<Vec<u8>> = keys.map(|key| key.to_composite()).collect();
        keys.sort_unstable();
        Self { deletion: Deletion { keys, range }, files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_delete_come_back_from_its_keys() {
        let name = FileName { generation: 12, sequence: 3 };
        let mark = file_mark(name, 4711);
        let keys =
            [FieldKey::new(b"cpu,host=b", b"f"), FieldKey::new(b"", &mark), FieldKey::new(b"cpu", b"f")];
        let replayed = Replayed::new(&keys, TimeRange::new(1, 2));
        assert_eq!(replayed.files, [(name, 4711)]);
        assert_eq!(replayed.deletion.keys, [b"cpu#!~#f".to_vec(), b"cpu,host=b#!~#f".to_vec()]);
        // In a series, a field of such a name is an ordinary field.
        let alike = [FieldKey::new(b"m", &mark), FieldKey::new(b"", b"tsmith.tombstone 7")];
        let replayed = Replayed::new(&alike, TimeRange::ALL);
        assert_eq!((replayed.files.len(), replayed.deletion.keys.len()), (0, 2));
    }

    /// Story: after a crash, a delete with many keys was partly carried out.
    #[test]
    fn a_delete_of_several_records_is_atomic() {
        let range = TimeRange::new(1, 2);
        let file = file_mark(FileName { generation: 1, sequence: 1 }, 0);
        let marks: Vec<Vec<u8>> = (1..=3).map(|part| part_mark(part, 3)).collect();
        let names = [&b"a"[..], b"b", b"c"];
        let record = |part: usize| {
            [FieldKey::new(names[part], b"f"), FieldKey::new(b"", &file), FieldKey::new(b"", &marks[part])]
        };
        let mut deletes = Deletes::default();
        assert!(!deletes.take(&record(0), range) && !deletes.take(&record(1), range));
        assert!(deletes.complete.is_empty() && deletes.take(&record(2), range));
        assert_eq!(deletes.complete[0].deletion.keys, [&b"a#!~#f"[..], b"b#!~#f", b"c#!~#f"]);
        assert_eq!(deletes.complete[0].files.len(), 1);
        // Cut off; started twice; a part is missing; the first part is missing; a part is repeated.
        for parts in [&[0, 1][..], &[0, 0, 1], &[0, 2], &[1, 2], &[0, 1, 1, 2]] {
            let mut deletes = Deletes::default();
            let complete = parts.iter().filter(|&&part| deletes.take(&record(part), range)).count();
            assert_eq!((complete, deletes.complete.len()), (0, 0), "{parts:?}");
            assert!(deletes.take(&[FieldKey::new(b"z", b"f")], range), "later deletes are complete");
            assert!(!deletes.take(&record(2), range), "{parts:?}: interrupted");
        }
        let mut deletes = Deletes::default();
        let _ = deletes.take(&record(0), range);
        deletes.interrupt();
        assert!(!deletes.take(&record(1), range) && !deletes.take(&record(2), range));
        let twice = [0, 0, 1, 2].map(|part| deletes.take(&record(part), range));
        assert_eq!(twice, [false, false, false, true], "the first attempt is dropped");
    }

    #[test]
    fn parts_hold_all_keys_in_order() {
        let keys: Vec<Vec<u8>> =
            (0..2000_u32).map(|n| [&n.to_be_bytes()[..], &[b'k'; 9000]].concat()).collect();
        let parts = parts(&keys);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.concat(), keys);
    }
}
