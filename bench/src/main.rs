//! The benchmarks of Tsmith with the parts of this repository.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The allocator of the `tsmith` command, so that the figures hold for its users.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tsmith_bench::main(tsmith_engine::Registry::standard())
}
