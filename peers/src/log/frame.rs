//! [`Frame`]: a record as the other crate stores it.

use tsmith_wal::{Error, ErrorKind, Record, RecordKind, Result};

/// ```text
/// ┌─────────────┬───────────┬─────────┐
/// │ number <8B> │ kind <1B> │ payload │      the number is little-endian
/// └─────────────┴───────────┴─────────┘
/// ```
/// The kind is that of the record. 0 is a mark: it has no payload, is not replayed, and keeps its number in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame(Vec<u8>);

const HEAD_BYTES: usize = 9;
const MARK: u8 = 0;

impl Frame {
    pub(super) fn record(number: u64, record: Record<'_>) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + record.payload.len());
        bytes.extend(number.to_le_bytes());
        bytes.push(record.kind.tag());
        bytes.extend(record.payload);
        Self(bytes)
    }

    pub(super) fn mark(number: u64) -> Self {
        Self([&number.to_le_bytes()[..], &[MARK]].concat())
    }

    /// What the crate read.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self> {
        let is_known = bytes.get(HEAD_BYTES - 1).is_some_and(|&kind| {
            RecordKind::from_tag(kind).is_some() || (kind == MARK && bytes.len() == HEAD_BYTES)
        });
        if is_known {
            Ok(Self(bytes))
        } else {
            Err(Error::new(ErrorKind::Corrupt { expected: "a number, a kind and a payload" }))
        }
    }

    pub(super) fn number(&self) -> u64 {
        number(&self.0)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// `None` for a mark.
    pub(super) fn as_record(&self) -> Option<Record<'_>> {
        let kind = RecordKind::from_tag(self.0[HEAD_BYTES - 1])?;
        Some(Record { kind, payload: &self.0[HEAD_BYTES..] })
    }
}

/// The number of a frame, which begins with it.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}
