//! Parts of other projects as parts of Tsmith: they run in the matrix beside ours, on the same data.
//!
//! Each part is one file and one line of [`registry`]. The files say which crate the part uses, what it promises, and
//! which promises of our own parts it does not give.

pub mod encoder;
pub mod log;
pub mod store;

use encoder::{Alp, Pco};
use log::{Adapted, Okaywal, RaftEngine, RaftLog};
use store::{Fjall, Influxd, Redb, VictoriaMetrics};
use tsmith_bench::Bench;
use tsmith_engine::Registry;

/// The parts of Tsmith and of other projects.
pub fn registry() -> Registry {
    Registry::standard()
        .log::<Adapted<RaftEngine>>(
            "raft-engine",
            "crate raft-engine 0.4 (TiKV): one fdatasync for many writers, or none",
        )
        .log::<Adapted<Okaywal>>(
            "okaywal",
            "crate okaywal 0.3: one fdatasync for many writers, never none; segments keep free space on disk",
        )
        .log::<Adapted<RaftLog>>(
            "raft-log",
            "crate raft-log 0.4 (Databend): one fdatasync for many writers, or none",
        )
        .encoder::<Pco>("pco", "crate pco 1: times and numbers, level 8; other types as tsm1")
        .encoder::<Alp>("alp", "crate alp 0.0: floats by ALP or ALP-RD; times and other types as tsm1")
}

/// The matrix of all parts and stores. Its default run compares the reference with our best log and encoder, and with the
/// parts and stores of other projects.
pub fn bench() -> Bench {
    Bench::new(registry())
        .store(Fjall)
        .store(Redb)
        .store(Influxd)
        .store(VictoriaMetrics)
        .select("log", &["native", "raft-engine", "okaywal", "raft-log"])
        .select("encoder", &["zstd", "pco", "alp"])
        .select("store", &["fjall", "redb", "influxd", "victoria-metrics"])
}

#[cfg(test)]
mod tests {
    /// The summary of a part names its crate and the version that is built.
    #[test]
    fn summaries_name_crates_and_versions() {
        let lock = include_str!("../Cargo.lock");
        let ours = tsmith_engine::Registry::standard().names();
        for ((_, parts), (_, ours)) in super::registry().names().into_iter().zip(ours) {
            for (name, summary) in parts.into_iter().filter(|part| !ours.contains(part)) {
                let words: Vec<&str> = summary.split([' ', ':', ',']).collect();
                let entry = format!("name = \"{}\"\nversion = \"{}.", words[1], words[2]);
                assert!(words[0] == "crate" && lock.contains(&entry), "{name}: {summary}");
            }
        }
    }
}
