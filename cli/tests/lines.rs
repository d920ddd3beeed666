//! Import of text that is torn, strange, or of another program.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use support::{Scratch, command, run};

const DUMP: &str = include_str!("cases/dump.txt");

/// Story: `m a\=1\,b=2` taught the parser the name `a=1,b`, and the next line, `m a=1,b=7`, became that one field.
#[test]
fn a_line_keeps_its_meaning_behind_any_other() {
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

/// Story: one torn line with an open quote made 1,000,000 good lines "1 rejected"; beyond 64 MiB the import stopped.
#[test]
fn a_torn_line_is_rejected_alone() {
    let scratch = Scratch::new();
    let mut text = "log,h=a msg=\"torn\n".to_owned();
    for i in 0..20_000 {
        writeln!(text, "log,h=b msg=\"good {i}\",n={i}i {i}").expect("strings take all");
    }
    text.push_str("log,h=a msg=\"torn again\n");
    for i in 0..20_000 {
        writeln!(text, "cpu,h=b v={i} {i}").expect("strings take all");
    }
    let (input, dir, rejects) = (scratch.file("x.lp", &text), scratch.path("d"), scratch.path("bad.lp"));
    run("import {} {} --rejects {}", &[&dir, &input, &rejects]).exits(1).says(&[
        "x.lp:1: unbalanced quotes",
        "x.lp:20002: unbalanced quotes",
        "imported 40002 lines: 40000 points, 60000 values, 2 rejected",
    ]);
    assert_eq!(
        fs::read_to_string(&rejects).expect("written"),
        "log,h=a msg=\"torn\nlog,h=a msg=\"torn again\n"
    );
    assert_eq!(run("export {} --measurement cpu", &[&dir]).exits(0).text().lines().count(), 20_000);
}

/// Story: thousands of lines with an open quote each made the import look at the rest of the file for every one of them.
#[test]
fn many_torn_lines_are_each_rejected() {
    let scratch = Scratch::new();
    let mut text = String::new();
    for i in 0..30_000 {
        writeln!(text, "log,size=5\" msg=\"torn {i}\ncpu v={i} {i}").expect("strings take all");
    }
    let (input, dir) = (scratch.file("x.lp", &text), scratch.path("d"));
    run("import {} {}", &[&dir, &input])
        .exits(1)
        .says(&["imported 60000 lines: 30000 points, 30000 values, 30000 rejected"]);
}

/// Strings span lines, wherever batches are cut, up to a limit.
#[test]
fn strings_span_lines_across_batches() {
    let scratch = Scratch::new();
    let mut text = String::new();
    for i in 0..600 {
        let lines: Vec<String> = "abcdefghijkl".chars().map(|c| c.to_string().repeat(10)).collect();
        let string = lines.join("\n");
        writeln!(text, "test,host=h v=\"{string}\" {i}").expect("strings take all");
    }
    let input = scratch.file("x.lp", &text);
    for batch in ["1", "7", "5000"] {
        let dir = scratch.path(batch);
        run(&format!("import {{}} {{}} --batch {batch}"), &[&dir, &input]).exits(0);
        assert!(run("export {}", &[&dir]).exits(0).text() == text, "batches of {batch}");
    }
    let dir = scratch.path("short");
    run("import {} {} --string-line-bytes-max 100", &[&dir, &input]).exits(1).says(&["7200 rejected"]);
    run("import {} {} --string-line-bytes-max 1GiB", &[&dir, &input]).exits(2).says(&["at most 64MiB"]);
}

/// Story: a string of 1.2 MB became 600,001 rejected lines, and no message named the limit that cut it.
#[test]
fn a_line_that_the_limit_cuts_names_the_flag() {
    let scratch = Scratch::new();
    let long = format!("m v=1 1\n  m s=\"{}\" 2\nm v=3 3\n", "x\n".repeat(6000));
    let input = scratch.file("long.lp", &long);
    let cut = "long.lp:2: unbalanced quotes: the line is torn, or longer than --string-line-bytes-max (10000 bytes)";
    // The first batch ends long before the limit.
    for batch in ["1", "100", "5000", "10000"] {
        let dir = scratch.path(batch);
        run(&format!("import {{}} {{}} --batch {batch} --string-line-bytes-max 10000"), &[&dir, &input])
            .exits(1)
            .says(&[cut, "2 points", "6001 rejected"]);
    }
    run("import {} {}", &[&scratch.path("d"), &input]).exits(0).says(&["3 points"]);
    // A backslash takes line ends in, too.
    let input = scratch.file("escaped.lp", format!("m\\\n{} v=1 1\nm v=2 2\n", "x".repeat(200)));
    run("import {} {} --string-line-bytes-max 100", &[&scratch.path("e"), &input]).exits(1).says(&[
        "escaped.lp:1: missing fields: the line is torn, or longer than --string-line-bytes-max (100 bytes)",
    ]);
    // The limit has no part in this one.
    let input = scratch.file("torn.lp", "m s=\"torn\nm s=\"good\" 1\nm v=2 2\n");
    let output =
        run("import {} {}", &[&scratch.path("t"), &input]).exits(1).says(&["torn.lp:1: unbalanced quotes"]);
    assert!(!output.stderr.contains("--string-line-bytes-max"), "{}", output.stderr);
}

/// Story: a line of more than 64 MiB stopped the import, and the lines behind it were left out.
#[test]
fn a_line_without_end_is_rejected_alone() {
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
        "x.lp:2: the line is longer than 64 MiB",
        "imported 3 lines: 2 points, 2 values, 1 rejected",
    ]);
    assert_eq!(run("export {}", &[&dir]).exits(0).text(), "m v=1 1\nm v=2 2\n");
}

/// Story: the statements of a dump were rejected, and the points of its second database replaced those of the first.
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
        "skipped 2 statements, and 2 lines of other databases",
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

/// A stream cannot be read twice: what is before the second database is written, and the import says where it stops.
#[test]
fn a_dump_on_stdin_stops_at_the_second_database() {
    let scratch = Scratch::new();
    let (input, dir) = (scratch.file("dump.txt", DUMP), scratch.path("d"));
    let mut child = command();
    child.args(["import", dir.to_str().expect("text"), "-"]).stdin(fs::File::open(&input).expect("opens"));
    let output: support::Run = child.output().expect("runs").into();
    let output = output.exits(2).says(&["stdin:12: points of", "--database"]);
    assert!(output.stderr.contains("2 points"), "{}", output.stderr);
    run("import {} - --by-database", &[&dir]).exits(2).says(&["save stdin to a file"]);
}

/// One place needs no flag. Where `# DML` is missing, a line that is no statement ends the statements.
#[test]
fn a_dump_of_one_database_needs_no_choice() {
    let scratch = Scratch::new();
    let text = "# DDL\nCREATE DATABASE pirates\nCREATE RETENTION POLICY oneday ON pirates DURATION 1d REPLICATION 1\n\
                # DML\n# CONTEXT-DATABASE: pirates\n# CONTEXT-RETENTION-POLICY: oneday\n\ntreasures value=801 1\n";
    for (name, text) in [("with", text.to_owned()), ("without", text.replace("# DML\n", ""))] {
        let text = if name == "without" { text.replace("# CONTEXT", "# context") } else { text };
        let (input, dir) = (scratch.file(name, text), scratch.path(&format!("{name}-d")));
        run("import {} {}", &[&dir, &input]).exits(0).says(&["skipped 2 statements", "1 points"]);
    }
    let bad = scratch.file("bad", "# CONTEXT-DATABASE:../x\n# CONTEXT-RETENTION-POLICY:r\nm v=1 1\n");
    run("import {} {} --by-database", &[&scratch.path("b"), &bad])
        .exits(2)
        .says(&["no name for a directory"]);
    let none = scratch.file("none", "m v=1 1\n");
    run("import {} {} --by-database", &[&scratch.path("b"), &none]).exits(2).says(&["# CONTEXT-DATABASE:"]);
}

/// Story: a database line reset the retention policy, and points of `b.r` had no place. `influx -import` keeps the
/// policy, and writes points without one to the default policy.
#[test]
fn a_retention_policy_holds_for_the_next_database() {
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

/// Story: a database with a typing error gave "0 points", exit code 0 and an empty directory.
#[test]
fn a_choice_that_fits_nothing_is_an_error() {
    let scratch = Scratch::new();
    let mut many = "m v=0 0\n".repeat(200);
    for i in 0..7 {
        writeln!(many, "# CONTEXT-DATABASE: db{i}\nm v={i} {i}").expect("strings take all");
    }
    // The places of the second file are far behind what shows that it is a dump.
    for (name, text, flags, more) in [
        ("dump.txt", DUMP, "--database bd0", "database \"db1\" retention \"autogen\""),
        ("dump.txt", DUMP, "--retention r", "database \"db0\" retention \"autogen\""),
        ("dump.txt", DUMP, "--database db0 --retention r", "--database db0 --retention r:"),
        ("many", &many, "--database x", "database \"db4\" retention \"autogen\", and 2 more"),
    ] {
        let (input, dir) = (scratch.file(name, text), scratch.path("d"));
        run(&format!("import {{}} {{}} {flags}"), &[&dir, &input])
            .exits(2)
            .says(&["no points of the input belong to it", more]);
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
fn an_archive_is_refused_with_a_hint() {
    let scratch = Scratch::new();
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).expect("memory");
    let zstd = zstd::encode_all(&tar[..], 1).expect("memory");
    for (name, bytes) in [("x.tar.gz", gzip.finish().expect("memory")), ("x.tar.zst", zstd), ("x.tar", tar)] {
        let input = scratch.file(name, bytes);
        run("import {} {}", &[&scratch.path("d"), &input]).exits(1).says(&[name, "a tar archive: unpack it"]);
    }
}

/// Story: seconds were imported as nanoseconds, all in 1970, with exit code 0 and no word.
#[test]
fn a_wrong_precision_gets_a_hint() {
    let scratch = Scratch::new();
    let input = scratch.file("sec.lp", "m v=1 1600000000\nm v=2 1600000060\n");
    run("import {} {}", &[&scratch.path("a"), &input]).exits(0).says(&[
        "times 1970-01-01T00:00:01.600000000Z to 1970-01-01T00:00:01.600000060Z",
        "all times lie before 1980: the numbers look like --precision s",
    ]);
    let right = run("import {} {} --precision s", &[&scratch.path("b"), &input]).exits(0);
    assert!(right.stderr.contains("times 2020-09-13T12:26:40.000000000Z to"), "{}", right.stderr);
    assert!(!right.stderr.contains("--precision"), "{}", right.stderr);
    let input = scratch.file("ms.lp", "m v=1 1600000000000\n");
    run("import {} {} --precision s", &[&scratch.path("c"), &input])
        .exits(1)
        .says(&["outside 1677 to 2262: the numbers look like --precision ms"]);
}

/// Story: the message of a full cache said "raise the limit", and no flag has that name.
#[test]
fn a_full_cache_names_the_flags() {
    let scratch = Scratch::new();
    let text: String = (0..5000).map(|i| format!("m v={i} {i}\n")).collect();
    let (input, dir) = (scratch.file("x.lp", text), scratch.path("d"));
    run("import {} {} --cache 10kB", &[&dir, &input]).exits(1).says(&["x.lp:1:", "--batch", "--cache"]);
}

/// Story: one field name with a byte that is not UTF-8 made influxd open no part of the shard.
#[test]
fn a_shard_of_influxdb_takes_only_utf8_names() {
    let scratch = Scratch::new();
    let input = scratch.file("x.lp", b"m v=1 1\nm v\xff=1 2\n\xfem v=1 3\nm,t=\xff v=4 4\n");
    run("import {} {} --types measurement", &[&scratch.path("a"), &input]).exits(1).says(&[
        "x.lp:2: the field \"v\\xff\" is not UTF-8",
        "x.lp:3: the measurement \"\\xfem\" is not UTF-8",
        "2 points",
    ]);
    run("import {} {}", &[&scratch.path("b"), &input]).exits(0);
}
