//! What ends a measurement early.

/// A benchmark has one thing to do about an error: say so and stop.
pub(crate) type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
