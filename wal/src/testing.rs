//! The laws of every log.

/// The laws of every log.
#[macro_export]
macro_rules! log_suite {
    ($Log:ty) => {};
}
/// The laws of a log that keeps what it confirmed.
#[macro_export]
macro_rules! durable_suite {
    ($Log:ty) => {};
}
pub use {durable_suite, log_suite};
