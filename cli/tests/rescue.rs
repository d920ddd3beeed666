//! TSM files with a corrupt header, footer or index, quarantined files, and files of unknown encoders.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Scratch, content, export, run, same_points, sample};

const FIRST: &str = "000000001-000000001.tsm";
const SECOND: &str = "000000002-000000001.tsm";
/// A tag that no encoder uses.
const UNKNOWN: u8 = 0x7e;

/// A directory with all points in one TSM file.
fn in_file(scratch: &Scratch, flags: &str) -> PathBuf {
    let (text, dir) = (scratch.file("in.lp", sample(3000)), scratch.path("d"));
    run(format!("import {{}} {{}} {flags}").trim_end(), &[&dir, &text]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    dir
}

/// Changes the tag of each block in the file at `path` to [`UNKNOWN`], with a valid checksum.
fn retag(path: &Path) {
    let mut bytes = fs::read(path).expect("there");
    let reader = tsmith_tsm::Reader::new(bytes.clone().into()).expect("opens");
    for entry in reader.keys().flat_map(tsmith_tsm::KeyEntry::entries) {
        let (at, end) = (entry.offset as usize, entry.offset as usize + entry.size as usize);
        bytes[at + 4] = UNKNOWN;
        let crc = crc32(&bytes[at + 4..end]);
        bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    }
    fs::write(path, bytes).expect("written");
}

/// CRC-32 as in IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Story: a file had lost its last 4 or its first 5 bytes, beside an empty file. `repair` could repair neither.
#[test]
fn a_file_with_a_corrupt_header_or_footer_is_repaired() {
    type Break = fn(&mut Vec<u8>);
    let breaks: [Break; 3] = [
        |bytes| bytes.truncate(bytes.len() - 4),
        |bytes| bytes[..5].fill(0),
        |bytes| {
            let at = bytes.len() - 1;
            bytes[at] ^= 1;
        },
    ];
    for break_it in breaks {
        let scratch = Scratch::new();
        let dir = in_file(&scratch, "");
        let all = export(&dir);
        let path = dir.join(FIRST);
        let mut bytes = fs::read(&path).expect("there");
        break_it(&mut bytes);
        fs::write(&path, &bytes).expect("written");
        fs::write(dir.join(SECOND), b"").expect("written");
        let text = run("verify {}", &[&dir]).exits(1).text();
        assert_eq!(text.lines().filter(|line| line.starts_with("corrupt ")).count(), 2, "{text}");
        run("export {}", &[&dir]).exits(1).says(&["tsmith repair"]);
        let shown = run("inspect {}", &[&path]).exits(1).text();
        assert!(shown.contains("ERROR ") && shown.contains("crc ok"), "{shown}");
        let before = content(&dir);
        run("repair {} --dry-run", &[&dir]).exits(1);
        assert_eq!(content(&dir), before, "a dry run changes nothing");
        let report = run("repair {} --format json", &[&dir]).exits(1).json();
        let states = [0, 1].map(|at| report["files"][at]["state"].as_str());
        assert_eq!(states, [Some("repaired"); 2], "{report}");
        assert_eq!(report["files"][0]["index"]["orphan_bytes"], 0, "{report}");
        assert_eq!(fs::read(dir.join(format!("{FIRST}.bad"))).expect("quarantined"), bytes);
        assert!(dir.join(format!("{SECOND}.bad")).exists() && !dir.join(SECOND).exists());
        run("verify {}", &[&dir]).exits(0);
        run("repair {}", &[&dir]).exits(0);
        same_points(&all, &export(&dir));
    }
}

/// Story: influxd had quarantined a file as `.tsm.bad`, and no verb accepted that name.
#[test]
fn a_quarantined_file_can_be_read_and_rescued() {
    let scratch = Scratch::new();
    let dir = in_file(&scratch, "");
    let all = export(&dir);
    let bad = dir.join(format!("{FIRST}.bad"));
    fs::copy(dir.join(FIRST), &bad).expect("copied");
    fs::remove_file(dir.join(FIRST)).expect("removed");
    for verb in ["verify", "inspect", "stats", "repair"] {
        run(&format!("{verb} {{}}"), &[&bad]).exits(0);
    }
    same_points(&all, &export(&bad));
    assert_eq!(content(&dir).keys().filter(|path| path.starts_with(&bad)).count(), 1);

    let mut bytes = fs::read(&bad).expect("there");
    bytes.truncate(bytes.len() - 4);
    fs::write(&bad, &bytes).expect("written");
    run("export {}", &[&bad]).exits(1).says(&["repair"]);
    let rescued = dir.join(format!("{FIRST}.rescued"));
    run("repair {} --dry-run", &[&bad]).exits(1);
    assert!(!rescued.exists());
    let text = run("repair {}", &[&bad]).exits(1).text();
    assert!(text.contains(&rescued.display().to_string()), "{text}");
    assert_eq!(fs::read(&bad).expect("there"), bytes, "it is unchanged");
    assert!(!dir.join(FIRST).exists(), "no engine may read points that may be out of date");
    run("verify {}", &[&rescued]).exits(0);
    same_points(&all, &export(&rescued));
    let before = content(&dir);
    let text = run("repair {}", &[&bad]).exits(1).text();
    assert!(text.starts_with("unrepaired ") && text.contains(&format!("{FIRST}.rescued")), "{text}");
    assert_eq!(content(&dir), before, "nothing is overwritten");
    let second = dir.join(format!("{FIRST}.2.bad"));
    fs::write(&second, b"").expect("written");
    let text = run("repair {}", &[&second]).exits(1).text();
    assert!(text.starts_with("unrepaired "), "{text}");
}

/// Story: `stats` advised to repair a file of an encoder that this build does not have. The repair quarantined the file,
/// although every checksum was valid.
#[test]
fn a_file_of_an_unknown_encoder_is_unchanged() {
    let scratch = Scratch::new();
    let dir = in_file(&scratch, "--encoder zstd");
    retag(&dir.join(FIRST));
    // A second file gives a compaction something to do.
    let more = scratch.file("more.lp", "more v=1 1\n");
    run("import {} {} --compaction off", &[&dir, &more]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    let before = content(&dir);
    let check = |line: &str| {
        let found = run(line, &[&dir]).exits(1);
        let all = found.text() + &found.stderr;
        assert!(all.contains(FIRST) && all.contains("0x7e"), "{line}: {all}");
        assert!(
            !all.contains("tsmith repair") && !all.contains("corrupt ") && !all.contains("CRC BAD"),
            "{line}: {all}"
        );
    };
    for line in [
        "verify {}",
        "stats {}",
        "export {}",
        "inspect {}",
        "repair {} --dry-run",
        "repair {}",
        "compact {} --full",
    ] {
        check(line);
    }
    // Story: `export` and `query` printed one line per block.
    for verb in ["export {}", "query {}"] {
        let stderr = run(verb, &[&dir]).exits(1).stderr;
        assert!(stderr.lines().count() == 1 && stderr.contains("35 blocks"), "{stderr}");
    }
    // No compaction is due.
    run("compact {}", &[&dir]).exits(0);
    let names = |content: &std::collections::BTreeMap<PathBuf, Vec<u8>>| {
        content
            .iter()
            .filter(|(path, _)| path.to_string_lossy().contains(".tsm"))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&content(&dir)), names(&before));
    let report = run("verify {} --format json", &[&dir]).exits(1).json();
    let file =
        report["files"].as_array().expect("files").iter().find(|file| file["ok"] == false).expect("one");
    assert_eq!(
        (file["problems"].as_array().map(Vec::len), file["unknown"].as_array().map(Vec::len)),
        (Some(0), Some(1))
    );
    let report = run("repair {} --format json", &[&dir]).exits(1).json();
    assert!(
        report["files"].as_array().expect("files").iter().any(|file| file["state"] == "unknown"),
        "{report}"
    );
}

/// Story: the advice for a corrupt quarantined file was to repair the directory, which ignores that file.
#[test]
fn a_quarantined_file_is_repaired_by_its_name() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m,h=a f=1 1\nm,h=b f=2 2\n");
    run("snapshot {}", &[&dir]).exits(0);
    let file = dir.join("000000001-000000001.tsm");
    let mut bytes = fs::read(&file).expect("there");
    bytes[6] ^= 1;
    for name in ["000000001-000000001.tsm.bad", "copy.tsm"] {
        let path = scratch.file(name, &bytes);
        let advice = format!("`tsmith repair {}`", path.display());
        run("export {}", &[&path]).exits(1).says(&[&advice]);
        run("repair {}", &[&path]).exits(1);
    }
    fs::write(&file, &bytes).expect("written");
    run("export {}", &[&dir]).exits(1).says(&["tsmith repair"]);
}

/// Story: after a bit flip in a separator of the index, `verify` reported no problem, and `export`, `stats` and `compact`
/// ignored the key.
#[test]
fn a_key_without_a_field_is_corruption() {
    let scratch = Scratch::new();
    let (text, dir) = (scratch.file("in.lp", "m,h=a v=1 1\nm,h=b v=2 1\nm,h=c v=3 1\n"), scratch.path("d"));
    run("import {} {}", &[&dir, &text]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    let path = dir.join(FIRST);
    let mut bytes = fs::read(&path).expect("there");
    let key = b"m,h=b#!~#v";
    let at = bytes.windows(key.len()).position(|part| part == key).expect("in the index");
    bytes[at + 5] ^= 1;
    fs::write(&path, &bytes).expect("written");

    let named = [FIRST, "m,h=b\"!~#v"];
    let offset = format!("offset {}: ", at - 2);
    let left = b"m,h=a v=1 1\nm,h=c v=3 1\n";
    for path in [&dir, &path] {
        let text = run("verify {}", &[path]).exits(1).text();
        assert!(text.contains("corrupt ") && text.contains(&offset) && text.contains(named[1]), "{text}");
        for verb in ["export {} --format lp", "query {}", "stats {}"] {
            run(verb, &[path]).exits(1).says(&named);
        }
        assert_eq!(run("export {} --format lp", &[path]).exits(1).stdout, left);
    }
    run("inspect {}", &[&path]).exits(1);
    for verb in ["snapshot {}", "compact {}", "snapshot {} --recovery salvage", "delete {} --measurement m"] {
        run(verb, &[&dir]).exits(1).says(&named);
    }
    run("import {} {}", &[&dir, &text]).exits(1).says(&named);
    assert_eq!(fs::read(&path).expect("there"), bytes, "the file is unchanged");

    let text = run("repair {}", &[&dir]).exits(1).text();
    assert!(text.contains(named[1]) && text.contains("kept 2 keys"), "{text}");
    assert_eq!(fs::read(dir.join(format!("{FIRST}.bad"))).expect("quarantined"), bytes);
    run("verify {}", &[&dir]).exits(0);
    assert_eq!(export(&dir), left);
}
