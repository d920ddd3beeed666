//! Conflicting types of a field, and missing manifests.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{Scratch, content, export, points, run};

const FIRST: &str = "000000001-000000001.tsm";
const SECOND: &str = "000000002-000000001.tsm";

/// An engine directory with `text` in a file.
fn in_file(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let dir = scratch.imported(name, text);
    run("snapshot {}", &[&dir]).exits(0);
    dir
}

/// Story: two files gave a field two types. `verify` reported it, but `repair` found no problem.
#[test]
fn files_with_two_types_are_repaired() {
    let scratch = Scratch::new();
    let dir = in_file(&scratch, "d", "a v=1i 1\nb v=2i 1\n");
    let newer = in_file(&scratch, "newer", "a v=0.5 2\na v=0.5 3\nb v=3i 3\n");
    fs::copy(newer.join(FIRST), dir.join(SECOND)).expect("copied");
    let output = run("verify {}", &[&dir]).exits(1).text();
    for part in [&format!("corrupt {}: a#!~#v: ", dir.join(SECOND).display()), "float", "integer", FIRST] {
        assert!(output.contains(part), "{part}: {output}");
    }
    run("snapshot {}", &[&dir]).exits(1).says(&["a#!~#v", "float", FIRST, SECOND, "tsmith repair"]);
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

/// Story: a log gave a field another type than a file. `verify` reported it, but `import` opened the directory, and reads
/// failed.
#[test]
fn a_log_with_another_type_than_a_file_is_repaired() {
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
    assert!(output.contains("a#!~#v") && output.contains("float") && output.contains("integer"), "{output}");
    run("snapshot {}", &[&dir]).exits(1).says(&["a#!~#v", "float", FIRST, "tsmith repair"]);
    run("repair {}", &[&dir]).exits(1);
    run("verify {}", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    assert!(points(&export(&dir)) == points(b"a v=1i 1\nb v=0.5 2\n"));
}

/// Story: a directory with the log `native` had lost its manifest. No verb opened it, but `verify` and `repair` found no
/// problem.
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
    run("import {} {}", &[&dir, &more]).exits(1).says(&["manifest", "tsmith repair"]);
    let output = run("verify {}", &[&dir]).exits(1).text();
    assert!(output.contains(&format!("corrupt {}: ", manifest.display())), "{output}");
    let before = content(&dir);
    let plan = run("repair {} --dry-run", &[&dir]).exits(1).text();
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    assert!(
        plan.contains("corrupt ") && plan.contains("kept ring/native/zstd, log in wal, types series"),
        "{plan}"
    );
    let done = run("repair {}", &[&dir]).exits(1).text();
    assert!(done.contains("repaired "), "{done}");
    assert_eq!(fs::read(&manifest).expect("written"), good);
    run("verify {}", &[&dir]).exits(0);
    run("repair {}", &[&dir]).exits(0);
    assert_eq!(export(&dir), all);
    // A directory of InfluxDB needs no manifest.
    let influx = in_file(&scratch, "influx", "a v=1 1\n");
    fs::remove_file(influx.join("tsmith.manifest")).expect("removed");
    run("repair {}", &[&influx]).exits(0);
    assert!(!influx.join("tsmith.manifest").exists());
}

/// Story: if a field changed its type within the input, most imports stopped, and others rejected different lines each time.
#[test]
fn the_first_line_decides_the_type_of_a_field() {
    let scratch = Scratch::new();
    let text = scratch.file("in.lp", "m v=1 1\nm v=1i 2\nm v=2 3\nm v=3 4\nn w=t 5\nn w=1 6\n");
    for (at, typing) in ["series", "measurement"].into_iter().cycle().take(8).enumerate() {
        for log in ["file", "etcd"] {
            let dir = scratch.path(&format!("{log}{at}"));
            let flags = format!("import {{}} {{}} --batch 1 --writers 3 --types {typing} --log {log}");
            let output = run(&flags, &[&dir, &text]).exits(1).stderr;
            for part in ["in.lp:2: ", "in.lp:6: ", "2 rejected"] {
                assert!(output.contains(part), "{output}");
            }
            assert!(points(&export(&dir)) == points(b"m v=1 1\nm v=2 3\nm v=3 4\nn w=true 5\n"));
            run("verify {}", &[&dir]).exits(0);
        }
    }
}

/// Story: a rejected line set the type of its other field, so a later line was rejected that influxd accepts.
#[test]
fn a_rejected_line_sets_no_types() {
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

/// Story: `import` did not report that a field got a second type, although the README promises it.
#[test]
fn a_second_type_is_reported_once() {
    let scratch = Scratch::new();
    let many: String = (0..12).map(|at| format!("n,t=a f{at}=1 1\nn,t=b f{at}=t 1\n")).collect();
    let text = scratch.file("in.lp", format!("m,t=a v=1 1\nm,t=b v=1i 1\nm,t=c v=1i 1\nm,t=d v=1 1\n{many}"));
    let dir = scratch.path("d");
    let output = run("import {} {} --batch 1", &[&dir, &text]).exits(0).stderr;
    assert_eq!(output.matches("\"v\" of measurement \"m\"").count(), 1, "{output}");
    assert_eq!(output.matches("note: ").count(), 10, "{output}");
    assert!(output.contains("3 more fields"), "{output}");
    let output = run("import {} {}", &[&dir, &text]).exits(0).stderr;
    assert!(!output.contains("note: "), "{output}");
}

/// Story: shards gave one field different types, and importing all of them into one directory lost most values.
#[test]
fn integers_widen_if_the_field_is_a_float() {
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
            "in.lp:4: ",
            "9007199254740993",
            "in.lp:5: ",
            "in.lp:6: ",
            "in.lp:8: ",
            "in.lp:9: ",
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
    run("import {} {} --on-conflict both", &[&dir, &text]).exits(2).says(&["--on-conflict", "widen"]);
}
