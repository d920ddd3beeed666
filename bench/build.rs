//! Records the compiler and its flags, which every report of a run names.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = Command::new(var("RUSTC")).arg("--version").output();
    let version =
        rustc.map_or_else(|_| "unknown".into(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    println!("cargo:rustc-env=TSMITH_RUSTC={version}");
    let flags = var("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ");
    let flags = format!("{}, {}, opt-level {} {flags}", var("TARGET"), var("PROFILE"), var("OPT_LEVEL"));
    println!("cargo:rustc-env=TSMITH_FLAGS={}", flags.trim());
}
