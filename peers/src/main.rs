//! The matrix with the parts of other projects.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The allocator of `tsmith-bench`, so that the figures of both programs are comparable.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tsmith_peers::bench().main()
}
