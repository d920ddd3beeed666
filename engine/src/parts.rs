//! The implementations of this workspace, and the names by which directories and commands know them.

use std::any::{TypeId, type_name};
use std::fmt;
use std::str::FromStr;

pub use tsmith_cache::{Empty, OneMap, Ring};
pub use tsmith_codecs::{Raw, Snappy, Tsm1, Tsm1Batch, Zstd};
pub use tsmith_wal::{FileLog, MmapLog, NativeLog, NullLog};

use tsmith_cache::{STORERS, Storer, StorerVisitor, with_storer};
use tsmith_codecs::{BlockEncoder, EncoderEntry, Encoders};
use tsmith_wal::{LOGS, Log, LogVisitor, with_log};

/// The names of the parts an engine is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parts {
    /// Name of the storer.
    pub storer: String,
    /// Name of the log.
    pub log: String,
    /// Name of the encoder.
    pub encoder: String,
}

impl Parts {
    /// The names of these types; an implementation from elsewhere goes by its path.
    pub fn of<S: Storer, L: Log, E: BlockEncoder>() -> Self {
        let storer = STORERS.iter().find(|(name, _)| with_storer(name, Is(TypeId::of::<S>())) == Some(true));
        let log = LOGS.iter().find(|(name, _)| with_log(name, Is(TypeId::of::<L>())) == Some(true));
        let encoders = Encoders::standard();
        let encoder = encoders.iter().find(|entry| entry.is::<E>()).map(EncoderEntry::name);
        let name =
            |found: Option<&(&'static str, &str)>, path: &str| found.map_or(path, |found| found.0).to_owned();
        Self {
            storer: name(storer, type_name::<S>()),
            log: name(log, type_name::<L>()),
            encoder: encoder.unwrap_or(type_name::<E>()).to_owned(),
        }
    }

    /// Each part with what it is a part of.
    pub(crate) fn named(&self) -> [(&'static str, &str); 3] {
        [("storer", &self.storer), ("log", &self.log), ("encoder", &self.encoder)]
    }
}

/// Ring, file and tsm1: InfluxDB's.
impl Default for Parts {
    fn default() -> Self {
        Self { storer: "ring".to_owned(), log: "file".to_owned(), encoder: "tsm1".to_owned() }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.storer, self.log, self.encoder)
    }
}

impl FromStr for Parts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = text.split('/').map(str::to_owned);
        match (names.next(), names.next(), names.next(), names.next()) {
            (Some(storer), Some(log), Some(encoder), None) => Ok(Self { storer, log, encoder }),
            _ => Err("expected STORER/LOG/ENCODER, as in ring/file/tsm1"),
        }
    }
}

/// Asks each registered implementation whether it is this type.
struct Is(TypeId);

impl StorerVisitor for Is {
    type Out = bool;

    fn visit<T: Storer>(self) -> bool {
        TypeId::of::<T>() == self.0
    }
}

impl LogVisitor for Is {
    type Out = bool;

    fn visit<T: Log>(self) -> bool {
        TypeId::of::<T>() == self.0
    }
}

#[cfg(test)]
mod tests {
    use tsmith_wal::fs::SimFs;

    use super::*;

    #[test]
    fn parts_read_as_they_print() {
        let parts: Parts = "hashmap/null/zstd".parse().expect("three names");
        assert_eq!(parts.to_string(), "hashmap/null/zstd");
        assert!("ring/file".parse::<Parts>().is_err() && "a/b/c/d".parse::<Parts>().is_err());
    }

    #[test]
    fn types_have_the_names_of_their_registry_lines() {
        assert_eq!(Parts::of::<OneMap, NullLog, Zstd>().to_string(), "hashmap/null/zstd");
        assert_eq!(Parts::of::<Ring, FileLog, Tsm1>(), Parts::default());
        assert!(Parts::of::<Ring, FileLog<SimFs>, Tsm1>().log.contains("SimFs"));
    }
}
