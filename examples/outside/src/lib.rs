//! A storer, a log and an encoder outside the Tsmith workspace, and a registry that contains them.
//!
//! ```sh
//! cargo test                                                             # all laws of the traits, and both programs
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

/// A registry with the parts of Tsmith and of this crate.
pub fn registry() -> Registry {
    Registry::standard()
        .storer::<Sorted>(Sorted::NAME, "one ordered map under one lock")
        .log::<PlainLog>(PlainLog::NAME, "records with a CRC-32, written one by one")
        .encoder::<DeltaZstd>(DeltaZstd::NAME, "differences of times and numbers, compressed with zstd")
}

// A type with a name also works without a registry, as in `Engine::<Sorted, PlainLog, DeltaZstd>::open`.
impl Named for Sorted {
    const NAME: &'static str = "btree";
}

impl Named for PlainLog {
    const NAME: &'static str = "plain";
}

impl Named for DeltaZstd {
    const NAME: &'static str = "delta-zstd";
}
