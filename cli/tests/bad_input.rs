//! Bad input: the error names the place, the exit code is right, and nothing on disk changes.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use support::{Scratch, content, run, sample, tsmith};
use tsmith_engine::Manifest;
use tsmith_wal::fs::OsFs;

/// Story: InfluxDB accepts the name `9-1.tsm` for a TSM file. Every verb ignored such a file.
#[test]
fn a_misnamed_tsm_file_is_reported_by_every_verb() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(900));
    run("snapshot {}", &[&dir]).exits(0);
    let named = dir.join("000000001-000000001.tsm");
    let rename = |from: &Path, to: &Path| {
        fs::copy(from, to).and_then(|_| fs::remove_file(from)).expect("renamed");
    };
    for name in ["9-1.tsm", "1000000000-000000001.tsm"] {
        let misnamed = dir.join(name);
        rename(&named, &misnamed);
        for verb in ["export {}", "stats {}", "compact {} --full", "snapshot {}", "inspect {}"] {
            run(verb, &[&dir]).exits(1).says(&[name]);
        }
        for verb in ["verify {}", "repair {}"] {
            let text = run(verb, &[&dir]).exits(1).text();
            assert!(text.contains(name), "{verb}: {text}");
        }
        rename(&misnamed, &named);
        run("verify {}", &[&dir]).exits(0);
    }
}

#[test]
fn bad_lines_are_reported_and_the_others_written() {
    let scratch = Scratch::new();
    let text = "m v=1 1\nm v= 2\n# note\nm s=\"two\nlines\" 3\nm v=x 4\nm v=5i 5\nm v=6 6";
    let (input, dir, rejects) = (scratch.file("x.lp", text), scratch.path("d"), scratch.path("bad.lp"));
    // With one line per batch, line numbers still refer to the file. With two writers, the later line could come first.
    let output = run("import {} {} --batch 1 --writers 1 --rejects {}", &[&dir, &input, &rejects]);
    let output =
        output.exits(1).says(&["x.lp:2: ", "x.lp:6: ", "x.lp:7: ", "8 lines", "3 points", "3 rejected"]);
    assert!(output.stdout.is_empty());
    assert_eq!(fs::read(&rejects).expect("written"), b"m v= 2\nm v=x 4\nm v=5i 5\n");
    run("import {} {} --rejects {}", &[&dir, &input, &rejects]).exits(2).says(&["bad.lp", "--rejects"]);
    let text = run("export {}", &[&dir]).exits(0).text();
    assert_eq!(text, "m v=1 1\nm s=\"two\nlines\" 3\nm v=6 6\n");
}

#[test]
fn many_bad_lines_are_counted() {
    let scratch = Scratch::new();
    let (input, dir) = (scratch.file("x.lp", "bad\n".repeat(25)), scratch.path("d"));
    let run = run("import {} {}", &[&dir, &input]).exits(1).says(&["x.lp:10:", "15 more", "25 rejected"]);
    assert!(!run.stderr.contains("x.lp:11:"));
}

#[test]
fn truncated_and_foreign_inputs_are_refused() {
    let scratch = Scratch::new();
    let text = sample(20_000);
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("memory");
    let cut = scratch.file("cut.lp.zst", &zstd[..zstd.len() / 2]);
    run("import {} {}", &[&scratch.path("a"), &cut]).exits(1).says(&["cut.lp.zst:", " points"]);
    let tsm = scratch.file("x.lp", [0x16, 0xd1, 0x16, 0xd1, 1]);
    run("import {} {}", &[&scratch.path("b"), &tsm]).exits(1).says(&["x.lp", "TSM"]);
    let missing = scratch.path("nowhere.lp");
    run("import {} {}", &[&scratch.path("b"), &missing]).exits(74).says(&["nowhere.lp"]);
    assert!(!scratch.path("b").exists(), "a wrong input created a directory");
}

/// Story: an import of a corrupt compressed file lost up to one MiB of lines before the corruption. The error named a line
/// after the last imported one.
#[test]
fn lines_before_corruption_are_imported() {
    const LINES: u64 = 300_000;
    let scratch = Scratch::new();
    let text: String = (0..LINES).map(|i| format!("m v={i}i {i}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd = zstd::encode_all(text.as_bytes(), 1).expect("memory");
    for (name, intact) in [("a.gz", &gzip), ("a.zst", &zstd)] {
        for cut in [true, false] {
            let bytes =
                if cut { intact[..intact.len() / 2].to_vec() } else { [intact, &b"garbage"[..]].concat() };
            // The decoders show how many complete lines are before the corruption.
            let mut readable = Vec::new();
            let decoded = if name == "a.gz" {
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut readable)
            } else {
                zstd::Decoder::new(&bytes[..]).expect("memory").read_to_end(&mut readable)
            };
            assert!(decoded.is_err(), "{name}");
            let lines = memchr::memchr_iter(b'\n', &readable).count() as u64;
            assert!(lines > LINES / 10 && (cut || lines == LINES), "{name}: {lines}");
            let input = scratch.file(name, bytes);
            let dir = scratch.path(&format!("{name}-{cut}"));
            run("import {} {}", &[&dir, &input])
                .exits(1)
                .says(&[&format!("{name}:{}: ", lines + 1), &format!("{lines} lines")]);
            let exported = run("export {}", &[&dir]).exits(0).text();
            assert!(text.starts_with(&exported) && exported.lines().count() as u64 == lines, "{name}");
        }
    }
}

#[test]
fn missing_and_foreign_paths_are_refused() {
    let scratch = Scratch::new();
    let nowhere = scratch.path("nowhere");
    for verb in ["export", "query", "inspect", "verify", "stats", "snapshot", "compact"] {
        run(&format!("{verb} {{}}"), &[&nowhere]).exits(74).says(&["tsmith: /", "nowhere: "]);
        assert!(!nowhere.exists(), "{verb} created a directory");
    }
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("made");
    let text = scratch.file("notes.txt", "hello");
    for verb in ["export", "query", "inspect", "verify", "stats", "snapshot"] {
        run(&format!("{verb} {{}}"), &[&empty]).exits(74).says(&["tsmith: /", "empty: "]);
        assert!(content(&empty).keys().all(|path| path.ends_with("tsmith.lock")), "{verb} left something");
    }
    run("export {}", &[&text]).exits(2).says(&["notes.txt", "tsmith import"]);
    let above = scratch.path("data");
    fs::create_dir_all(above.join("db/rp/1")).expect("made");
    fs::write(above.join("db/rp/1/000000001-000000001.tsm"), "").expect("written");
    fs::create_dir_all(scratch.path("wal/db/rp/1")).expect("made");
    for verb in ["export", "query"] {
        run(&format!("{verb} {{}}"), &[&above]).exits(2).says(&["db/rp/1"]);
    }
    for verb in ["inspect", "verify", "stats"] {
        let run = run(&format!("{verb} {{}}"), &[&above]).exits(1);
        assert!((run.text() + &run.stderr).contains("db/rp/1/000000001-000000001.tsm"), "{verb}");
    }
}

#[test]
fn truncated_and_foreign_tsm_files_are_reported() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(3000));
    run("snapshot {}", &[&dir]).exits(0);
    let tsm = dir.join("000000001-000000001.tsm");
    let intact = fs::read(&tsm).expect("a file");
    for (name, bytes) in [
        ("cut", &intact[..intact.len() - 3]),
        ("empty", &intact[..0]),
        ("foreign", &b"\x7fELF, a program of some length, which is no TSM file at all"[..]),
    ] {
        fs::write(&tsm, bytes).expect("written");
        let before = content(&dir);
        for verb in ["export", "query", "inspect", "verify", "stats", "snapshot"] {
            let run = run(&format!("{verb} {{}}"), &[&dir]).exits(1);
            assert!(before == content(&dir), "{verb} changed the directory with a {name} file");
            let output = run.text() + &run.stderr;
            assert!(output.contains("000000001-000000001.tsm"), "{verb} of a {name} file: {output}");
        }
        let input = scratch.file("more.lp", "m v=1 1");
        run("import {} {}", &[&dir, &input]).exits(1).says(&["000000001-000000001.tsm"]);
        assert!(before == content(&dir), "import changed the directory with a {name} file");
    }
}

/// Story: a directory with the name of a TSM file was skipped, so `verify` reported success. A FIFO blocked the command.
#[test]
fn special_files_are_reported_and_not_opened() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(10));
    for name in ["000000007-000000001.tsm", "000000007-000000001.tombstone", "wal/_00009.wal"] {
        let path = dir.join(name);
        let bad = |reason: &str| {
            let verified = run("verify {}", &[&dir]).exits(1).text();
            assert!(verified.contains(&format!("corrupt {}: {reason}", path.display())), "{verified}");
            run("inspect {}", &[&dir]).exits(1).says(&[name, reason]);
        };
        fs::create_dir(&path).expect("made");
        bad("a directory");
        fs::remove_dir(&path).expect("removed");
        std::os::unix::fs::symlink("nowhere", &path).expect("made");
        bad("a link");
        fs::remove_file(&path).expect("removed");
        std::os::unix::net::UnixListener::bind(&path).expect("made");
        bad("not a regular file");
        fs::remove_file(&path).expect("removed");
    }
    run("verify {}", &[&dir]).exits(0);
    fs::remove_dir_all(dir.join("wal")).expect("removed");
    let verified = run("verify {}", &[&dir]).exits(1).text();
    assert!(verified.contains(&format!("corrupt {}: ", dir.join("wal").display())), "{verified}");
}

/// A corrupt block is reported with its offset, and all other blocks are read.
#[test]
fn a_corrupt_block_hides_no_others() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(3000));
    run("snapshot {}", &[&dir]).exits(0);
    let tsm = dir.join("000000001-000000001.tsm");
    let mut bytes = fs::read(&tsm).expect("a file");
    bytes[20] ^= 1;
    fs::write(&tsm, bytes).expect("written");
    let verified = run("verify {}", &[&dir]).exits(1).text();
    assert!(verified.contains("corrupt ") && verified.contains("offset 5: cpu,host=h0#!~#big"), "{verified}");
    let report = run("verify {} --format json", &[&dir]).exits(1).json();
    assert_eq!(report["problems"], 1);
    let exported = run("export {} --format jsonl", &[&dir]).exits(1).says(&["offset 5", "checksum"]);
    assert_eq!(exported.text().lines().count(), 34, "of 35 keys");
    let inspected = run("inspect {} --format json", &[&tsm]).exits(1).json();
    assert_eq!(inspected["files"][0]["keys"][0]["blocks"][0]["crc_ok"], false);
    assert_eq!(inspected["files"][0]["keys"][1]["blocks"][0]["crc_ok"], true);
}

/// Story: a corrupt block was reported twice, with its path twice in a line, and without advice.
#[test]
fn a_corrupt_block_is_reported_once() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(3000));
    run("snapshot {}", &[&dir]).exits(0);
    let tsm = dir.join("000000001-000000001.tsm");
    let mut bytes = fs::read(&tsm).expect("a file");
    bytes[20] ^= 1;
    fs::write(&tsm, bytes).expect("written");
    for verb in ["stats", "export", "query"] {
        let output =
            run(&format!("{verb} {{}}"), &[&dir]).exits(1).says(&["tsmith repair", "offset 5: "]).stderr;
        assert_eq!(output.matches("000000001-000000001.tsm").count(), 1, "{output}");
        assert_eq!(output.matches(&dir.display().to_string()).count(), 1, "{output}");
    }
    run("compact {} --full", &[&dir]).exits(1).says(&["tsmith repair"]);
    run("verify {}", &[&dir]).exits(1).says(&["tsmith repair"]);
}

/// Story: every file with the extension of a segment was read as part of the log.
#[test]
fn a_copy_of_a_segment_is_no_part_of_a_log() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(100));
    let copy = dir.join("wal/x_00001.wal");
    fs::copy(dir.join("wal/_00001.wal"), &copy).expect("copied");
    run("verify {}", &[&dir]).exits(0).says(&["x_00001.wal: not read: "]);
    let text = run("verify {}", &[&copy]).exits(0).text();
    assert!(text.contains("note ") && text.contains("x_00001.wal: "), "{text}");
}

/// If the log is corrupt before its end, verbs that read show the valid records, and verbs that write fail.
#[test]
fn a_corrupt_log_is_reported_and_unchanged() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(3000));
    let segment = dir.join("wal/_00001.wal");
    let mut bytes = fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&segment, bytes).expect("written");
    let before = content(&dir);
    let verified = run("verify {}", &[&dir]).exits(1).text();
    assert!(verified.contains("_00001.wal: offset "), "{verified}");
    let exported = run("export {}", &[&dir]).exits(1).says(&["_00001.wal", "offset "]);
    assert!(exported.text().lines().count() > 100, "the records before the corruption are shown");
    let input = scratch.file("more.lp", "m v=1 1");
    run("import {} {}", &[&dir, &input]).exits(1).says(&["_00001.wal", "offset ", "tsmith repair"]);
    run("snapshot {}", &[&dir]).exits(1);
    // Story: a dry run counted the points without a warning, although the delete would fail.
    run("delete {} --measurement cpu --dry-run", &[&dir]).exits(1).says(&["_00001.wal", "docs/repair.md"]);
    run("delete {} --measurement cpu", &[&dir]).exits(1).says(&["_00001.wal", "nothing was deleted"]);
    assert!(before == content(&dir), "the corrupt directory was changed");
}

/// Story: `verify` accepted a `native` log with an emptied, missing or copied segment. Engines then lost records, or refused
/// the log.
#[test]
fn verify_detects_a_missing_native_segment() {
    let scratch = Scratch::new();
    let dir = scratch.path("d");
    for round in 1..=3 {
        let input = scratch.file("lines.lp", format!("m v={round} {round}"));
        run("import {} {} --log native", &[&dir, &input]).exits(0);
    }
    run("verify {}", &[&dir]).exits(0);
    let input = scratch.file("more.lp", "m v=4 4");
    let [one, two, nine] = [1, 2, 9].map(|number| dir.join(format!("wal/0000000{number}.tlog")));
    let intact = [&one, &two].map(|path| fs::read(path).expect("a segment"));
    let losses: [(&str, &dyn Fn()); 5] = [
        ("emptied", &|| fs::write(&two, b"").expect("written")),
        ("zeroed", &|| fs::write(&two, vec![0; intact[1].len()]).expect("written")),
        ("removed", &|| fs::remove_file(&two).expect("removed")),
        ("the first removed", &|| fs::remove_file(&one).expect("removed")),
        ("copied", &|| assert!(fs::copy(&two, &nine).is_ok())),
    ];
    for (what, lose) in losses {
        lose();
        let before = content(&dir);
        let verified = run("verify {}", &[&dir]).exits(1).text();
        let reported = if what == "copied" { "00000009.tlog: offset 0" } else { "missing" };
        assert!(verified.contains(reported), "{what}: {verified}");
        run("export {}", &[&dir]).exits(1);
        run("import {} {}", &[&dir, &input]).exits(1).says(&["tsmith repair"]);
        assert!(before == content(&dir), "{what}: the directory was changed");
        fs::write(&one, &intact[0]).expect("written");
        fs::write(&two, &intact[1]).expect("written");
        drop(fs::remove_file(&nine));
    }
    run("verify {}", &[&dir]).exits(0);
}

/// Story: `verify` accepted a log in InfluxDB's format with a missing segment. Our segments name the previous one.
#[test]
fn verify_detects_a_missing_influxdb_segment() {
    let scratch = Scratch::new();
    let dir = scratch.path("d");
    for round in 1..=3 {
        let input = scratch.file("lines.lp", format!("m v={round} {round}"));
        run("import {} {} --log file", &[&dir, &input]).exits(0);
    }
    run("verify {}", &[&dir]).exits(0);
    let lost = dir.join("wal/_00002.wal");
    let input = scratch.file("more.lp", "m v=4 4");
    let losses: [&dyn Fn(); 2] =
        [&|| fs::write(&lost, b"").expect("written"), &|| fs::remove_file(&lost).expect("removed")];
    for lose in losses {
        lose();
        let verified = run("verify {}", &[&dir]).exits(1).text();
        assert!(verified.contains("missing"), "{verified}");
        run("import {} {}", &[&dir, &input]).exits(1);
    }
    run("repair {}", &[&dir]).exits(1);
    run("import {} {}", &[&dir, &input]).exits(0);
    run("verify {}", &[&dir]).exits(0);
}

#[test]
fn parts_must_match_the_manifest() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(10));
    let input = scratch.file("more.lp", "m v=1 1");
    let before = content(&dir);
    run("import {} {} --encoder zstd", &[&dir, &input]).exits(2).says(&["--encoder tsm1"]);
    run("import {} {} --log papyrus", &[&dir, &input]).exits(2).says(&["papyrus", "mmap"]);
    run("import {} {} --wal {}", &[&dir, &input, &scratch.path("w")]).exits(2).says(&["--wal"]);
    assert!(before == content(&dir));
    fs::write(dir.join("tsmith.manifest"), "tsmith 1\nstorer ring\n").expect("written");
    for verb in ["export", "snapshot"] {
        run(&format!("{verb} {{}}"), &[&dir]).exits(1).says(&["tsmith.manifest", "line 3"]);
    }
    let verified = run("verify {}", &[&dir]);
    assert!(verified.code == 1 && (verified.text() + &verified.stderr).contains("line 3"));
}

/// Story: `verify` and `import` reported only the first part that this build does not have.
#[test]
fn all_missing_parts_of_a_manifest_are_reported() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(10));
    let input = scratch.file("more.lp", "m v=1 1");
    let mut manifest = Manifest::read(&OsFs, &dir).expect("valid").expect("exists");
    manifest.parts.storer = "lattice".to_owned();
    manifest.parts.encoder = "papyrus".to_owned();
    manifest.write(&OsFs, &dir).expect("written");
    let before = content(&dir);
    for verb in ["import {} {}", "snapshot {}", "compact {}"] {
        run(verb, &[&dir, &input]).exits(2).says(&[
            "tsmith.manifest",
            "storer `lattice`",
            "encoder `papyrus`",
        ]);
    }
    for verb in ["verify {}", "repair {}"] {
        let text = run(verb, &[&dir]).exits(1).text();
        assert!(text.contains("unknown ") && text.contains("lattice") && text.contains("papyrus"), "{text}");
    }
    assert!(before == content(&dir));
}

#[test]
fn a_directory_in_use_is_refused() {
    let scratch = Scratch::new();
    let dir = scratch.path("d");
    let (mut holder, stdin) = support::holder(&dir);
    let input = scratch.file("more.lp", "m v=2 2");
    for verb in ["export", "query", "inspect", "verify", "stats", "snapshot"] {
        run(&format!("{verb} {{}}"), &[&dir]).exits(74).says(&["in use"]);
    }
    run("import {} {}", &[&dir, &input]).exits(74).says(&["in use"]);
    drop(stdin);
    assert!(holder.wait().expect("ends").success());
    run("verify {}", &[&dir]).exits(0);
    assert!(run("export {} --measurement m", &[&dir]).exits(0).text() == "m v=1 1\n");
}

#[test]
fn wrong_usage_exits_with_2() {
    tsmith(["frobnicate", "d"]).exits(2);
    tsmith(["compact"]).exits(2);
    tsmith(["export"]).exits(2);
    tsmith(["export", "d", "--frobnicate"]).exits(2);
    tsmith(["query", "d", "--start", "yesterday"]).exits(2).says(&["--start", "RFC 3339"]);
    tsmith(["import", "d", "x", "--precision", "d"]).exits(2).says(&["--precision"]);
    tsmith(["import", "d", "x", "--batch", "0"]).exits(2);
    tsmith(["import", "d", "x", "--cache", "lots"]).exits(2);
    // Story: too many threads ended the process without an error.
    for writers in ["0", "257", "100000", "18446744073709551615"] {
        tsmith(["import", "d", "x", "--writers", writers]).exits(2).says(&["--writers"]);
    }
    tsmith::<&str>([]).exits(2);
    assert!(tsmith(["--version"]).exits(0).text().starts_with("tsmith "));
}

/// Each help begins with one line of purpose and an example. Everything but the list of options fits on a screen.
#[test]
fn help_begins_with_purpose_and_example() {
    for verb in
        ["import", "export", "query", "inspect", "verify", "stats", "snapshot", "compact", "delete", "repair"]
    {
        let help = tsmith([verb, "--help"]).exits(0).text();
        let lines: Vec<&str> = help.lines().collect();
        assert!(lines[0].len() <= 80 && lines[1].is_empty(), "{help}");
        assert!(
            lines[2].starts_with("Example") && lines[3].starts_with(&format!("  tsmith {verb} ")),
            "{help}"
        );
        let usage = lines.iter().position(|line| line.starts_with("Usage: "));
        assert!(usage.is_some_and(|usage| usage <= 24), "{help}");
    }
}

/// Values that line protocol cannot represent are reported. The exact format has them.
#[test]
fn values_that_line_protocol_cannot_hold_are_reported() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tsm/tests/vectors/tsm1/tsm/extreme");
    let file = vectors.join("000000001-000000001.tsm");
    run("export {}", &[&file]).exits(1).says(&["x#!~#b", "NaN", "--exact"]);
    run("export {} --format jsonl --exact", &[&file]).exits(0);
    run("export {} --exact", &[&file]).exits(2).says(&["--exact"]);
}
