//! Files that are longer than any of their kind, as a sparse one is for nothing.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Run, Scratch, run};

const LENGTH: u64 = 20_000_000_000;

/// Runs with so little memory that no such file is read into it.
fn limited(verb: &str, path: &Path) -> Run {
    let script = format!("ulimit -v 8000000; exec \"$0\" {verb} \"$1\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tsmith")).arg(path);
    command.output().expect("runs").into()
}

/// Makes the file at `path` a sparse one; false where the file system takes none.
fn lengthen(path: &Path) -> bool {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("opens");
    let is_long = file.set_len(LENGTH).is_ok();
    if !is_long {
        eprintln!("skipped: the file system takes no file of {LENGTH} bytes");
    }
    is_long
}

#[track_caller]
fn assert_named(output: &Run, path: &Path, what: &str) {
    let text = format!("{}{}", output.text(), output.stderr);
    assert_eq!(output.code, 1, "{what}: {text}");
    let name = path.file_name().expect("a name").to_str().expect("text");
    for part in [name, "20000000000 bytes", "move it away"] {
        assert!(text.contains(part), "{what}: {part}: {text}");
    }
}

/// Story: a sparse file of 20 GB with the name of one of ours was read into memory whole before it was refused.
#[test]
fn a_file_longer_than_any_of_its_kind_is_refused_unread() {
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
            assert_named(&limited(verb, &dir), &path, &format!("{verb} {name}"));
        }
        if !name.ends_with("manifest") {
            for verb in ["verify", "inspect"] {
                assert_named(&limited(verb, &path), &path, &format!("{verb} {name}"));
            }
            assert_named(&limited("repair", &dir), &path, &format!("repair {name}"));
            assert_eq!(path.metadata().expect("there").len(), LENGTH, "{name} was changed");
        }
    }
}

/// Of a manifest nothing is believed then; what the directory says is enough.
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
fn etcds_files_are_refused_unread() {
    let scratch = Scratch::new();
    let dir = scratch.path("member");
    fs::create_dir(&dir).expect("made");
    for name in ["0000000000000000-0000000000000000.wal", "0000000000000001-0000000000000001.snap"] {
        let path = dir.join(name);
        if !lengthen(&path) {
            return;
        }
        assert_named(&limited("inspect", &path), &path, name);
        let checked = if name.ends_with("wal") { &dir } else { &path };
        assert_named(&limited("verify", checked), &path, name);
    }
}
