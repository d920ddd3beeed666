//! Runs a plan of operations on the etcd storage: `etcd_replay PLAN DIR`.
//!
//! The resulting directory equals, byte for byte, the directory that etcd 3.4 writes for the same operations. A plan has
//! one JSON object per line. Bytes are in hex, or null if there are none:
//!
//! ```json
//! {"op":"create","segment_bytes":64000000,"metadata":"6d"}
//! {"op":"save","state":{"term":1,"vote":7,"commit":0},"entries":[{"type":0,"term":1,"index":1,"data":"783d31"}]}
//! {"op":"save","state":{"term":1,"vote":7,"commit":1},"entries":[]}
//! {"op":"snapshot","index":1,"term":1}
//! {"op":"reopen"}
//! {"op":"close"}
//! ```
//!
//! A save without `state` has only entries. `snapshot` appends a snapshot record to the log. `reopen` closes the log and
//! opens it at the last snapshot record.

use std::path::PathBuf;
use std::process::ExitCode;

mod plan;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let [file, dir] = &arguments[..] else {
        eprintln!(
            "usage: etcd_replay PLAN DIR\nRuns the operations of PLAN on the new log DIR. PLAN has one JSON object per line: \
             create, save, snapshot, reopen or close. The docs of the example show each of them."
        );
        return ExitCode::from(2);
    };
    let done = std::fs::read_to_string(file).map_err(Into::into).and_then(|text| plan::play(&text, dir));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
