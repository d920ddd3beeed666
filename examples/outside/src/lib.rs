//! A storer, a log and an encoder from outside of the Tsmith workspace, and the registry that has them.
//!
//! ```sh
//! cargo test                                                             # every law of every seam, and both programs
//! cargo run --bin outside -- import DIR FILE.lp --storer btree --log plain --encoder delta-zstd
//! cargo run --release --bin outside-bench -- matrix --storer ring,btree
//! ```

mod delta_zstd;
mod plain;
mod sorted;

pub use delta_zstd::DeltaZstd;
pub use plain::PlainLog;
pub use sorted::Sorted;

use tsmith_engine::Registry;
use tsmith_engine::parts::Named;

/// The parts of Tsmith and those of this crate.
pub fn registry() -> Registry {
    Registry::standard()
        .storer::<Sorted>(Sorted::NAME, "one ordered map under one lock")
        .log::<PlainLog>(PlainLog::NAME, "records with a CRC-32, written as they come")
        .encoder::<DeltaZstd>(DeltaZstd::NAME, "differences of times and numbers through zstd")
}

// With a name a type also serves without a registry, as in `Engine::<Sorted, PlainLog, DeltaZstd>::open`.
impl Named for Sorted {
    const NAME: &'static str = "btree";
}

impl Named for PlainLog {
    const NAME: &'static str = "plain";
}

impl Named for DeltaZstd {
    const NAME: &'static str = "delta-zstd";
}
