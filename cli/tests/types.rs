//! One type for all points of a key, in what verify, repair and the verbs that open a directory say; and manifests that
//! are gone.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, content, points, run};

const FIRST: &str = "000000001-000000001.tsm";
const SECOND: &str = "000000002-000000001.tsm";

fn export(dir: &Path) -> Vec<u8> {
    run("export {} --format lp", &[dir]).exits(0).stdout
}

/// An engine directory with `text` in a file.
fn in_file(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let dir = scratch.imported(name, text);
    run("snapshot {}", &[&dir]).exits(0);
    dir
}

/// Story: of two files that gave a field two types verify said BAD and repair "all whole"; nothing mended it.
#[test]
fn files_with_two_types_are_repaired() {
    let scratch = Scratch::new();
    let dir = in_file(&scratch, "d", "a v=1i 1\nb v=2i 1\n");
    let newer = in_file(&scratch, "newer", "a v=0.5 2\na v=0.5 3\nb v=3i 3\n");
    fs::copy(newer.join(FIRST), dir.join(SECOND)).expect("copied");
    let output = run("verify {}", &[&dir]).exits(1).text();
    assert!(
        output.contains(&format!(
            "{SECOND}: a#!~#v: is of type float here, of type integer in the older {FIRST}"
        )),
        "{output}"
    );
    run("snapshot {}", &[&dir]).exits(1).says(&["a#!~#v", "type float here", FIRST, SECOND, "tsmith repair"]);
    let before = content(&dir);
    let plan = run("repair {} --dry-run", &[&dir]).exits(1).text();
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    for text in [plan, run("repair {}", &[&dir]).exits(1).text()] {
        assert!(text.contains("kept 1 key, 1 block, 1 value; dropped 1 block"), "{text}");
        assert!(text.contains("  a#!~#v: kept 0 blocks, 0 values"), "{text}");
        assert!(text.contains(&format!("ok {}", dir.join(FIRST).display())), "{text}");
    }
    run("verify {}", &[&dir]).exits(0);
    run("repair {}", &[&dir]).exits(0);
    assert!(points(&export(&dir)) == points(b"a v=1i 1\nb v=2i 1\nb v=3i 3\n"));
    run("compact {} --full", &[&dir]).exits(0);
}

/// Story: verify called a log bad that gave a field another type than a file; import went on with it, and reads failed.
#[test]
fn a_log_that_contradicts_a_file_is_repaired() {
    let scratch = Scratch::new();
    let dir = in_file(&scratch, "d", "a v=1i 1\n");
    let other = scratch.imported("other", "a v=0.5 2\nb v=0.5 2\n");
    fs::remove_dir_all(dir.join("wal")).expect("removed");
    fs::create_dir(dir.join("wal")).expect("made");
    for entry in fs::read_dir(other.join("wal")).expect("a log") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), dir.join("wal").join(entry.file_name())).expect("copied");
    }
    let output = run("verify {}", &[&dir]).exits(1).text();
    assert!(output.contains("1 of a#!~#v, of type float where the field is of type integer"), "{output}");
    run("snapshot {}", &[&dir]).exits(1).says(&["a#!~#v", "type float here", FIRST, "tsmith repair"]);
    run("repair {}", &[&dir]).exits(1);
    run("verify {}", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    assert!(points(&export(&dir)) == points(b"a v=1i 1\nb v=0.5 2\n"));
}

/// Story: the manifest of a directory with the log `native` was lost; nothing opened it without naming the log, verify said
/// that all was well, and repair had nothing to do.
#[test]
fn a_missing_manifest_is_recreated() {
    let scratch = Scratch::new();
    let (text, dir) = (scratch.file("in.lp", "a,h=1 v=1 1\na,h=2 v=2i 1\n"), scratch.path("d"));
    run("import {} {} --log native --encoder zstd", &[&dir, &text]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    let more = scratch.file("more.lp", "a,h=1 v=3 3\n");
    run("import {} {}", &[&dir, &more]).exits(0);
    let manifest = dir.join("tsmith.manifest");
    let (all, good) = (export(&dir), fs::read(&manifest).expect("there"));
    fs::remove_file(&manifest).expect("removed");
    run("import {} {}", &[&dir, &more]).exits(1).says(&["there is no manifest", "tsmith repair"]);
    let output = run("verify {}", &[&dir]).exits(1).text();
    assert!(output.contains("BAD") && output.contains("tsmith.manifest: there is no manifest"), "{output}");
    let before = content(&dir);
    let plan = run("repair {} --dry-run", &[&dir]).exits(1).text();
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    assert!(
        plan.contains("corrupt ") && plan.contains("kept ring/native/zstd, log in wal, types series"),
        "{plan}"
    );
    let done = run("repair {}", &[&dir]).exits(1).text();
    assert!(done.contains("repaired ") && done.contains("taken from the directory instead: "), "{done}");
    assert_eq!(fs::read(&manifest).expect("written"), good);
    run("verify {}", &[&dir]).exits(0);
    run("repair {}", &[&dir]).exits(0);
    assert_eq!(export(&dir), all);
    // InfluxDB's directories have none, and miss none.
    let influx = in_file(&scratch, "influx", "a v=1 1\n");
    fs::remove_file(influx.join("tsmith.manifest")).expect("removed");
    run("repair {}", &[&influx]).exits(0);
    assert!(!influx.join("tsmith.manifest").exists());
}

/// Story: a file in which a field changes its type stopped the import in most runs, and in the others the lines that lost
/// were not always the same. The help promises that all other lines are written.
#[test]
fn the_first_line_of_the_input_decides_the_type() {
    let scratch = Scratch::new();
    let text = scratch.file("in.lp", "m v=1 1\nm v=1i 2\nm v=2 3\nm v=3 4\nn w=t 5\nn w=1 6\n");
    for (at, typing) in ["series", "measurement"].into_iter().cycle().take(8).enumerate() {
        for log in ["file", "etcd"] {
            let dir = scratch.path(&format!("{log}{at}"));
            let flags = format!("import {{}} {{}} --batch 1 --writers 3 --types {typing} --log {log}");
            let output = run(&flags, &[&dir, &text]).exits(1).stderr;
            for part in ["in.lp:2: field type conflict", "in.lp:6: field type conflict", "2 rejected"] {
                assert!(output.contains(part), "{output}");
            }
            assert!(points(&export(&dir)) == points(b"m v=1 1\nm v=2 3\nm v=3 4\nn w=true 5\n"));
            run("verify {}", &[&dir]).exits(0);
        }
    }
}

/// Story: a rejected line left the type of its other field behind, so a later line was rejected that influxd accepts.
#[test]
fn a_rejected_line_leaves_no_type_behind() {
    let scratch = Scratch::new();
    for (at, line) in ["m a=1i,b=\"x\" 2", "m b=\"x\",a=1i 2"].into_iter().enumerate() {
        for batch in [1, 3] {
            let (name, dir) = (format!("{at}-{batch}.lp"), scratch.path(&format!("{at}-{batch}")));
            let text = scratch.file(&name, format!("m b=1.5 1\n{line}\nm a=1.5 3\n"));
            let flags = format!("import {{}} {{}} --types measurement --batch {batch}");
            let output = run(&flags, &[&dir, &text]).exits(1).stderr;
            assert!(output.contains("2 points") && output.contains("1 rejected"), "{output}");
            assert!(points(&export(&dir)) == points(b"m b=1.5 1\nm a=1.5 3\n"));
        }
    }
}

/// Story: the README promises a word when a field gets a second type, and import said nothing.
#[test]
fn a_second_type_is_reported_once() {
    let scratch = Scratch::new();
    let many: String = (0..12).map(|at| format!("n,t=a f{at}=1 1\nn,t=b f{at}=t 1\n")).collect();
    let text = scratch.file("in.lp", format!("m,t=a v=1 1\nm,t=b v=1i 1\nm,t=c v=1i 1\nm,t=d v=1 1\n{many}"));
    let dir = scratch.path("d");
    let output = run("import {} {} --batch 1", &[&dir, &text]).exits(0).stderr;
    let note = "note: field \"v\" of measurement \"m\" has two types now, float and integer";
    assert_eq!(output.matches(note).count(), 1, "{output}");
    assert_eq!(output.matches("has two types now").count(), 10, "{output}");
    assert!(output.contains("and 3 more fields have a second type"), "{output}");
    let output = run("import {} {}", &[&dir, &text]).exits(0).stderr;
    assert!(!output.contains("has two types now"), "{output}");
}

/// Story: shards gave one field different types, and an import of all of them into one directory kept a quarter.
#[test]
fn integers_widen_where_the_field_is_a_float() {
    let scratch = Scratch::new();
    let lines = [
        "m v=1.5 1",
        "m v=7i 2",
        "m v=18446744073709549568u,w=2 3",
        "m v=9007199254740993i 4",
        "m v=\"x\" 5",
        "m v=t 6",
        "n v=1i 7",
        "n v=1.5 8",
        "n v=2u 9",
        "m v=9223372036854775807i 10",
        "m v=18446744073709551615u 11",
        "m w=-9223372036854775808i,v=0i 12",
    ];
    let text = scratch.file("in.lp", lines.join("\n"));
    for batch in [1, 100] {
        let dir = scratch.path(&format!("d{batch}"));
        let flags = format!("import {{}} {{}} --on-conflict widen --batch {batch}");
        let output = run(&flags, &[&dir, &text]).exits(1).stderr;
        for part in [
            "in.lp:4: input field \"v\" on measurement \"m\" is type float, and 9007199254740993 is no exact float",
            "in.lp:5: field type conflict",
            "in.lp:6: field type conflict",
            "in.lp:8: field type conflict",
            "stored values are not widened: import the lines with floats first",
            "in.lp:9: field type conflict",
            "in.lp:10: ",
            "in.lp:11: ",
            "5 points, 7 values (4 widened to float), 7 rejected",
        ] {
            assert!(output.contains(part), "{part}: {output}");
        }
        let kept = b"m v=1.5 1\nm v=7 2\nm v=18446744073709549568,w=2 3\nn v=1i 7\nm w=-9223372036854775808,v=0 12\n";
        assert!(points(&export(&dir)) == points(kept));
    }
    let dir = scratch.path("rejecting");
    run("import {} {}", &[&dir, &text]).exits(1).says(&["10 rejected"]);
    run("import {} {} --on-conflict both", &[&dir, &text]).exits(2).says(&["expected reject or widen"]);
}
