//! Import and export: every point comes back.
//!
//! `TSMITH_DATA` names a directory of data sets (`*.lp.zst`) for one of the tests, which is skipped without it.

mod support;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use support::{Scratch, command, content, export, run, same_points, sample};

#[test]
fn every_type_comes_back_from_log_and_files() {
    let scratch = Scratch::new();
    let text = sample(2500);
    let dir = scratch.imported("d", &text);
    same_points(text.as_bytes(), &export(&dir));
    let report = run("snapshot {}", &[&dir]).exits(0).text();
    assert!(report.contains("12500 values"), "{report}");
    same_points(text.as_bytes(), &export(&dir));
    // A second import of the same lines adds no points.
    let input = scratch.file("again.lp", &text);
    run("import {} {}", &[&dir, &input]).exits(0).says(&["2500 lines", "12500 values", "0 rejected"]);
    same_points(text.as_bytes(), &export(&dir));
    run("verify {}", &[&dir]).exits(0);
}

/// Story: an import with `--log null` reported its values as imported, and stored none.
#[test]
fn an_import_names_a_part_that_stores_nothing() {
    let scratch = Scratch::new();
    let input = scratch.file("in.lp", "m v=1 1\n");
    for (flag, name) in [("log", "`null`"), ("storer", "`empty`")] {
        let (dir, part) = (scratch.path(flag), name.trim_matches('`'));
        run(&format!("import {{}} {{}} --{flag} {part}"), &[&dir, &input]).exits(0).says(&[name]);
        run("import {} {}", &[&dir, &input]).exits(0).says(&[name]);
    }
}

#[test]
fn fields_of_one_time_share_a_line() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m b=1i,a=2 5\nm a=3 6\nm b=4i 7\n");
    assert_eq!(export(&dir), b"m a=2,b=1i 5\nm a=3 6\nm b=4i 7\n");
}

#[test]
fn compression_is_detected_by_content() {
    let scratch = Scratch::new();
    let text = sample(300);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("memory");
    for (name, bytes) in [("a.lp.gz", &gzip), ("b.lp.zst", &zstd), ("c.lp", &gzip), ("d", &zstd)] {
        let (input, dir) = (scratch.file(name, bytes), scratch.path(&format!("dir-{name}")));
        run("import {} {}", &[&dir, &input]).exits(0);
        same_points(text.as_bytes(), &export(&dir));
    }
    let dir = scratch.path("stdin");
    let mut child = command().arg("import").arg(&dir).arg("-").stdin(Stdio::piped()).spawn().expect("runs");
    child.stdin.take().expect("piped").write_all(&zstd).expect("written");
    assert!(child.wait().expect("ends").success());
    same_points(text.as_bytes(), &export(&dir));
}

/// Bytes with a special meaning in line protocol, composite keys or terminals.
const NASTY: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"\\\\",
    b"\\\"",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b",",
    b"=",
    b" ",
    b"#",
    b"#!~#",
    b"'",
    b"a",
    b"t",
    b"1i",
    b"\xff",
    b"\xc3\xa9",
    "日本".as_bytes(),
    b"\x7f",
    b"m v=1 1\n",
    b"\\n",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn nasty(&mut self, pieces: usize) -> Vec<u8> {
        (0..self.below(pieces + 1)).flat_map(|_| NASTY[self.below(NASTY.len())].to_vec()).collect()
    }
}

fn escaped(text: &[u8], special: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in text {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// Import and export are inverse, also for names and strings that contain separators. A second export is equal to the first
/// byte for byte, and both contain the points of the input.
#[test]
fn import_and_export_are_inverse() {
    let scratch = Scratch::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut text = Vec::new();
    let plain =
        |bytes: Vec<u8>| -> Vec<u8> { bytes.into_iter().filter(|b| !b"\\\n\"#\t\0".contains(b)).collect() };
    for time in 0..3000 {
        let series = plain(random.nasty(3));
        let field = plain(random.nasty(3));
        text.extend_from_slice(b"m");
        text.extend(escaped(&series, b", "));
        text.extend_from_slice(b",k");
        text.extend(escaped(&plain(random.nasty(2)), b",= "));
        text.extend_from_slice(b"=v");
        text.extend(escaped(&plain(random.nasty(2)), b",= "));
        text.extend_from_slice(b" f");
        text.extend(escaped(&field, b",= \""));
        text.extend_from_slice(b"=\"");
        text.extend(escaped(&random.nasty(6), b"\"\\"));
        text.extend_from_slice(b"\",x=");
        text.extend_from_slice(
            [&b"-0"[..], b"1e300", b"4.9e-324", b"0.1", b"-1.7976931348623157e308"][random.below(5)],
        );
        text.extend_from_slice(format!(" {}\n", time - 1500).as_bytes());
    }
    let first = export(&scratch.imported("a", &text));
    same_points(&text, &first);
    let second = export(&scratch.imported("b", &first));
    assert!(first == second, "the second export differs");
}

#[test]
fn lines_without_a_time_get_the_current_time() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1\nm w=1");
    let (from, to) =
        (run("query {} --start -1m --format csv", &[&dir]), run("query {} --end -1m --format csv", &[&dir]));
    assert_eq!(from.exits(0).text().lines().count(), 3);
    assert_eq!(to.exits(0).text().lines().count(), 1);
}

#[test]
fn precision_scales_times() {
    let scratch = Scratch::new();
    let (input, dir) = (scratch.file("s.lp", "m v=1 1600000000"), scratch.path("d"));
    run("import {} {} --precision s", &[&dir, &input]).exits(0);
    assert_eq!(export(&dir), b"m v=1 1600000000000000000\n");
}

/// With a cache much smaller than the input, writers wait for snapshots and do not fail.
#[test]
fn writers_wait_for_room_in_the_cache() {
    let scratch = Scratch::new();
    let text = sample(40_000);
    let (input, dir) = (scratch.file("big.lp", &text), scratch.path("d"));
    run("import {} {} --cache 1MiB --batch 500 --compaction off", &[&dir, &input])
        .exits(0)
        .says(&["200000 values"]);
    same_points(text.as_bytes(), &export(&dir));
    let stats = run("stats {} --format json", &[&dir]).exits(0).json();
    assert!(stats["files"].as_u64() > Some(1), "{stats}");
    assert_eq!(stats["values"], 200_000);
    assert_eq!((&stats["series"], &stats["keys"]), (&7.into(), &35.into()));
}

#[test]
fn other_parts_work_and_are_recorded() {
    let scratch = Scratch::new();
    let text = sample(500);
    let input = scratch.file("x.lp", &text);
    for (name, parts) in [
        ("a", "--encoder zstd --log mmap --storer hashmap"),
        ("b", "--encoder raw --durability none --order publish-then-sync"),
        ("c", "--durability interval:10ms --recovery strict"),
        ("d", "--log native --recovery salvage"),
    ] {
        let dir = scratch.path(name);
        run(&format!("import {{}} {{}} {parts}"), &[&dir, &input]).exits(0);
        // The values are still in the log.
        same_points(text.as_bytes(), &export(&dir));
        run("verify {}", &[&dir]).exits(0);
        run("inspect {}", &[&dir]).exits(0);
        run("snapshot {}", &[&dir]).exits(0);
        same_points(text.as_bytes(), &export(&dir));
        run("verify {}", &[&dir]).exits(0);
        run("inspect {}", &[&dir]).exits(0);
    }
}

#[test]
fn filters_select_keys_and_times() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "a,h=1 v=1,w=2 1\na,h=2 v=3 2\nb,h=1 v=4 3\na,h=1 v=5 4\n");
    let query = |flags: &str| {
        let run = run(&format!("query {{}} --format csv {flags}"), &[&dir]).exits(0);
        run.text()
            .lines()
            .skip(1)
            .map(|row| row.rsplit(',').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(query("--measurement a"), ["1", "5", "2", "3"]);
    assert_eq!(query("--tag h=1 --field v"), ["1", "5", "4"]);
    assert_eq!(query("--start 2 --end 3ns"), ["3", "4"]);
    assert_eq!(query("--measurement a --desc --limit 2"), ["5", "1"]);
    assert_eq!(query("--limit 0"), [""; 0]);
    let table = run("query {} --limit 1", &[&dir]).exits(0).text();
    let expected = "time                            series  field  value\n1970-01-01T00:00:00.000000001Z  a,h=1   v      1\n";
    assert_eq!(table, expected);
    let jsonl = run("export {} --format jsonl --measurement b", &[&dir]).exits(0).text();
    assert_eq!(jsonl, "{\"key\":\"b,h=1#!~#v\",\"type\":\"float\",\"values\":[[3,4]]}\n");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(30_000));
    for verb in ["export", "query", "inspect"] {
        let mut command = command();
        command.arg(verb).arg(&dir).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "{verb}: {output:?}");
        assert!(output.stderr.is_empty(), "{verb}: {output:?}");
    }
}

/// Verbs that read change no file, even if a crash left a torn tail.
#[test]
fn reading_changes_nothing() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(3000));
    run("snapshot {}", &[&dir]).exits(0);
    let input = scratch.file("more.lp", sample(4000));
    run("import {} {}", &[&dir, &input]).exits(0);
    let segment = fs::read_dir(dir.join("wal"))
        .expect("a log")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.extension().is_some_and(|e| e == "wal") && path.metadata().is_ok_and(|m| m.len() > 100)
        })
        .expect("a segment");
    let mut bytes = fs::read(&segment).expect("readable");
    bytes.extend_from_slice(&[1, 0, 0, 0, 99, 7, 7, 7]);
    fs::write(&segment, bytes).expect("written");
    let before = content(&dir);
    for line in [
        "export {}",
        "export {} --format csv",
        "export {} --format jsonl --exact",
        "query {} --desc --limit 5",
        "inspect {}",
        "inspect {} --format json",
        "verify {}",
        "verify {} --format json",
        "stats {}",
    ] {
        let run = run(line, &[&dir]).exits(0);
        assert!(before == content(&dir), "`{line}` changed the directory");
        if line == "verify {}" {
            assert!(run.text().contains("note ") && run.text().contains("torn"), "{}", run.text());
        }
    }
}

/// Real data sets, if they are available: every value comes back. `nab_sensors` has a field with floats and integers in one
/// measurement. With InfluxDB's scope of types, those lines are rejected.
#[test]
fn the_data_sets_come_back() {
    let Some(dir) = std::env::var_os("TSMITH_DATA").map(PathBuf::from) else {
        eprintln!("skipped: set TSMITH_DATA to a directory of data sets");
        return;
    };
    let entries = fs::read_dir(&dir).expect("TSMITH_DATA names a directory");
    let mut sets = 0;
    for entry in entries {
        let path = entry.expect("an entry").path();
        if !path.to_string_lossy().ends_with(".lp.zst") {
            continue;
        }
        sets += 1;
        let text = zstd::decode_all(fs::File::open(&path).expect("opens")).expect("zstd");
        let mixed = path.ends_with("nab_sensors.lp.zst");
        for types in ["series", "measurement"] {
            let refuses = mixed && types == "measurement";
            let scratch = Scratch::new();
            let (dir, rejects) = (scratch.path("d"), scratch.path("rejects.lp"));
            let import = format!("import {{}} {{}} --rejects {{}} --types {types}");
            let imported = run(&import, &[&dir, &path, &rejects]);
            imported.exits(i32::from(refuses));
            let rejects = fs::read(&rejects).expect("written");
            assert!(refuses || rejects.is_empty());
            same_points(&text, &[export(&dir), rejects].concat());
        }
    }
    assert!(sets > 0, "no set in {}", dir.display());
}
