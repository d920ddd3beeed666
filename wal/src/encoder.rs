//! Encoding records as frames, outside the lock of a log.

use std::fmt::Debug;

use parking_lot::Mutex;
use tsmith_codecs::Batch;

use crate::{Compression, Record, Result};

/// Encodes records as frames, into buffers that it keeps for the next ones.
pub trait FrameEncoder: Debug + Send {
    /// An encoder for a log with this option; InfluxDB's segments have snappy in any case.
    fn new(compression: Compression) -> Self;

    /// The frame of `record`, without the parts that only the leader of its group knows.
    ///
    /// # Errors
    /// The payload is longer than [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX).
    fn encode(&mut self, record: Record<'_>) -> Result<&[u8]>;

    /// The frame of the write of `batch`, in the layout of the format.
    ///
    /// # Errors
    /// A key or the batch is larger than the layout can say.
    fn encode_write(&mut self, batch: &Batch<'_>) -> Result<&[u8]>;

    /// How many bytes the buffers take.
    fn buffer_bytes(&self) -> usize;
}

/// The encoders of a log: as many as threads ever appended at the same time. None is made in the steady state.
#[derive(Debug)]
pub(crate) struct Encoders<E> {
    compression: Compression,
    idle: Mutex<Vec<Box<E>>>,
}

impl<E: FrameEncoder> Encoders<E> {
    /// An encoder with larger buffers is not kept.
    const BUFFER_BYTES_MAX: usize = 16 << 20;

    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, idle: Mutex::new(Vec::new()) }
    }

    /// Gives an encoder that nobody else uses to `encode`, and keeps it for a later append.
    pub(crate) fn with<R>(&self, encode: impl FnOnce(&mut E) -> R) -> R {
        // Boxed: an append should not move the tables of a compressor.
        let idle = self.idle.lock().pop();
        let mut encoder = idle.unwrap_or_else(|| Box::new(E::new(self.compression)));
        let done = encode(&mut encoder);
        if encoder.buffer_bytes() <= Self::BUFFER_BYTES_MAX {
            self.idle.lock().push(encoder);
        }
        done
    }
}
