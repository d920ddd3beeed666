//! The `tsmith` command with the parts of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    tsmith::main(outside::registry())
}
