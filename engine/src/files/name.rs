//! The names of TSM files and of the files beside them.

use std::fmt;
use std::path::{Path, PathBuf};

/// Highest generation or sequence in a file name. With nine digits, names sort by number.
pub(crate) const NUMBER_MAX: u64 = 999_999_999;

/// Name of a TSM file: `%09d-%09d.tsm`, generation and sequence. Names sort by age, newest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// Counts snapshots. A compaction keeps the highest generation of its inputs.
    pub generation: u64,
    /// Counts the files and compactions of a generation, from 1.
    pub sequence: u64,
}

impl FileName {
    /// Parses a file name. `None` if it is not exactly the name of a TSM file.
    pub fn parse(name: &str) -> Option<Self> {
        let (generation, sequence) = name.strip_suffix(".tsm")?.split_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { generation: number(generation)?, sequence: number(sequence)? })
    }

    /// The temporary name under which the file is written.
    pub(crate) fn temporary(self) -> String {
        format!("{self}.tmp")
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:09}-{:09}.tsm", self.generation, self.sequence)
    }
}

/// The original name of a TSM file: strips the suffix of a quarantined (`*.tsm.bad`, `*.tsm.2.bad`) or
/// rescued (`*.tsm.rescued`) file. `None` for any other name.
pub fn tsm_name_of(name: &str) -> Option<&str> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let live = match name.strip_suffix(".bad").map(|stem| (stem, stem.rsplit_once('.'))) {
        Some((_, Some((stem, number)))) if is_number(number) => stem,
        Some((stem, _)) => stem,
        None => name.strip_suffix(RESCUED_SUFFIX).unwrap_or(name),
    };
    live.strip_suffix(".tsm").map(|_| live)
}

/// Suffix of the file that holds what `repair` kept of a quarantined file. No engine reads it.
pub(crate) const RESCUED_SUFFIX: &str = ".rescued";

/// Where the tombstones of the TSM file at `path` are, also if it is quarantined or rescued.
pub fn tombstones_of(path: &Path) -> PathBuf {
    let live = path.file_name().and_then(|name| tsm_name_of(name.to_str()?));
    live.map_or(path.to_owned(), |name| path.with_file_name(name)).with_extension("tombstone")
}

/// Whether InfluxDB reads a file of this name as a TSM file although it never writes such a name: two numbers
/// of up to 32 bits with any number of digits, and anything after a dot.
pub fn is_misnamed(name: &str) -> bool {
    let number = |text: &str| !text.starts_with('+') && text.parse::<u32>().is_ok();
    let numbers = name.strip_suffix(".tsm").and_then(|stem| stem.split('.').next()?.split_once('-'));
    let reads = numbers.is_some_and(|(generation, sequence)| number(generation) && number(sequence));
    reads && FileName::parse(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_tsm_files() {
        let name = FileName::parse("000000012-000000003.tsm").expect("a name");
        assert_eq!((name.generation, name.sequence), (12, 3));
        assert_eq!(name.to_string(), "000000012-000000003.tsm");
        for other in [
            "1-1.tsm",
            "000000012-000000003.tsm.tmp",
            "000000012-000000003.tsm.bad",
            "+00000012-000000003.tsm",
            ".tsm",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }
}
