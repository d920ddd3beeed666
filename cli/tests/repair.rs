//! `repair` of corrupt directories and files.

mod support;

use std::fs;
use std::path::Path;

use support::{
    Scratch, append_payloads, content, export, flip, points, run, sample, segments, write_payload,
};
use tsmith_engine::{TimeRange, Value};
use tsmith_tsm::{MEMBER_OPEN_AT, Tombstone, TombstoneFile, TombstoneWrite, member_open_mark};
use tsmith_wal::FileLog;
use tsmith_wal::fs::{Fs, OsFs};

/// A directory with tombstones, a log, and a file with several blocks per key.
fn directory(scratch: &Scratch) -> std::path::PathBuf {
    let dir = scratch.imported("d", sample(9000));
    run("snapshot {}", &[&dir]).exits(0);
    run("delete {} --key cpu,host=h0#!~#count --end 1600000050000000000", &[&dir]).exits(0);
    run("delete {} --key cpu,host=h1#!~#count --end 1600000050000000000", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    let more = scratch.file("more.lp", (0..50).map(|n| format!("more v={n}i {n}\n")).collect::<String>());
    run("import {} {} --batch 1 --writers 1 --compaction off", &[&dir, &more]).exits(0);
    dir
}

#[test]
fn a_corrupt_directory_is_repaired() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let all = points(&export(&dir));
    run("repair {}", &[&dir]).exits(0);
    let tsm = dir.join("000000001-000000001.tsm");
    let segment = segments(&dir).pop().expect("a segment");
    let (corrupt_tsm, corrupt_log) = (flip(&tsm, 20), flip(&segment, usize::MAX));

    let before = content(&dir);
    let planned = run("repair {} --dry-run --format json", &[&dir]).exits(1).json();
    let text = run("repair {} --dry-run", &[&dir]).exits(1).text();
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    assert!(text.contains("corrupt ") && text.contains("nothing was changed"), "{text}");
    assert!(text.contains("cpu,host=h0#!~#big: kept 1 block"), "{text}");
    assert!(text.contains("dropped offset 5: 2020-09-13T12:26:40.000000000Z to "), "{text}");

    let done = run("repair {} --format json", &[&dir]).exits(1).json();
    let state = |report: &serde_json::Value, state: &str| {
        report["files"].as_array().expect("files").iter().filter(|file| file["state"] == state).count()
    };
    assert_eq!((state(&planned, "corrupt"), state(&done, "repaired")), (2, 2), "{done}");
    for (plan, file) in
        planned["files"].as_array().expect("files").iter().zip(done["files"].as_array().expect("files"))
    {
        for part in ["path", "kind", "kept", "dropped", "keys", "gaps", "quarantined"] {
            assert_eq!(plan[part], file[part], "{part}");
        }
    }
    assert_eq!(fs::read(dir.join("000000001-000000001.tsm.bad")).expect("quarantined"), corrupt_tsm);
    let quarantined = format!("{}.bad", segment.display());
    assert_eq!(fs::read(quarantined).expect("quarantined"), corrupt_log);

    run("repair {}", &[&dir]).exits(0);
    run("verify {}", &[&dir]).exits(0);
    let left = points(&export(&dir));
    let (corrupt, logged) = (&b"cpu,host=h0#!~#big"[..], &b"more#!~#v"[..]);
    for (key, column) in all.iter().filter(|(key, _)| ![corrupt, logged].contains(&&key[..])) {
        assert!(left.get(key) == Some(column), "{}", String::from_utf8_lossy(key));
    }
    assert_eq!(left[corrupt].times(), &all[corrupt].times()[1000..], "the first block is lost");
    // The flipped byte is in the middle of the segment: in a record, or in a mark, which costs no record.
    assert!((49..=50).contains(&left[logged].len()), "{}", left[logged].len());
    // The repaired directory can be opened and compacted.
    run("compact {} --full", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    assert_eq!(points(&export(&dir)), left);
}

#[test]
fn points_of_lost_tombstones_reappear() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let path = dir.join("000000001-000000001.tombstone");
    let bytes = fs::read(&path).expect("tombstones");
    // The flipped byte is in the records of the second gzip member.
    let members = bytes.windows(4).enumerate().filter(|(_, window)| *window == [0x1f, 0x8b, 8, 4]);
    let second = members.map(|(at, _)| at).nth(1).expect("two deletes");
    flip(&path, second + 40);
    run("export {}", &[&dir]).exits(1).says(&["000000001-000000001.tombstone"]);
    let text = run("repair {}", &[&dir]).exits(1).text();
    assert!(text.contains("kept 1 record; dropped"), "{text}");
    let verified = run("verify {}", &[&dir]).exits(0).text();
    assert!(verified.contains("000000001-000000001.tombstone.bad"), "{verified}");
    let left = points(&export(&dir));
    let len = |host: u8| left[format!("cpu,host=h{host}#!~#count").as_bytes()].len();
    assert_eq!((len(0), len(1)), (1286 - 8, 1286), "only the points of the second delete reappear");
}

/// Story: after a bit flip in tombstones, `verify` and `repair` reported corruption, but `export` and `stats` showed the
/// deleted points, and `compact` wrote them back. The verbs also disagreed about a delete that a crash interrupted.
#[test]
fn all_verbs_agree_about_tombstones() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(900));
    run("snapshot {}", &[&dir]).exits(0);
    let path = dir.join("000000001-000000001.tombstone");
    let delete = |host: &str| {
        run(&format!("delete {{}} --key cpu,host={host}#!~#count"), &[&dir]).exits(0);
        fs::read(&path).expect("tombstones")
    };
    let (before, mut ours) = (delete("h0").len(), delete("h1"));
    let all = export(&dir);
    let theirs = Tombstone::new(b"cpu,host=h2#!~#count", TimeRange::ALL);
    let TombstoneWrite::Replace { bytes } = TombstoneFile::default().plan(&[theirs]) else {
        panic!("a new file")
    };
    // A gzip member of InfluxDB has no extra field. The log has no record of this delete.
    let theirs = [&[0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff], &bytes[4 + 24..]].concat();
    fs::write(&path, [&ours[..], &theirs].concat()).expect("written");
    run("verify {}", &[&dir]).exits(0);
    assert_ne!(export(&dir), all);
    flip(&path, ours.len() + theirs.len() - 12);
    let corrupt = content(&dir);
    let offset = format!("offset {}", ours.len());
    for verb in ["export {}", "stats {}", "compact {} --full"] {
        let says = ["000000001-000000001.tombstone", &*offset, "`tsmith repair`"];
        run(verb, &[&dir]).exits(1).says(&says);
    }
    for verb in ["verify {}", "inspect {}", "repair {} --dry-run"] {
        run(verb, &[&dir]).exits(1);
    }
    assert_eq!(content(&dir), corrupt);

    ours[before + MEMBER_OPEN_AT] = member_open_mark(&ours[before..]);
    fs::write(&path, &ours[..before + 300]).expect("cut");
    for verb in ["verify {}", "inspect {}", "repair {}", "stats {}"] {
        run(verb, &[&dir]).exits(0);
    }
    assert_eq!(export(&dir), all);
    run("compact {} --full", &[&dir]).exits(0);
    assert_eq!(export(&dir), all);
}

/// Only the index contains the keys, so a file without an index cannot be repaired.
#[test]
fn a_file_without_an_index_is_unchanged() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    run("snapshot {}", &[&dir]).exits(0);
    let (first, second) = (dir.join("000000001-000000001.tsm"), dir.join("000000002-000000001.tsm"));
    let mut bytes = fs::read(&first).expect("there");
    let footer = *bytes.last_chunk().expect("a footer");
    bytes.truncate(u64::from_be_bytes(footer) as usize);
    fs::write(&first, &bytes).expect("written");
    flip(&second, 12);
    let before = fs::read(&first).expect("there");
    let text = run("repair {}", &[&dir]).exits(1).text();
    assert!(text.contains("unrepaired ") && text.contains("\nrepaired "), "{text}");
    assert_eq!(fs::read(&first).expect("there"), before);
    run("repair {}", &[&dir]).exits(1);
    fs::copy(&first, dir.join("000000001-000000001.tsm.bad")).expect("copied");
    fs::remove_file(&first).expect("removed");
    run("repair {}", &[&dir]).exits(0);
}

#[test]
fn single_files_are_repaired() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let copy = scratch.path("copy.tsm");
    fs::copy(dir.join("000000001-000000001.tsm"), &copy).expect("copied");
    flip(&copy, 20);
    run("repair {} --dry-run", &[&copy]).exits(1);
    run("verify {}", &[&copy]).exits(1);
    run("repair {}", &[&copy]).exits(1);
    run("verify {}", &[&copy]).exits(0);
    assert!(scratch.path("copy.tsm.bad").exists());
    run("repair {}", &[&scratch.path("nowhere")]).exits(74).says(&["nowhere: "]);
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("made");
    run("repair {}", &[&empty]).exits(74).says(&["empty: "]);
    assert!(content(&empty).is_empty(), "no lock file is left in a directory that is not ours");
}

/// Story: the repair of a single file left a lock file beside it.
#[test]
fn no_lock_is_left_beside_a_single_file() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let alone = scratch.path("alone");
    fs::create_dir(&alone).expect("made");
    let segment = segments(&dir).pop().expect("a segment");
    for (from, at) in [(dir.join("000000001-000000001.tsm"), 20), (segment, usize::MAX)] {
        let copy = alone.join(from.file_name().expect("a name"));
        fs::copy(&from, &copy).expect("copied");
        flip(&copy, at);
        run("repair {}", &[&copy]).exits(1);
        run("verify {}", &[&copy]).exits(0);
    }
    let locks = content(&alone).into_keys().filter(|path| path.extension().is_some_and(|end| end == "lock"));
    assert_eq!(locks.collect::<Vec<_>>(), <Vec<std::path::PathBuf>>::new());
}

/// Story: a repair was killed after it had quarantined the file. The next repair quarantined it a second time.
#[test]
fn a_killed_repair_can_be_repeated() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let tsm = dir.join("000000001-000000001.tsm");
    flip(&tsm, 20);
    fs::hard_link(&tsm, dir.join("000000001-000000001.tsm.bad")).expect("linked");
    fs::write(dir.join("000000001-000000001.tsm.tmp"), b"incomplete").expect("written");
    run("repair {}", &[&dir]).exits(1);
    let names: Vec<String> = content(&dir)
        .into_keys()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.starts_with("000000001-000000001.tsm"))
        .collect();
    assert_eq!(names, ["000000001-000000001.tsm", "000000001-000000001.tsm.bad"]);
    // A quarantined file is listed, but not checked.
    let report = run("verify {} --format json", &[&dir]).exits(0).json();
    let is_leftover = |list: &str| report[list].to_string().contains("000000001-000000001.tsm.bad");
    assert!(is_leftover("leftovers") && !is_leftover("files"), "{report}");
    let text = run("verify {}", &[&dir]).exits(0).text();
    assert!(text.contains("leftover ") && text.contains("1 leftover file"), "{text}");
}

/// Story: with one corrupt byte in the manifest, every verb reported that and did nothing else.
#[test]
fn a_corrupt_manifest_is_repaired() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let all = export(&dir);
    let (path, log) = (dir.join("tsmith.manifest"), dir.join("wal"));
    let good = fs::read(&path).expect("there");
    fs::write(&path, String::from_utf8_lossy(&good).replace("tsm1", "tsm2")).expect("written");
    let exported = run("export {} --format lp", &[&dir]).exits(1);
    let exported = exported.says(&["tsmith.manifest: line 7", "tsmith repair", "--wal"]);
    assert_eq!(exported.stdout, all, "all values are exported");
    for verb in ["snapshot", "compact", "delete --key x --dry-run"] {
        let (verb, rest) = verb.split_once(' ').unwrap_or((verb, ""));
        let mut words = vec![verb, "{}"];
        words.extend(rest.split(' ').filter(|word| !word.is_empty()));
        run(&words.join(" "), &[&dir]).exits(1).says(&["tsmith.manifest: line 7", "tsmith repair"]);
    }
    let before = content(&dir);
    let plan = run("repair {} --dry-run", &[&dir]).exits(1).text();
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    assert!(plan.contains("kept ring/file/tsm1, log in wal") && plan.contains("encoder"), "{plan}");
    run("repair {}", &[&dir]).exits(1);
    run("verify {}", &[&dir]).exits(0);
    assert_eq!(fs::read(&path).expect("there"), good);
    assert_eq!(export(&dir), all);

    // A log elsewhere may belong to another engine. It is not changed until the user names it.
    let elsewhere = scratch.path("elsewhere");
    OsFs.rename(&log, &elsewhere).expect("moved");
    let corrupt = flip(&longest_segment(&elsewhere), usize::MAX);
    let moved = String::from_utf8_lossy(&good).replace("wal wal", &format!("wal {}", elsewhere.display()));
    fs::write(&path, moved).expect("written");
    let output = run("repair {}", &[&dir]).exits(1).text();
    assert!(output.contains("unrepaired ") && output.contains("--wal"), "{output}");
    assert_eq!(fs::read(longest_segment(&elsewhere)).expect("there"), corrupt);
    run("repair {} --wal {}", &[&dir, &elsewhere]).exits(1);
    run("verify {}", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
}

fn longest_segment(log: &Path) -> std::path::PathBuf {
    let found = support::paths(log).into_iter();
    let found = found.filter(|path| path.file_name().is_some_and(tsmith_wal::is_segment));
    found.max_by_key(|path| fs::metadata(path).map_or(0, |found| found.len())).expect("a segment")
}

/// Story: a log gave a field two types, so no engine opened it. `verify` reported it, but `repair` found no problem.
#[test]
fn a_log_with_two_types_is_repaired() {
    let scratch = Scratch::new();
    let dir = scratch.path("d");
    let log = dir.join("wal");
    let types = [Value::Float(0.5), Value::Integer(1), Value::Float(1.5)];
    let payloads = (1..).zip(types);
    let payloads =
        payloads.map(|(time, value)| write_payload(&[("cpu", value), ("mem", Value::Boolean(true))], time));
    append_payloads::<FileLog<OsFs>>(&log, &payloads.collect::<Vec<_>>());
    let input = scratch.file("more.lp", "cpu v=9 9");
    run("import {} {}", &[&dir, &input]).exits(1);
    run("verify {}", &[&dir]).exits(1);
    let before = content(&dir);
    let assert_reported = |text: &str| {
        for part in ["cpu#!~#v", "type integer", "type float", "part of 1 record", "kept 3 records"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    assert_reported(&run("repair {} --dry-run", &[&dir]).exits(1).text());
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    assert_reported(&run("repair {}", &[&dir]).exits(1).text());
    run("verify {}", &[&dir]).exits(0);
    run("import {} {}", &[&dir, &input]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    let left = points(&export(&dir));
    assert_eq!(left[&b"cpu#!~#v"[..]].times(), [1, 3, 9]);
    assert_eq!(left[&b"mem#!~#v"[..]].times(), [1, 2, 3], "values without a conflict are kept");
}

#[test]
fn a_directory_in_use_is_refused() {
    let scratch = Scratch::new();
    let dir = scratch.path("d");
    let (mut holder, _stdin) = support::holder(&dir);
    run("repair {} --dry-run", &[&dir]).exits(74).says(&["in use"]);
    run("repair {}", &[&dir]).exits(74).says(&["in use"]);
    holder.kill().expect("killed");
    holder.wait().expect("ended");
    run("repair {}", &[&dir]).exits(0);
}

/// Story: records after a corrupt record were not read, a corrupt log in etcd's format could not be opened again, and
/// `snapshot` refused a log that `import --recovery salvage` accepted.
#[test]
fn every_log_is_read_past_corruption() {
    for log in ["file", "mmap", "native", "etcd"] {
        let scratch = Scratch::new();
        let dir = scratch.path("d");
        let lines = scratch.file("lines.lp", (0..400).map(|n| format!("m v={n}i {n}\n")).collect::<String>());
        let import = "import {} {} --batch 4 --writers 1 --compaction off --log ";
        run(&format!("{import}{log}"), &[&dir, &lines]).exits(0);
        let segment = longest_segment(&dir.join("wal"));
        flip(&segment, usize::MAX);
        let corrupt = content(&dir);

        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        let read = run("export {}", &[&dir]).exits(1).says(&[&name]).stdout;
        let left = points(&read);
        assert_eq!(left[&b"m#!~#v"[..]].len(), 396, "{log}: one batch is lost");
        run("export {}", &[&segment]).exits(if log == "etcd" { 2 } else { 1 });
        let verified = run("verify {}", &[&dir]).exits(1).stderr;
        assert_eq!(verified.contains("--recovery salvage"), log == "etcd", "{verified}");
        assert_eq!(verified.contains("repair --dry-run"), log != "etcd", "{verified}");
        let way = if log == "etcd" { "tsmith snapshot" } else { "tsmith repair" };
        for refused in [run("import {} {}", &[&dir, &lines]), run("snapshot {}", &[&dir])] {
            refused.exits(1).says(&[&name, way, "--recovery salvage"]);
        }
        run("repair {} --dry-run", &[&dir]).exits(1);
        assert_eq!(content(&dir), corrupt, "{log}");

        run("import {} {} --recovery salvage", &[&dir, &lines]).exits(1).says(&[&name]);
        run("snapshot {}", &[&dir]).exits(1);
        run("snapshot {} --recovery salvage", &[&dir]).exits(1).says(&[&name]);
        run("verify {}", &[&dir]).exits(0);
        run("import {} {}", &[&dir, &lines]).exits(0);
        assert_eq!(points(&export(&dir))[&b"m#!~#v"[..]].len(), 400, "{log}");
    }
}

/// Story: an engine with the log `etcd` had lost its manifest. `verify` and `repair` found no problem, but no other verb
/// opened it.
#[test]
fn a_missing_manifest_is_recreated_for_our_logs() {
    for log in ["native", "etcd"] {
        let scratch = Scratch::new();
        let dir = scratch.path("d");
        let lines = scratch.file("lines.lp", (0..400).map(|n| format!("m v={n}i {n}\n")).collect::<String>());
        run(&format!("import {{}} {{}} --log {log}"), &[&dir, &lines]).exits(0);
        fs::remove_file(dir.join("tsmith.manifest")).expect("there");
        run("verify {}", &[&dir]).exits(1).says(&["tsmith repair"]);
        run("repair {}", &[&dir]).exits(1);
        run("verify {}", &[&dir]).exits(0);
        run("snapshot {}", &[&dir]).exits(0);
        assert_eq!(points(&export(&dir))[&b"m#!~#v"[..]].len(), 400, "{log}");
    }
}

/// Story: a repair of a directory with a torn tail ended with `3 files, all ok`.
#[test]
fn the_last_line_counts_each_state() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1 1\n");
    // The begin of a record that a crash left.
    fs::write(dir.join("wal/_00003.wal"), b"\x01\0\0\0\x20abc").expect("written");
    let text = run("repair {}", &[&dir]).exits(0).text();
    assert!(text.contains("torn ") && text.ends_with("files: 3 ok, 1 torn\n"), "{text}");
}
