//! The records of a segment without their checksums.

use super::EtcdError;
use super::frame::{Frame, RawRecord};

/// The records of a segment's bytes as they stand there, not checked against a checksum, up to the end of the log
/// or the first that is no record.
#[derive(Debug)]
pub struct RawRecords<'a> {
    bytes: &'a [u8],
    at: u64,
    ended: bool,
}

impl<'a> RawRecords<'a> {
    /// The records of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// Those from this offset on.
    pub(super) fn starting_at(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at, ended: false }
    }

    /// Where the next one would begin.
    pub fn offset(&self) -> u64 {
        self.at
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, EtcdError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let frame = Frame::at(self.bytes, self.at).transpose()?;
        let record = frame.and_then(|frame| frame.record());
        match &record {
            Ok(record) => self.at = record.end(),
            Err(_) => self.ended = true,
        }
        Some(record)
    }
}
