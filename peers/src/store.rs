//! Whole stores of other projects: embedded ones in this process, and servers in processes of their own.

mod fjall;
mod http;
mod influxd;
mod lines;
mod redb;
mod rows;
mod server;
mod victoria_metrics;

pub use fjall::Fjall;
pub use influxd::Influxd;
pub use redb::Redb;
pub use victoria_metrics::VictoriaMetrics;
