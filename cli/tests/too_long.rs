//! Sparse files that are longer than the limit of their kind.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Run, Scratch, run};

const LENGTH: u64 = 20_000_000_000;

/// Runs with too little memory to read such a file.
fn limited(verb: &str, path: &Path) -> Run {
    let script = format!("ulimit -v 8000000; exec \"$0\" {verb} \"$1\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tsmith")).arg(path);
    command.output().expect("runs").into()
}

/// Makes the file at `path` sparse and long. Returns false if the file system does not allow that.
fn lengthen(path: &Path) -> bool {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("opens");
    let is_long = file.set_len(LENGTH).is_ok();
    if !is_long {
        eprintln!("skipped: the file system does not allow a file of {LENGTH} bytes");
    }
    is_long
}

#[track_caller]
fn assert_reported(output: &Run, path: &Path, what: &str) {
    let text = format!("{}{}", output.text(), output.stderr);
    assert_eq!(output.code, 1, "{what}: {text}");
    let name = path.file_name().expect("a name").to_str().expect("text");
    for part in [name, "20000000000 bytes"] {
        assert!(text.contains(part), "{what}: {part}: {text}");
    }
}

/// Story: a sparse file of 20 GB was read into memory before it was refused.
#[test]
fn a_file_that_is_too_long_is_not_read() {
    for name in ["wal/_00001.wal", "wal/00000001.tlog", "000000001-000000001.tombstone", "tsmith.manifest"] {
        let scratch = Scratch::new();
        let log = if name.ends_with("tlog") { "native" } else { "file" };
        let (input, dir) = (scratch.file("in.lp", "a v=1 1\n"), scratch.path("d"));
        run(&format!("import {{}} {{}} --log {log}"), &[&dir, &input]).exits(0);
        run("snapshot {}", &[&dir]).exits(0);
        let path = dir.join(name);
        if !lengthen(&path) {
            return;
        }
        for verb in ["verify", "export", "snapshot"] {
            assert_reported(&limited(verb, &dir), &path, &format!("{verb} {name}"));
        }
        if !name.ends_with("manifest") {
            for verb in ["verify", "inspect"] {
                assert_reported(&limited(verb, &path), &path, &format!("{verb} {name}"));
            }
            assert_reported(&limited("repair", &dir), &path, &format!("repair {name}"));
            assert_eq!(path.metadata().expect("there").len(), LENGTH, "{name} was changed");
        }
    }
}

/// A repair ignores the content of such a manifest and rebuilds it from the directory.
#[test]
fn a_manifest_that_is_too_long_is_rewritten() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "a v=1 1\n");
    let all = run("export {}", &[&dir]).exits(0).text();
    let path = dir.join("tsmith.manifest");
    if !lengthen(&path) {
        return;
    }
    let output = limited("repair", &dir);
    assert!(output.text().contains("repaired "), "{}{}", output.text(), output.stderr);
    assert_eq!(limited("verify", &dir).code, 0);
    assert_eq!(run("export {}", &[&dir]).exits(0).text(), all);
    assert_eq!(dir.join("tsmith.manifest.bad").metadata().expect("quarantined").len(), LENGTH);
}

#[test]
fn etcd_files_that_are_too_long_are_not_read() {
    let scratch = Scratch::new();
    let dir = scratch.path("member");
    fs::create_dir(&dir).expect("made");
    for name in ["0000000000000000-0000000000000000.wal", "0000000000000001-0000000000000001.snap"] {
        let path = dir.join(name);
        if !lengthen(&path) {
            return;
        }
        assert_reported(&limited("inspect", &path), &path, name);
        let checked = if name.ends_with("wal") { &dir } else { &path };
        assert_reported(&limited("verify", checked), &path, name);
    }
}
