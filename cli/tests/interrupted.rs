//! System calls that a signal interrupts. `strace` injects the interruption, if it is installed.

use std::path::Path;
use std::process::{Command, Stdio};

/// Calls that can return EINTR. Reads and opens are excluded, because the loader of the program makes them too.
const CALLS: &str = "fsync,fdatasync,msync,ftruncate,fallocate,flock,fcntl,rename,unlink,mkdir";

/// Story: a signal during an opening made it fail with "Interrupted system call". Here every second call is interrupted, and
/// the import still succeeds.
#[test]
fn interrupted_calls_are_retried() {
    let scratch = tempfile::tempdir().expect("a directory");
    let lines = scratch.path().join("a.lp");
    std::fs::write(&lines, "m v=1.5 1000\nm v=2.5 2000\n").expect("writes");
    let run = |call: &str, log: &str, data: &Path| {
        let trace = scratch.path().join("trace");
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(&trace)
            .args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error=EINTR:when=1+2")])
            .arg(env!("CARGO_BIN_EXE_tsmith"))
            .arg("import")
            .args([data, &lines])
            .args(["--log", log])
            .output()
            .expect("runs");
        (output, std::fs::read_to_string(trace).unwrap_or_default())
    };
    let allowed =
        Command::new("strace").args(["-qq", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: strace is not installed, or may not trace");
        return;
    }
    for log in ["file", "mmap", "native", "etcd"] {
        let mut interrupted = 0;
        for call in CALLS.split(',') {
            let data = scratch.path().join(format!("{log}-{call}"));
            // The second run opens the directory of the first one.
            for run in [run(call, log, &data), run(call, log, &data)] {
                let (output, trace) = run;
                assert!(
                    output.status.success(),
                    "{log}, {call}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                interrupted += trace.matches("(INJECTED)").count();
            }
        }
        assert!(interrupted > 20, "{log}: {interrupted} calls were interrupted");
    }
}
