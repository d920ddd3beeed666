//! Plays a plan of operations through the etcd storage: `etcd_replay PLAN DIR`.
//!
//! The directory it leaves is, byte for byte, the one that etcd 3.4 leaves after the same operations.

use std::path::Path;
use std::process::ExitCode;

mod plan;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, dir] = &arguments[..] else {
        eprintln!(
            "usage: etcd_replay PLAN DIR\nplays the operations of PLAN (JSON lines) into the new log DIR"
        );
        return ExitCode::from(2);
    };
    let done =
        std::fs::read_to_string(file).map_err(Into::into).and_then(|text| plan::play(&text, Path::new(dir)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}
