//! The parts that an engine is made of: their names, and how they are made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use tsmith_cache::{DynStorer, Empty, OneMap, Ring};
pub use tsmith_codecs::{DynEncoder, Raw, Snappy, Tsm1, Tsm1Batch, Zstd};
pub use tsmith_wal::{DynLog, EtcdLog, FileLog, MmapLog, NativeLog, NullLog};

use tsmith_cache::Storer;
use tsmith_codecs::BlockEncoder;
use tsmith_wal::fs::Fs;
use tsmith_wal::{Log, LogKind};

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

/// A part that has a name by its type, which [`Engine::open`](crate::Engine::open) writes into the manifest.
pub trait Named {
    /// The name.
    const NAME: &'static str;
}

macro_rules! named {
    ($($Part:ident $(<$F:ident>)? = $name:literal),+ $(,)?) => {
        $(impl $(<$F: Fs>)? Named for $Part $(<$F>)? {
            const NAME: &'static str = $name;
        })+
    };
}

named! {
    Ring = "ring", OneMap = "hashmap", Empty = "empty",
    FileLog<F> = "file", MmapLog<F> = "mmap", EtcdLog<F> = "etcd", NativeLog<F> = "native", NullLog<F> = "null",
    Tsm1 = "tsm1", Tsm1Batch = "tsm1-batch", Raw = "raw", Snappy = "snappy", Zstd = "zstd",
}

/// How the parts of an engine are made, and the names that its manifest keeps.
///
/// [`Engine::open`](crate::Engine::open) makes one from types, a [`Registry`](crate::Registry) from names.
pub struct Factories<S, L: Log + ?Sized, E> {
    /// The names.
    pub names: Parts,
    /// Makes an empty storer: the first one, and one for each snapshot.
    pub storer: Box<dyn Fn() -> S + Send + Sync>,
    /// Opens the log.
    pub log: LogKind<L>,
    /// Other logs, of which a directory without a manifest must not hold one.
    pub other_logs: Vec<LogKind<L>>,
    /// Makes an encoder, for each thread and file that needs one.
    pub encoder: MakeEncoder<E>,
}

/// Makes an encoder.
pub type MakeEncoder<E> = Arc<dyn Fn() -> E + Send + Sync>;

impl<S: Storer + Default, L: Log, E: BlockEncoder + Default> Factories<S, L, E> {
    /// Those of the types, under these names.
    pub fn new(names: Parts) -> Self {
        Self {
            names,
            storer: Box::new(S::default),
            log: LogKind::new(),
            other_logs: Vec::new(),
            encoder: Arc::new(E::default),
        }
    }
}

impl<S, L: Log + ?Sized, E> fmt::Debug for Factories<S, L, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factories").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tsmith_cache::StorerEntry;
    use tsmith_codecs::EncoderEntry;
    use tsmith_wal::LogEntry;

    use super::*;
    use crate::Registry;

    #[test]
    fn parts_read_as_they_print() {
        let parts: Parts = "hashmap/null/zstd".parse().expect("three names");
        assert_eq!(parts.to_string(), "hashmap/null/zstd");
        assert!("ring/file".parse::<Parts>().is_err() && "a/b/c/d".parse::<Parts>().is_err());
    }

    /// Law: a directory that was made by types opens by name.
    #[test]
    fn types_have_the_names_of_the_registry() {
        let registry = Registry::standard();
        let storers: Vec<_> = registry.storers().iter().map(StorerEntry::name).collect();
        assert_eq!(storers, [Ring::NAME, OneMap::NAME, Empty::NAME]);
        let logs: Vec<_> = registry.logs().iter().map(LogEntry::name).collect();
        let of_types = [
            <FileLog as Named>::NAME,
            <MmapLog as Named>::NAME,
            <EtcdLog as Named>::NAME,
            <NativeLog as Named>::NAME,
            <NullLog as Named>::NAME,
        ];
        assert_eq!(logs, of_types);
        let encoders: Vec<_> = registry.encoders().iter().map(EncoderEntry::name).collect();
        assert_eq!(encoders, [Tsm1::NAME, Tsm1Batch::NAME, Raw::NAME, Snappy::NAME, Zstd::NAME]);
    }
}
