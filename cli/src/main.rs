//! The `tsmith` command with the parts of this repository.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A cache grows from many threads at once and gives all back at each snapshot: the system's allocator would return the
/// pages each time and have them zeroed again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tsmith::main(tsmith_engine::Registry::standard())
}
