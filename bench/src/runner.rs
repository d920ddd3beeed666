//! Benchmarks of one layer. Inputs, flags and JSON fields equal those of the Go driver that times InfluxDB's layers.

pub(crate) mod cache;
pub(crate) mod codec;
pub(crate) mod engine;
pub(crate) mod parse;
pub(crate) mod read;
pub(crate) mod replay;
pub(crate) mod wal;
