//! A delete as the log has it: its points, the files that get tombstones, and the records it takes.

use tsmith_codecs::{FieldKey, TimeRange};

use crate::files::name::FileName;

/// Keys of one record of the log together; a delete of more takes several records, which count only when all are there.
const RECORD_KEY_BYTES: usize = 8 << 20;

/// What a key begins with that is none, but names a file to which the delete gives tombstones. It has no series, so
/// that nothing can be stored under it; InfluxDB finds nothing of that name in its cache and goes on.
const FILE_MARK: &[u8] = b"tsmith.tombstone ";

/// What a key begins with that is none, but says which part of a delete of several records this one is.
const PART_MARK: &[u8] = b"tsmith.part ";

/// Points that are deleted: of these composite keys, which ascend, all inside the range.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) range: TimeRange,
}

/// A delete that the log holds.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) deletion: Deletion,
    /// The files it gave tombstones, and where those of each ended before.
    pub(crate) files: Vec<(FileName, u64)>,
}

/// The keys in records that are not too long.
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
    /// Those that are whole.
    pub(crate) whole: Vec<Replayed>,
    /// One of which parts are missing yet, and how many were there.
    begun: Option<(Replayed, u64)>,
}

impl Deletes {
    /// Takes a record; true when it is a delete, or the last part of one.
    pub(crate) fn take(&mut self, keys: &[FieldKey<'_>], range: TimeRange) -> bool {
        let mut read = Replayed::new(keys, range);
        let Some((part, of)) = keys.iter().rev().find_map(|&key| read_part_mark(key)) else {
            self.interrupt();
            self.whole.push(read);
            return true;
        };
        match self.begun.take() {
            Some((mut begun, parts)) if parts + 1 == part && begun.deletion.range == range => {
                begun.deletion.keys.append(&mut read.deletion.keys);
                read = begun;
            }
            None if part == 1 => {}
            // The beginning is missing: a crash took it, or a salvage left it out.
            begun => {
                tracing::warn!(part, of, had = ?begun.map(|(_, parts)| parts), "a part of a delete is missing: left out");
                if part != 1 {
                    return false;
                }
            }
        }
        if part < of {
            self.begun = Some((read, part));
            return false;
        }
        self.whole.push(read);
        true
    }

    /// Something else follows: what has begun was never acknowledged.
    pub(crate) fn interrupt(&mut self) {
        if let Some((_, parts)) = self.begun.take() {
            tracing::warn!(parts, "a delete that was not finished is left out");
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
    /// Whether it took points from this file.
    pub(crate) fn names(&self, file: FileName) -> bool {
        self.files.iter().any(|(name, _)| *name == file)
    }

    /// A delete as the log has it.
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
        // A field of such a name is a field, in whatever series.
        let alike = [FieldKey::new(b"m", &mark), FieldKey::new(b"", b"tsmith.tombstone 7")];
        let replayed = Replayed::new(&alike, TimeRange::ALL);
        assert_eq!((replayed.files.len(), replayed.deletion.keys.len()), (0, 2));
    }

    /// A delete of many keys was several deletes to a crash.
    #[test]
    fn a_delete_of_several_records_is_whole_or_absent() {
        let range = TimeRange::new(1, 2);
        let file = file_mark(FileName { generation: 1, sequence: 1 }, 0);
        let marks: Vec<Vec<u8>> = (1..=3).map(|part| part_mark(part, 3)).collect();
        let names = [&b"a"[..], b"b", b"c"];
        let record = |part: usize| {
            [FieldKey::new(names[part], b"f"), FieldKey::new(b"", &file), FieldKey::new(b"", &marks[part])]
        };
        let mut deletes = Deletes::default();
        assert!(!deletes.take(&record(0), range) && !deletes.take(&record(1), range));
        assert!(deletes.whole.is_empty() && deletes.take(&record(2), range));
        assert_eq!(deletes.whole[0].deletion.keys, [&b"a#!~#f"[..], b"b#!~#f", b"c#!~#f"]);
        assert_eq!(deletes.whole[0].files.len(), 1);
        // Cut off, then others; begun again; with a hole; without a beginning.
        for parts in [&[0, 1][..], &[0, 0, 1], &[0, 2], &[1, 2], &[0, 1, 1, 2]] {
            let mut deletes = Deletes::default();
            let whole = parts.iter().filter(|&&part| deletes.take(&record(part), range)).count();
            assert_eq!((whole, deletes.whole.len()), (0, 0), "{parts:?}");
            assert!(deletes.take(&[FieldKey::new(b"z", b"f")], range), "others are as they were");
            assert!(!deletes.take(&record(2), range), "{parts:?}: interrupted");
        }
        let mut deletes = Deletes::default();
        let _ = deletes.take(&record(0), range);
        deletes.interrupt();
        assert!(!deletes.take(&record(1), range) && !deletes.take(&record(2), range));
        let twice = [0, 0, 1, 2].map(|part| deletes.take(&record(part), range));
        assert_eq!(twice, [false, false, false, true], "the first attempt is forgotten");
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
