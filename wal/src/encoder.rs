//! Encodes records as frames, outside the lock of a log.

use std::fmt::Debug;

use parking_lot::Mutex;
use tsmith_codecs::Batch;

use crate::{Compression, Record, Result};

/// Encodes records as frames, into reusable buffers.
pub(crate) trait FrameEncoder: Debug + Send {
    /// An encoder for a log with this option. InfluxDB's segments always use snappy.
    fn new(compression: Compression) -> Self;

    /// The frame of `record`, without the parts that only the group's leader knows.
    ///
    /// # Errors
    /// The payload is longer than [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX).
    fn encode(&mut self, record: Record<'_>) -> Result<&[u8]>;

    /// The frame of a write of `batch`, in the format's layout.
    ///
    /// # Errors
    ///
    /// A key or the batch is larger than the layout can represent.
    fn encode_write(&mut self, batch: &Batch<'_>) -> Result<&[u8]>;

    /// Capacity of the buffers in bytes.
    fn buffer_bytes(&self) -> usize;
}

/// The encoders of a log: as many as threads ever appended at once. In the steady state none is created.
#[derive(Debug)]
pub(crate) struct Encoders<E> {
    compression: Compression,
    idle: Mutex<Vec<Box<E>>>,
}

impl<E: FrameEncoder> Encoders<E> {
    /// An encoder with larger buffers is dropped after use.
    const BUFFER_BYTES_MAX: usize = 16 << 20;

    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, idle: Mutex::new(Vec::new()) }
    }

    /// Passes an encoder to `encode` for exclusive use, and keeps it for a later append.
    pub(crate) fn with<R>(&self, encode: impl FnOnce(&mut E) -> R) -> R {
        // Boxed, so that an append does not move a compressor's tables.
        let idle = self.idle.lock().pop();
        let mut encoder = idle.unwrap_or_else(|| Box::new(E::new(self.compression)));
        let done = encode(&mut encoder);
        if encoder.buffer_bytes() <= Self::BUFFER_BYTES_MAX {
            self.idle.lock().push(encoder);
        }
        done
    }
}
