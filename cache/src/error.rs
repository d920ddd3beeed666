//! Why the cache refused a batch, and what to do about it.

use tsmith_codecs::{FieldKey, FieldType};

/// The result of admitting a batch.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the cache refused a batch. The cache then holds nothing of the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values would exceed the memory limit.
    #[error(
        "cache-max-memory-size exceeded: ({}/{limit}): {used} bytes are cached and the batch needs {needed}; {}",
        used.saturating_add(*needed),
        if needed > limit { "split the batch or raise the limit" }
        else { "write again after a snapshot has freed memory, or raise the limit" }
    )]
    Full {
        /// Bytes in the cache, including the frozen store.
        used: u64,
        /// Bytes of the batch.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// The batch would have to wait for memory, but the cache was closed.
    #[error(
        "the cache was closed while the batch waited for memory; write it again after opening the engine"
    )]
    Closed,
    /// The column already has another type, from cached values or from a batch admitted before.
    #[error(
        "field type conflict: {} is cached as {existing}, the batch has {incoming}; write it as {existing}, or use another field name",
        String::from_utf8_lossy(key)
    )]
    TypeConflict {
        /// The composite key of the column.
        key: Vec<u8>,
        /// The type of the column.
        existing: FieldType,
        /// The type in the batch.
        incoming: FieldType,
    },
}

impl Error {
    /// A type conflict in the column of `key`.
    pub fn type_conflict(key: FieldKey<'_>, existing: FieldType, incoming: FieldType) -> Self {
        Self::TypeConflict { key: key.to_composite(), existing, incoming }
    }

    /// Whether the same batch may fit later, after a snapshot has freed memory.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full { needed, limit, .. } if needed <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_begins_with_the_text_of_influxdb() {
        let full = Error::Full { used: 90, needed: 20, limit: 100 };
        let text = full.to_string();
        assert!(text.starts_with("cache-max-memory-size exceeded: (110/100)"), "{text}");
        assert!(full.is_transient());
        let never = Error::Full { used: 0, needed: 200, limit: 100 };
        assert!(!never.is_transient());
    }

    #[test]
    fn a_conflict_names_the_key_and_both_types() {
        let key = FieldKey::new(b"cpu,host=a", b"usage");
        let text = Error::type_conflict(key, FieldType::Float, FieldType::Integer).to_string();
        for part in ["cpu,host=a#!~#usage", "float", "integer"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
