//! The result type of the benchmarks.

/// A benchmark reports any error and stops.
pub(crate) type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
