//! The `tsmith` command: time-series directories in and out of line protocol, inspected, checked and summed up.
//!
//! One file a verb. Data goes to stdout, all else to stderr. Verbs that read change nothing on disk, and refuse a
//! directory that a running engine holds.

mod advice;
mod args;
mod clock;
mod compact;
mod context;
mod delete;
mod dump;
mod etcd;
mod exit;
mod export;
mod filter;
mod holder;
mod import;
mod inspect;
mod log;
mod output;
mod place;
mod problem;
mod progress;
mod query;
mod read;
mod repair;
mod shard_types;
mod snapshot;
mod source;
mod stats;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::progress::When;

/// Time-series directories: InfluxDB 1.x shards and Tsmith's own.
///
/// Data goes to stdout, all else to stderr. Exit code: 0 fine, 1 problems found (rejected lines, corruption), 2 usage,
/// 74 input or output failed, or a path is missing or a directory without a TSM file, log and manifest.
#[derive(Debug, Parser)]
#[command(name = "tsmith", version, subcommand_required = true, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,

    /// Show progress on stderr: a bar on a terminal; with `always` and no terminal, plain lines.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    progress: When,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Import(import::Import),
    Export(export::Export),
    Query(query::Query),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Stats(stats::Stats),
    Snapshot(snapshot::Snapshot),
    Compact(compact::CompactArgs),
    Delete(delete::Delete),
    Repair(repair::RepairArgs),
}

/// The program `tsmith`.
pub fn main() -> ExitCode {
    let Command { verb, progress } = Command::parse();
    log::to_stderr();
    let done = match verb {
        Verb::Import(verb) => verb.run(progress),
        Verb::Export(verb) => verb.run(progress),
        Verb::Query(verb) => verb.run(),
        Verb::Inspect(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(progress),
        Verb::Stats(verb) => verb.run(progress),
        Verb::Snapshot(verb) => verb.run(),
        Verb::Compact(verb) => verb.run(),
        Verb::Delete(verb) => verb.run(),
        Verb::Repair(verb) => verb.run(),
    };
    exit::code(done)
}
