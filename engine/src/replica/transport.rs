//! Transports that carry messages between replicas.
//!
//! Raft tolerates lost, late, repeated and reordered messages, but not altered ones.

mod tcp;

pub use tcp::{FRAME_BYTES_MAX, Tcp};

/// Sends messages to replicas by id. It never blocks; messages that cannot be sent are dropped.
pub trait Transport: Send + 'static {
    /// Sends `message` to replica `to`.
    fn send(&self, to: u64, message: Vec<u8>);
}
