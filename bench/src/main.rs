//! The benchmarks of Tsmith with the parts of this repository.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// That of the `tsmith` command, so that its users get what is measured.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tsmith_bench::main(tsmith_engine::Registry::standard())
}
