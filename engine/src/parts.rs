//! The parts of an engine: their names, and how they are made.

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

use crate::error::{Error, ErrorKind, Result};

/// The names of an engine's parts.
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
    /// The kind and the name of each part.
    pub(crate) fn named(&self) -> [(&'static str, &str); 3] {
        [("storer", &self.storer), ("log", &self.log), ("encoder", &self.encoder)]
    }
}

/// InfluxDB's parts: ring, file and tsm1.
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
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut names = text.split('/').map(str::to_owned);
        match (names.next(), names.next(), names.next(), names.next()) {
            (Some(storer), Some(log), Some(encoder), None) => Ok(Self { storer, log, encoder }),
            _ => Err(Error::new("read parts", ErrorKind::PartsSyntax)),
        }
    }
}

/// A part type with a name. [`Engine::open`](crate::Engine::open) writes it into the manifest.
pub trait Named {
    /// The name in manifests and flags.
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

/// How the parts of an engine are made, and the names for its manifest.
///
/// [`Engine::open`](crate::Engine::open) makes one from types, a [`Registry`](crate::Registry) from names.
pub(crate) struct Factories<S, L: Log + ?Sized, E> {
    /// The names for the manifest.
    pub(crate) names: Parts,
    /// Makes an empty storer: once at opening and once per snapshot.
    pub(crate) storer: Box<dyn Fn() -> S + Send + Sync>,
    /// Opens the log.
    pub(crate) log: LogKind<L>,
    /// Other known logs. A directory must not contain their segments.
    pub(crate) other_logs: Vec<LogKind<L>>,
    /// Makes an encoder for each thread and file.
    pub(crate) encoder: MakeEncoder<E>,
}

/// Makes an encoder.
pub(crate) type MakeEncoder<E> = Arc<dyn Fn() -> E + Send + Sync>;

impl<S: Storer + Default, L: Log, E: BlockEncoder + Default> Factories<S, L, E> {
    /// Factories for these types, under these names.
    pub(crate) fn new(names: Parts) -> Self {
        Self {
            names,
            storer: Box::new(S::default),
            log: LogKind::new(),
            other_logs: Vec::new(),
            encoder: Arc::new(E::default),
        }
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
    fn parts_print_and_parse() {
        let parts: Parts = "hashmap/null/zstd".parse().expect("three names");
        assert_eq!(parts.to_string(), "hashmap/null/zstd");
        assert!("ring/file".parse::<Parts>().is_err() && "a/b/c/d".parse::<Parts>().is_err());
    }

    /// Law: a directory created from types opens by name.
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
