//! The `tsmith` command with the parts of this repository.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Many threads grow the cache at once, and each snapshot frees all of it. The system's allocator would return the pages
/// to the kernel each time and fault them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tsmith::main(tsmith_engine::Registry::standard())
}
