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

/// The parts of Tsmith and those of this crate.
pub fn registry() -> Registry {
    Registry::standard()
        .storer::<Sorted>("btree", "one ordered map under one lock")
        .log::<PlainLog>("plain", "records with a CRC-32, written as they come")
        .encoder::<DeltaZstd>("delta-zstd", "differences of times and numbers through zstd")
}
