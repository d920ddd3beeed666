//! Records that pass their checks but cannot be replayed. Every verb that reads continues after them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, append_payloads, content, points, run, write_payload};
use tsmith_wal::fs::OsFs;
use tsmith_wal::{FileLog, NativeLog};

/// Replaces the log of `dir` by a copy of the log of another directory.
fn take_log(dir: &Path, other: &Path) {
    let log = dir.join("wal");
    fs::remove_dir_all(&log).expect("removed");
    fs::create_dir(&log).expect("made");
    for entry in fs::read_dir(other.join("wal")).expect("a log") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), log.join(entry.file_name())).expect("copied");
    }
}

/// A directory with `a` as an integer in a file, and as a float in the log.
fn contradiction(scratch: &Scratch, log: &str) -> PathBuf {
    let import = |name: &str, text: &str| {
        let (text, dir) = (scratch.file(&format!("{name}.lp"), text), scratch.path(name));
        run(&format!("import {{}} {{}} --batch 1 --writers 1 --log {log}"), &[&dir, &text]).exits(0);
        dir
    };
    let dir = import("d", "a v=1i 1\n");
    run("snapshot {}", &[&dir]).exits(0);
    let other = import("other", "c v=1 1\na v=0.5,w=1 2\nb v=0.5 3\n");
    take_log(&dir, &other);
    dir
}

/// Story: a log gave a field another type than a file. With `--log etcd`, `verify` accepted it and no verb repaired it. With
/// every log, `snapshot --recovery salvage` failed.
#[test]
fn the_types_of_a_log_are_checked_against_files() {
    for log in ["file", "mmap", "native", "etcd"] {
        let scratch = Scratch::new();
        let dir = contradiction(&scratch, log);
        let key = "a#!~#v";
        let text = run("verify {}", &[&dir]).exits(1).text();
        assert_eq!(text.matches(key).count(), 1, "{log}: {text}");
        assert!(text.contains("offset "), "{log}: {text}");
        let before = content(&dir);
        let text = run("repair {} --dry-run", &[&dir]).exits(1).text();
        assert!(text.contains(key) && content(&dir) == before, "{log}: {text}");
        let kept = points(b"a v=1i 1\na w=1 2\nb v=0.5 3\nc v=1 1\n");
        for verb in ["export", "query", "stats"] {
            let found = run(&format!("{verb} {{}}"), &[&dir]).exits(1).says(&[key, "offset "]);
            assert!(verb != "export" || points(&found.stdout) == kept, "{log}: {}", found.text());
        }
        assert_eq!(content(&dir), before, "{log}: reading changes nothing");
        run("snapshot {}", &[&dir]).exits(1);
        run("snapshot {} --recovery salvage", &[&dir]).exits(1).says(&[key, "offset "]);
        run("verify {}", &[&dir]).exits(0);
        assert!(points(&run("export {}", &[&dir]).exits(0).stdout) == kept, "{log}");
    }
}

/// Story: no record of a log could be replayed. `snapshot --recovery salvage` wrote no values and kept the log, so the
/// directory could not be opened without salvage.
#[test]
fn salvage_without_values_truncates_the_log() {
    for log in ["file", "mmap", "native", "etcd"] {
        let scratch = Scratch::new();
        let import = |name: &str, text: &str| {
            let (text, dir) = (scratch.file(&format!("{name}.lp"), text), scratch.path(name));
            run(&format!("import {{}} {{}} --log {log}"), &[&dir, &text]).exits(0);
            dir
        };
        let dir = import("d", "m v=1i 1\n");
        run("snapshot {}", &[&dir]).exits(0);
        take_log(&dir, &import("other", "m v=2 1\nm v=3 2\n"));
        run("snapshot {}", &[&dir]).exits(1);
        let found = run("snapshot {} --recovery salvage --format json", &[&dir]).exits(1);
        assert_eq!(found.says(&["m#!~#v", "type float"]).json()["values"], 0, "{log}");
        run("verify {}", &[&dir]).exits(0);
        run("snapshot {}", &[&dir]).exits(0);
        let more = scratch.file("more.lp", "m v=4i 2\n");
        run("import {} {}", &[&dir, &more]).exits(0);
        let kept = points(b"m v=1i 1\nm v=4i 2\n");
        assert!(points(&run("export {}", &[&dir]).exits(0).stdout) == kept, "{log}");
    }
}

/// Story: the only record of a log was corrupt, and `snapshot --recovery salvage` kept the corrupt segment.
#[test]
fn salvage_of_one_corrupt_record_truncates_the_log() {
    for log in ["file", "mmap", "native", "etcd"] {
        let scratch = Scratch::new();
        let (dir, text) = (scratch.path("d"), scratch.file("in.lp", "m v=1 1\n"));
        run(&format!("import {{}} {{}} --log {log}"), &[&dir, &text]).exits(0);
        let names =
            fs::read_dir(dir.join("wal")).expect("a log").map(|entry| entry.expect("an entry").path());
        let segment =
            names.filter(|path| fs::metadata(path).expect("there").len() > 0).min().expect("a segment");
        let mut bytes = fs::read(&segment).expect("there");
        let at = bytes.windows(4).position(|found| found == b"#!~#").unwrap_or(40 + 17 + 4);
        bytes[at] ^= 0x10;
        fs::write(&segment, bytes).expect("written");
        run("snapshot {}", &[&dir]).exits(1);
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        run("snapshot {} --recovery salvage", &[&dir]).exits(1).says(&[&name]);
        run("verify {}", &[&dir]).exits(0);
        run("import {} {}", &[&dir, &text]).exits(0);
        assert!(points(&run("export {}", &[&dir]).exits(0).stdout) == points(b"m v=1 1\n"), "{log}");
    }
}

/// Story: if one record of the log could not be replayed, `export`, `query` and `stats` ignored all later segments.
#[test]
fn reading_continues_after_a_refused_record() {
    use tsmith_engine::Value;
    for native in [false, true] {
        let scratch = Scratch::new();
        let dir = scratch.path("d");
        let mut no_separator = write_payload(&[("m", Value::Float(1.0))], 5);
        let at = no_separator.windows(4).position(|found| found == b"#!~#").expect("a separator");
        no_separator[at] = b'x';
        let payloads = [
            write_payload(&[("a", Value::Float(0.5))], 1),
            write_payload(&[("a", Value::Integer(1))], 2),
            no_separator,
            write_payload(&[("b", Value::Integer(3))], 3),
        ];
        let write =
            if native { append_payloads::<NativeLog<OsFs>> } else { append_payloads::<FileLog<OsFs>> };
        // Each opening creates a segment.
        write(&dir.join("wal"), &payloads[..3]);
        write(&dir.join("wal"), &payloads[3..]);
        let kept = points(b"a v=0.5 1\nb v=3i 3\n");
        let found = run("export {}", &[&dir]).exits(1);
        assert!(points(&found.stdout) == kept, "{}", found.text());
        let refused = |run: &support::Run| {
            let refused = run.stderr.lines().filter(|line| line.contains("1.") && line.contains(": offset "));
            assert_eq!(refused.count(), 2, "{}", run.stderr);
        };
        refused(&found);
        for verb in ["query", "stats"] {
            refused(&run(&format!("{verb} {{}}"), &[&dir]).exits(1));
        }
        let text = run("verify {}", &[&dir]).exits(1).text();
        let corrupt = text.lines().filter(|line| line.starts_with("corrupt ") && line.contains(" offset "));
        assert_eq!(corrupt.count(), 2, "{text}");
        if !native {
            let before = content(&dir);
            run("snapshot {}", &[&dir]).exits(1);
            assert!(
                content(&dir).iter().all(|(path, bytes)| before.get(path).is_none_or(|was| was == bytes))
            );
            refused(&run("snapshot {} --recovery salvage", &[&dir]).exits(1));
            assert!(points(&run("export {}", &[&dir]).exits(0).stdout) == kept);
        }
    }
}
