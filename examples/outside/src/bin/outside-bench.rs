//! The matrix and the benchmarks of each layer, with the parts of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    tsmith_bench::main(outside::registry())
}
