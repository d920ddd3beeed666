//! The matrix: each part beside its alternatives, on real data; and each layer alone, beside its peer.
//!
//! `matrix` is the main job. The other sub-commands time one layer with the inputs, flags and JSON fields of the driver
//! that measures InfluxDB's own layers, so that one script can join two runs.

mod door;
mod drive;
mod inputs;
mod matrix;
mod measure;
mod report;
mod row;
mod stats;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// That of the `tsmith` command, so that its users get what is measured.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What may end a measurement early. A benchmark has one thing to do about it: say so and stop.
type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Benchmarks of Tsmith: the matrix of all parts, and each layer beside its peer.
#[derive(Debug, Parser)]
#[command(name = "tsmith-bench", max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // No text here: it would replace the longer one of its arguments.
    Matrix(Box<matrix::Args>),
    #[command(hide = true)]
    Cell(Box<matrix::CellArgs>),
    /// Writes the generated columns that `codec` reads.
    Gen(inputs::GenArgs),
    /// Writes generated line protocol.
    Lines(inputs::LinesArgs),
    /// Encodes and decodes blocks of 1000 values.
    Codec(drive::codec::Args),
    /// Parses line protocol into batches.
    Parse(drive::parse::Args),
    /// Writes ready batches to the cache.
    Cache(drive::cache::Args),
    /// Appends batches to a log until they are durable.
    Wal(drive::wal::Args),
    /// Loads a log into an empty cache.
    Replay(drive::replay::Args),
    /// Writes points to an engine, and snapshots them.
    Engine(drive::engine::Args),
    /// Scans and queries what `engine` wrote.
    Read(drive::read::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Matrix(args) => matrix::run(&args),
        Command::Cell(args) => matrix::run_cell(&args),
        Command::Gen(args) => inputs::write_columns(&args),
        Command::Lines(args) => inputs::write_lines(&args),
        Command::Codec(args) => drive::codec::run(&args),
        Command::Parse(args) => {
            drive::parse::run(&args);
            Ok(())
        }
        Command::Cache(args) => drive::cache::run(&args),
        Command::Wal(args) => drive::wal::run(&args),
        Command::Replay(args) => drive::replay::run(&args),
        Command::Engine(args) => drive::engine::run(&args),
        Command::Read(args) => drive::read::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tsmith-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `10ms`, `4s`, `1m30s`: durations as flags give them.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let bad = || format!("`{text}` is no duration: give a number and ms, s or m, such as 90s or 1m30s");
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |len| digits + len);
        total += number
            * match &rest[digits..unit_end] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(bad()),
            };
        rest = &rest[unit_end..];
    }
    if text.is_empty() { Err(bad()) } else { Duration::try_from_secs_f64(total).map_err(|_| bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "s", "5x", "1.2.3s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
