//! `compact` and `delete`.

mod support;

use std::fs;
use std::path::Path;

use support::{Scratch, content, run, same_points, sample};

fn export(dir: &Path) -> Vec<u8> {
    run("export {} --format lp", &[dir]).exits(0).stdout
}

fn tsm_files(dir: &Path) -> usize {
    content(dir).keys().filter(|path| path.extension().is_some_and(|extension| extension == "tsm")).count()
}

/// A directory of four files.
fn four_files(scratch: &Scratch) -> (std::path::PathBuf, String) {
    let text = sample(800);
    let lines: Vec<&str> = text.lines().collect();
    let dir = scratch.path("d");
    for part in lines.chunks(200) {
        let input = scratch.file("part.lp", part.join("\n"));
        run("import {} {} --compaction off", &[&dir, &input]).exits(0);
        run("snapshot {}", &[&dir]).exits(0);
    }
    (dir, text)
}

#[test]
fn compaction_leaves_every_point() {
    for flag in ["--fast", "--full"] {
        let scratch = Scratch::new();
        let (dir, text) = four_files(&scratch);
        assert_eq!(tsm_files(&dir), 4);
        let due = run("compact {} --format json", &[&dir]).exits(0).json();
        assert_eq!(due["files_in"], 0, "four of the first level are not due");
        let report = run(&format!("compact {{}} {flag} --format json"), &[&dir]).exits(0).json();
        assert_eq!(
            (report["files_in"].as_u64(), report["files"].as_array().map(Vec::len)),
            (Some(4), Some(1))
        );
        assert_eq!(tsm_files(&dir), 1);
        same_points(text.as_bytes(), &export(&dir));
        run("verify {}", &[&dir]).exits(0);
    }
    run("compact {} --fast --full", &[Path::new("d")]).exits(2);
    let scratch = Scratch::new();
    run("compact {}", &[&scratch.path("missing")]).exits(74);
}

#[test]
fn a_damaged_file_is_kept_and_named() {
    let scratch = Scratch::new();
    let (dir, _) = four_files(&scratch);
    let second = dir.join("000000002-000000001.tsm");
    let mut bytes = fs::read(&second).expect("there");
    bytes[20] ^= 1;
    fs::write(&second, &bytes).expect("written");
    let told = run("compact {} --full", &[&dir]).exits(1).says(&["000000002-000000001.tsm: offset 5"]);
    assert_eq!(told.stderr.matches("offset 5").count(), 1, "once: {}", told.stderr);
    assert_eq!(fs::read(&second).expect("there"), bytes);
    // Once the compaction ended there, and the files behind it stayed as they were.
    assert_eq!(tsm_files(&dir), 3, "the third and the fourth are one");
}

/// A kill between the log and the tombstones left a delete that the log alone knows of. The reading verbs took its
/// points from the log and left those in files, and the next verb that opened the directory changed their answer.
#[test]
fn a_delete_that_a_crash_cut_short_is_shown_whole() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m,h=1 v=1i 1\nm,h=1 v=2i 2\n");
    run("snapshot {}", &[&dir]).exits(0);
    let more = scratch.file("more.lp", "m,h=1 v=3i 3\nm,h=1 v=2i 2\nn v=1i 1\n");
    run("import {} {}", &[&dir, &more]).exits(0);
    run("delete {} --measurement m", &[&dir]).exits(0);
    fs::remove_file(dir.join("000000001-000000001.tombstone")).expect("was written");
    let cut_short = content(&dir);
    assert_eq!(export(&dir), b"n v=1i 1\n");
    assert_eq!(content(&dir), cut_short, "reading changes nothing");
    run("delete {} --key none", &[&dir]);
    assert_eq!(export(&dir), b"n v=1i 1\n", "opening carries it out");
}

#[test]
fn deleted_points_are_gone_and_others_stay() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "a,t=x f=1,g=2 10\na,t=x f=3 20\na\\ b,t=x f=4 10\nb f=5 10\n");
    run("snapshot {}", &[&dir]).exits(0);
    let before = content(&dir);
    let report = run("delete {} --measurement a --start 15 --dry-run --format json", &[&dir]).exits(0).json();
    assert_eq!((report["points"].as_u64(), report["dry_run"].as_bool()), (Some(1), Some(true)));
    assert_eq!(report["keys"][0]["key"], "a,t=x#!~#f");
    assert_eq!(content(&dir), before, "a dry run changes nothing");

    let text = run("delete {} --measurement a --start 15", &[&dir]).exits(0).text();
    assert!(text.contains("deleted 1 point of 1 key"), "{text}");
    assert_eq!(export(&dir), b"a,t=x f=1,g=2 10\na\\ b,t=x f=4 10\nb f=5 10\n");
    run("delete {} --key a,t=x#!~#g", &[&dir]).exits(0);
    assert_eq!(export(&dir), b"a,t=x f=1 10\na\\ b,t=x f=4 10\nb f=5 10\n");
    run("delete {} --key a,t=x --end 10", &[&dir]).exits(0);
    assert_eq!(export(&dir), b"a\\ b,t=x f=4 10\nb f=5 10\n");
    support::tsmith(["delete".as_ref(), dir.as_os_str(), "--measurement".as_ref(), "a b".as_ref()]).exits(0);
    assert_eq!(export(&dir), b"b f=5 10\n");
    let none = run("delete {} --measurement none", &[&dir]).exits(0).text();
    assert!(none.contains("deleted 0 points of 0 keys"), "{none}");
    run("compact {} --full", &[&dir]).exits(0);
    assert_eq!(export(&dir), b"b f=5 10\n");
    run("delete {} --start 5", &[&dir]).exits(2);
    run("delete {} --key a --measurement b", &[&dir]).exits(2);
}

/// A delete was refused when a block of its keys was damaged, because the points were counted first; and nothing said
/// that nothing was deleted.
#[test]
fn keys_with_damaged_blocks_are_deleted() {
    let scratch = Scratch::new();
    let (dir, text) = four_files(&scratch);
    let second = dir.join("000000002-000000001.tsm");
    let mut bytes = fs::read(&second).expect("there");
    bytes[20] ^= 1;
    fs::write(&second, &bytes).expect("written");
    let key = "cpu,host=h0#!~#big";
    run("export {}", &[&dir]).exits(1);
    let told = run(&format!("delete {{}} --key {key} --dry-run --format json"), &[&dir])
        .exits(1)
        .says(&["offset 5"]);
    assert_eq!(told.json()["keys"][0], serde_json::json!({"key": key, "points": null}));
    let told = run(&format!("delete {{}} --key {key}"), &[&dir]).exits(1).says(&["offset 5", "not counted"]);
    assert!(told.text().contains(&format!("{key}: not counted")), "{}", told.text());
    assert!(told.text().contains("deleted 0 points of 0 keys, and of 1 key not counted"), "{}", told.text());
    let without: String = text
        .lines()
        .map(|line| {
            let of_host = line.starts_with("cpu,host=h0 ");
            let parts: Vec<&str> =
                line.split(',').filter(|part| !of_host || !part.starts_with("big=")).collect();
            parts.join(",") + "\n"
        })
        .collect();
    same_points(without.as_bytes(), &export(&dir));
    // Its bytes go, too.
    run("compact {} --full", &[&dir]).exits(0);
    run("verify {}", &[&dir]).exits(0);

    fs::write(dir.join("000000009-000000001.tsm"), b"no TSM file").expect("written");
    for flags in ["--key a", "--measurement a", "--key a --dry-run"] {
        run(&format!("delete {{}} {flags}"), &[&dir]).exits(1).says(&["nothing was deleted", "000000009"]);
    }
    run("delete {} --key a", &[&scratch.path("nowhere")]).exits(74).says(&["nothing was deleted"]);
    for name in ["--key", "--measurement"] {
        support::tsmith(["delete".as_ref(), dir.as_os_str(), name.as_ref(), "".as_ref()])
            .exits(2)
            .says(&[name]);
    }
}

/// A tombstone file that lost its end was read up to there, and deleted points were in every answer, without a word.
#[test]
fn torn_tombstones_show_no_deleted_points() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", "m v=1i 1\nm v=2i 2\n");
    run("snapshot {}", &[&dir]).exits(0);
    run("delete {} --key m#!~#v --end 1", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    let tombstones = dir.join("000000001-000000001.tombstone");
    let bytes = fs::read(&tombstones).expect("there");
    for cut in [5, 30] {
        fs::write(&tombstones, &bytes[..bytes.len() - cut]).expect("written");
        for verb in ["export {}", "stats {}", "query {} --measurement m --field v"] {
            let told = run(verb, &[&dir]).exits(1).says(&["000000001-000000001.tombstone"]);
            assert!(!told.stdout.windows(4).any(|part| part == b"v=1i"), "{verb}");
        }
        let file = dir.join("000000001-000000001.tsm");
        run("export {}", &[&file]).exits(1).says(&["000000001-000000001.tombstone"]);
    }
    fs::write(&tombstones, &bytes).expect("written");
    assert_eq!(export(&dir), b"m v=2i 2\n");
    run("delete {} --key m#!~#v --start 5 --end 3", &[&dir]).exits(2);
}

/// Story: each full compaction of a directory of one file wrote that file again, under another name.
#[test]
fn a_file_that_cannot_become_another_stays() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(9000));
    run("snapshot {}", &[&dir]).exits(0);
    for line in ["compact {} --full", "compact {} --fast", "compact {}"] {
        let before = content(&dir);
        let text = run(line, &[&dir]).exits(0).text();
        assert!(text.contains("nothing to do"), "{line}: {text}");
        assert!(before == content(&dir), "{line} changed something");
    }
    // Deleted points are something to do.
    run("delete {} --key cpu,host=h1#!~#count --end 1600000050000000000", &[&dir]).exits(0);
    let text = run("compact {} --full", &[&dir]).exits(0).text();
    assert!(text.contains("1 file of "), "{text}");
    // And so are blocks that are not full.
    let more = scratch.file("late.lp", "cpu,host=h1 count=7i 1700000000000000000");
    run("import {} {} --compaction off", &[&dir, &more]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    assert!(run("compact {} --fast", &[&dir]).exits(0).text().contains("2 files of "));
    assert!(run("compact {} --full", &[&dir]).exits(0).text().contains("1 file of "));
    assert!(run("compact {} --full", &[&dir]).exits(0).text().contains("nothing to do"));
}
