//! Import of incomplete lines, unusual text, and dumps of InfluxDB.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use support::{Scratch, command, run};

const DUMP: &str = include_str!("cases/dump.txt");

/// Story: after the line `m a\=1\,b=2`, the parser read the line `m a=1,b=7` as the single field `a=1,b`.
#[test]
fn a_line_does_not_change_how_the_next_is_parsed() {
    let scratch = Scratch::new();
    let input = scratch.file("x.lp", "m a\\=1\\,b=2 1\nm a=1,b=7 2\n");
    for batch in ["1", "5000"] {
        let dir = scratch.path(batch);
        run(&format!("import {{}} {{}} --batch {batch}"), &[&dir, &input]).exits(0);
        let text = run("export {} --format jsonl", &[&dir]).exits(0).text();
        assert_eq!(text.lines().count(), 3, "{text}");
    }
    let bad = "cpu,host=x pct\\ idle=4 1\ncpu,host=x pct idle=5 2\ncpu,host=x pct,idle=6 3\n";
    let (input, dir) = (scratch.file("bad.lp", bad), scratch.path("bad"));
    run("import {} {}", &[&dir, &input]).exits(1).says(&["bad.lp:2:", "bad.lp:3:", "1 points"]);
}

/// Story: an incomplete line with an open quote made an import reject 1,000,000 good lines as one line.
#[test]
fn an_incomplete_line_is_rejected_alone() {
    let scratch = Scratch::new();
    let mut text = "log,h=a msg=\"torn\n".to_owned();
    for i in 0..20_000 {
        writeln!(text, "log,h=b msg=\"good {i}\",n={i}i {i}").expect("writing to a string cannot fail");
    }
    text.push_str("log,h=a msg=\"torn again\n");
    for i in 0..20_000 {
        writeln!(text, "cpu,h=b v={i} {i}").expect("writing to a string cannot fail");
    }
    let (input, dir, rejects) = (scratch.file("x.lp", &text), scratch.path("d"), scratch.path("bad.lp"));
    run("import {} {} --rejects {}", &[&dir, &input, &rejects]).exits(1).says(&[
        "x.lp:1: ",
        "x.lp:20002: ",
        "40002 lines",
        "40000 points",
        "60000 values",
        "2 rejected",
    ]);
    assert_eq!(
        fs::read_to_string(&rejects).expect("written"),
        "log,h=a msg=\"torn\nlog,h=a msg=\"torn again\n"
    );
    assert_eq!(run("export {} --measurement cpu", &[&dir]).exits(0).text().lines().count(), 20_000);
}

/// Story: for each line with an open quote, the import scanned the rest of the file.
#[test]
fn many_incomplete_lines_are_each_rejected() {
    let scratch = Scratch::new();
    let mut text = String::new();
    for i in 0..30_000 {
        writeln!(text, "log,size=5\" msg=\"torn {i}\ncpu v={i} {i}")
            .expect("writing to a string cannot fail");
    }
    let (input, dir) = (scratch.file("x.lp", &text), scratch.path("d"));
    run("import {} {}", &[&dir, &input]).exits(1).says(&["60000 lines", "30000 points", "30000 rejected"]);
}

/// Strings may contain line breaks, up to a limit, wherever batches are cut.
#[test]
fn strings_span_lines_across_batches() {
    let scratch = Scratch::new();
    let mut text = String::new();
    for i in 0..600 {
        let lines: Vec<String> = "abcdefghijkl".chars().map(|c| c.to_string().repeat(10)).collect();
        let string = lines.join("\n");
        writeln!(text, "test,host=h v=\"{string}\" {i}").expect("writing to a string cannot fail");
    }
    let input = scratch.file("x.lp", &text);
    for batch in ["1", "7", "5000"] {
        let dir = scratch.path(batch);
        run(&format!("import {{}} {{}} --batch {batch}"), &[&dir, &input]).exits(0);
        assert!(run("export {}", &[&dir]).exits(0).text() == text, "batches of {batch}");
    }
    let dir = scratch.path("short");
    run("import {} {} --string-line-bytes-max 100", &[&dir, &input]).exits(1).says(&["7200 rejected"]);
    run("import {} {} --string-line-bytes-max 1GiB", &[&dir, &input]).exits(2).says(&["64MiB"]);
}

/// Story: a string of 1.2 MB became 600,001 rejected lines, and no error named the limit.
#[test]
fn the_error_of_a_cut_line_names_the_flag() {
    let scratch = Scratch::new();
    let long = format!("m v=1 1\n  m s=\"{}\" 2\nm v=3 3\n", "x\n".repeat(6000));
    let input = scratch.file("long.lp", &long);
    // The first batch ends long before the limit.
    for batch in ["1", "100", "5000", "10000"] {
        let dir = scratch.path(batch);
        run(&format!("import {{}} {{}} --batch {batch} --string-line-bytes-max 10000"), &[&dir, &input])
            .exits(1)
            .says(&["long.lp:2: ", "--string-line-bytes-max", "10000 bytes", "2 points", "6001 rejected"]);
    }
    run("import {} {}", &[&scratch.path("d"), &input]).exits(0).says(&["3 points"]);
    // A backslash can also escape a line break.
    let input = scratch.file("escaped.lp", format!("m\\\n{} v=1 1\nm v=2 2\n", "x".repeat(200)));
    run("import {} {} --string-line-bytes-max 100", &[&scratch.path("e"), &input]).exits(1).says(&[
        "escaped.lp:1: ",
        "--string-line-bytes-max",
        "100 bytes",
    ]);
    // This line is not longer than the limit.
    let input = scratch.file("short.lp", "m s=\"torn\nm s=\"good\" 1\nm v=2 2\n");
    let output = run("import {} {}", &[&scratch.path("t"), &input]).exits(1).says(&["short.lp:1: "]);
    assert!(!output.stderr.contains("--string-line-bytes-max"), "{}", output.stderr);
}

/// Story: a line of more than 64 MiB stopped the import, so the lines after it were not imported.
#[test]
fn a_line_that_is_too_long_is_rejected_alone() {
    let scratch = Scratch::new();
    let path = scratch.file("x.lp", "m v=1 1\n");
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("opens");
    let part = vec![b'x'; 1 << 20];
    for _ in 0..70 {
        file.write_all(&part).expect("written");
    }
    file.write_all(b"\nm v=2 2\n").expect("written");
    let dir = scratch.path("d");
    run("import {} {}", &[&dir, &path]).exits(1).says(&[
        "x.lp:2: ",
        "64 MiB",
        "3 lines",
        "2 points",
        "1 rejected",
    ]);
    assert_eq!(run("export {}", &[&dir]).exits(0).text(), "m v=1 1\nm v=2 2\n");
}

/// Story: an import rejected the statements of a dump. Points of the second database replaced points of the first.
#[test]
fn a_dump_of_two_databases_needs_a_choice() {
    let scratch = Scratch::new();
    let (input, dir) = (scratch.file("dump.txt", DUMP), scratch.path("d"));
    run("import {} {}", &[&dir, &input]).exits(2).says(&[
        "database \"db0\" retention \"autogen\"",
        "database \"db1\" retention \"autogen\"",
        "--database",
        "--by-database",
    ]);
    assert!(!dir.exists(), "nothing was written");
    run("import {} {} --database db1", &[&dir, &input]).exits(0).says(&[
        "1 points",
        "0 rejected",
        "2 statements",
        "2 lines of other databases",
    ]);
    assert_eq!(run("export {}", &[&dir]).exits(0).text(), "cpu,host=a value=9 1516242288102872319\n");
    let dir = scratch.path("all");
    let rejects = scratch.path("bad.lp");
    run("import {} {} --by-database --rejects {}", &[&dir, &input, &rejects]).exits(0);
    for (shard, points) in [("db0/autogen", 2), ("db1/autogen", 1)] {
        assert_eq!(run("export {}", &[&dir.join(shard)]).exits(0).text().lines().count(), points, "{shard}");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(DUMP.as_bytes()).expect("memory");
    let input = scratch.file("dump.gz", gzip.finish().expect("memory"));
    run("import {} {}", &[&scratch.path("e"), &input]).exits(2).says(&["dump.gz", "--database"]);
}

/// Stdin cannot be read twice. The lines before the second database are written, and the error names the line.
#[test]
fn a_dump_on_stdin_stops_at_the_second_database() {
    let scratch = Scratch::new();
    let (input, dir) = (scratch.file("dump.txt", DUMP), scratch.path("d"));
    let mut child = command();
    child.args(["import", dir.to_str().expect("text"), "-"]).stdin(fs::File::open(&input).expect("opens"));
    let output: support::Run = child.output().expect("runs").into();
    output.exits(2).says(&["stdin:12: ", "--database", "2 points"]);
    run("import {} - --by-database", &[&dir]).exits(2).says(&["--by-database", "stdin"]);
}

/// A dump of one database needs no flag. If `# DML` is missing, the first line that is no statement ends the statements.
#[test]
fn a_dump_of_one_database_needs_no_choice() {
    let scratch = Scratch::new();
    let text = "# DDL\nCREATE DATABASE pirates\nCREATE RETENTION POLICY oneday ON pirates DURATION 1d REPLICATION 1\n\
                # DML\n# CONTEXT-DATABASE: pirates\n# CONTEXT-RETENTION-POLICY: oneday\n\ntreasures value=801 1\n";
    for (name, text) in [("with", text.to_owned()), ("without", text.replace("# DML\n", ""))] {
        let text = if name == "without" { text.replace("# CONTEXT", "# context") } else { text };
        let (input, dir) = (scratch.file(name, text), scratch.path(&format!("{name}-d")));
        run("import {} {}", &[&dir, &input]).exits(0).says(&["2 statements", "1 points"]);
    }
    let bad = scratch.file("bad", "# CONTEXT-DATABASE:../x\n# CONTEXT-RETENTION-POLICY:r\nm v=1 1\n");
    run("import {} {} --by-database", &[&scratch.path("b"), &bad]).exits(2).says(&["\"../x\""]);
    let none = scratch.file("none", "m v=1 1\n");
    run("import {} {} --by-database", &[&scratch.path("b"), &none]).exits(2).says(&["# CONTEXT-DATABASE:"]);
}

/// Story: a database comment reset the retention policy, so points of `b.r` had no place. `influx -import` keeps the policy.
/// Without one, it uses the default policy.
#[test]
fn a_retention_policy_applies_to_later_databases() {
    let scratch = Scratch::new();
    let text = "# CONTEXT-DATABASE: a\nm v=0 1\n# CONTEXT-RETENTION-POLICY: r\nm v=1 1\n# CONTEXT-DATABASE: b\nm v=2 2\n\
                # CONTEXT-RETENTION-POLICY:\nm v=3 3\n";
    let (input, dir) = (scratch.file("dump.txt", text), scratch.path("d"));
    run("import {} {} --by-database", &[&dir, &input]).exits(0);
    for (place, points) in
        [("a/autogen", "m v=0 1\n"), ("a/r", "m v=1 1\n"), ("b/r", "m v=2 2\n"), ("b/autogen", "m v=3 3\n")]
    {
        assert_eq!(run("export {}", &[&dir.join(place)]).exits(0).text(), points, "{place}");
    }
    let dir = scratch.path("one");
    run("import {} {} --database b --retention autogen", &[&dir, &input]).exits(0);
    assert_eq!(run("export {}", &[&dir]).exits(0).text(), "m v=3 3\n");
    let lost = scratch.file("lost", "# CONTEXT-RETENTION-POLICY: r\nm v=1 1\n");
    run("import {} {} --by-database", &[&scratch.path("e"), &lost]).exits(2).says(&["# CONTEXT-DATABASE:"]);
}

/// Story: an import with a misspelled database succeeded with 0 points and an empty directory.
#[test]
fn a_choice_that_matches_nothing_is_an_error() {
    let scratch = Scratch::new();
    let mut many = "m v=0 0\n".repeat(200);
    for i in 0..7 {
        writeln!(many, "# CONTEXT-DATABASE: db{i}\nm v={i} {i}").expect("writing to a string cannot fail");
    }
    // In `many`, the comments come long after the head that identifies a dump.
    for (name, text, flags, more) in [
        ("dump.txt", DUMP, "--database bd0", "database \"db1\" retention \"autogen\""),
        ("dump.txt", DUMP, "--retention r", "database \"db0\" retention \"autogen\""),
        ("dump.txt", DUMP, "--database db0 --retention r", "--database db0 --retention r:"),
        ("many", &many, "--database x", "database \"db4\" retention \"autogen\", and 2 more"),
    ] {
        let (input, dir) = (scratch.file(name, text), scratch.path("d"));
        run(&format!("import {{}} {{}} {flags}"), &[&dir, &input]).exits(2).says(&[more]);
        assert!(!dir.exists(), "{flags}: nothing was written");
        let stdin = fs::File::open(&input).expect("opens");
        let dir = scratch.path("stdin");
        let mut child = command();
        child.args(["import", dir.to_str().expect("text"), "-"]).args(flags.split(' ')).stdin(stdin);
        support::Run::from(child.output().expect("runs")).exits(1).says(&[more]);
    }
    let (other, dump) =
        (scratch.file("other", "# CONTEXT-DATABASE: x\nm v=1 1\n"), scratch.file("dump", DUMP));
    let dir = scratch.path("two");
    run("import {} {} {} --database db1", &[&dir, &other, &dump]).exits(0).says(&["1 points"]);
}

#[test]
fn an_archive_is_refused() {
    let scratch = Scratch::new();
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).expect("memory");
    let zstd = zstd::encode_all(&tar[..], 1).expect("memory");
    for (name, bytes) in [("x.tar.gz", gzip.finish().expect("memory")), ("x.tar.zst", zstd), ("x.tar", tar)] {
        let input = scratch.file(name, bytes);
        run("import {} {}", &[&scratch.path("d"), &input]).exits(1).says(&[name, "tar archive"]);
    }
}

/// Story: times in seconds were imported as nanoseconds, without a warning.
#[test]
fn a_wrong_precision_gets_a_hint() {
    let scratch = Scratch::new();
    let input = scratch.file("sec.lp", "m v=1 1600000000\nm v=2 1600000060\n");
    run("import {} {}", &[&scratch.path("a"), &input])
        .exits(0)
        .says(&["1970-01-01T00:00:01.600000000Z to 1970-01-01T00:00:01.600000060Z", "--precision s"]);
    let right = run("import {} {} --precision s", &[&scratch.path("b"), &input]).exits(0);
    assert!(right.stderr.contains("2020-09-13T12:26:40.000000000Z to"), "{}", right.stderr);
    assert!(!right.stderr.contains("--precision"), "{}", right.stderr);
    let input = scratch.file("ms.lp", "m v=1 1600000000000\n");
    run("import {} {} --precision s", &[&scratch.path("c"), &input]).exits(1).says(&["--precision ms"]);
}

/// Story: the error of a full cache advised to raise a limit without naming the flag.
#[test]
fn a_full_cache_names_the_flags() {
    let scratch = Scratch::new();
    let text: String = (0..5000).map(|i| format!("m v={i} {i}\n")).collect();
    let (input, dir) = (scratch.file("x.lp", text), scratch.path("d"));
    run("import {} {} --cache 10kB", &[&dir, &input]).exits(1).says(&["x.lp:1:", "--batch", "--cache"]);
}

/// Story: one field name that was not UTF-8 made a shard unreadable for influxd.
#[test]
fn an_influxdb_shard_accepts_only_utf8_names() {
    let scratch = Scratch::new();
    let input = scratch.file("x.lp", b"m v=1 1\nm v\xff=1 2\n\xfem v=1 3\nm,t=\xff v=4 4\n");
    run("import {} {} --types measurement", &[&scratch.path("a"), &input]).exits(1).says(&[
        "x.lp:2: ",
        "\"v\\xff\"",
        "x.lp:3: ",
        "\"\\xfem\"",
        "2 points",
    ]);
    run("import {} {}", &[&scratch.path("b"), &input]).exits(0);
}
