//! `--self-check`: runs the matrix several times, and cells that are equal.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::args::Args;
use super::directory::Directory;
use crate::failure::Failure;
use crate::out;
use crate::report::summary::Summary;
use crate::report::trust::Trust;

/// Runs with the default cells.
const RUNS: u64 = 3;

/// Runs in which the reference is compared with itself, on the smaller dataset.
const EQUAL_RUNS: u64 = 20;
const EQUAL_ARGS: [&str; 5] = ["--alias", "--filter", "alias", "--dataset", "nyc_weather"];

/// Time of a run of equal cells: this part of that of a whole run.
const EQUAL_PART: u32 = 5;

/// Runs the check and prints its figures.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let dir = Directory::choose(args)?.path;
    let equal_time = args.time / EQUAL_PART;
    let total = args.time * RUNS as u32 + equal_time * EQUAL_RUNS as u32;
    out::note(format_args!(
        "This takes about {:.0} minutes: {RUNS} runs of {} s, and {EQUAL_RUNS} runs of {} s that compare the reference with \
         itself. The results go to {}.",
        total.as_secs_f64() / 60.0,
        args.time.as_secs(),
        equal_time.as_secs(),
        dir.display()
    ));
    let all = |name: &str, count: u64, time: Duration, more: &[&str]| -> Result<Vec<Summary>, Failure> {
        let one = |seed: u64| {
            out::note(format_args!("{name} {seed} of {count}"));
            let to = dir.join(format!("{name}-{seed}"));
            let mut command = command(time, args.seed.wrapping_add(seed))?;
            run_matrix(command.args(more).arg("--out").arg(&to))?;
            Summary::read(&to.join("summary.json"))
        };
        (1..=count).map(one).collect()
    };
    let runs = all("run", RUNS, args.time, &[])?;
    let equal = all("equal", EQUAL_RUNS, equal_time, &EQUAL_ARGS)?;
    out::print(format_args!("{}\n", Trust::new(&runs, &equal)));
    Ok(())
}

/// This program, for one run.
fn command(time: Duration, seed: u64) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Io(format!("cannot find the path of this program: {error}")))?;
    let mut command = Command::new(program);
    command.args(["matrix", "--progress", "never"]);
    command.arg("--time").arg(format!("{}ms", time.as_millis())).arg("--seed").arg(seed.to_string());
    Ok(command)
}

fn run_matrix(command: &mut Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::Io(format!("cannot start a run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Broken(vec![format!("a run ended with {}: {}", output.status, text.trim())]))
}
