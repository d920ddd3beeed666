//! Plays a plan of operations through the etcd storage: `etcd_replay PLAN DIR`.
//!
//! The directory it leaves is, byte for byte, the one that etcd 3.4 leaves after the same operations. A plan has one JSON
//! object a line; bytes are hex, or null for none:
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
//! A save without `state` is one of entries alone. `snapshot` writes the record of one; `reopen` closes the log and opens it
//! at the last of them.

use std::path::PathBuf;
use std::process::ExitCode;

mod plan;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let [file, dir] = &arguments[..] else {
        eprintln!(
            "usage: etcd_replay PLAN DIR\nplays the operations of PLAN (one JSON object a line: create, save, snapshot, reopen, \
             close; the head of etcd_replay.rs shows each) into the new log DIR"
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
