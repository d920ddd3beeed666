//! What carries messages between replicas.
//!
//! Raft expects them to get lost, to come late, twice and in another order; it does not expect other bytes.

mod network;
mod tcp;

pub use network::{Faults, Network};
pub use tcp::{FRAME_BYTES_MAX, Tcp, read_frame, write_frame};

/// Sends messages to replicas by their id. Never waits: what cannot be sent is dropped.
pub trait Transport: Send + 'static {
    /// Sends `message` to replica `to`.
    fn send(&self, to: u64, message: Vec<u8>);
}
