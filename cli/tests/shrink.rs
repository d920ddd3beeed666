//! `compact` and `delete`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Points, Scratch, content, export, points, run, same_points, sample};

fn tsm_files(dir: &Path) -> usize {
    content(dir).keys().filter(|path| path.extension().is_some_and(|extension| extension == "tsm")).count()
}

/// A directory with four files.
fn four_files(scratch: &Scratch) -> (PathBuf, String) {
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
fn compaction_keeps_every_point() {
    for flag in ["--fast", "--full"] {
        let scratch = Scratch::new();
        let (dir, text) = four_files(&scratch);
        assert_eq!(tsm_files(&dir), 4);
        let due = run("compact {} --format json", &[&dir]).exits(0).json();
        assert_eq!(due["files_in"], 0, "four files of the first level are not due");
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

/// Four files with a corrupt block in the second one: the directory, and the path and bytes of that file.
fn corrupt_second_of_four(scratch: &Scratch) -> (PathBuf, PathBuf, Vec<u8>) {
    let (dir, _) = four_files(scratch);
    let second = dir.join("000000002-000000001.tsm");
    let mut bytes = fs::read(&second).expect("there");
    bytes[20] ^= 1;
    fs::write(&second, &bytes).expect("written");
    (dir, second, bytes)
}

#[test]
fn a_corrupt_file_is_kept_and_reported() {
    let scratch = Scratch::new();
    let (dir, second, bytes) = corrupt_second_of_four(&scratch);
    let output = run("compact {} --full", &[&dir]).exits(1).says(&["000000002-000000001.tsm: offset 5"]);
    assert_eq!(output.stderr.matches("offset 5").count(), 1, "once: {}", output.stderr);
    assert_eq!(fs::read(&second).expect("there"), bytes);
    // Story: the compaction stopped at the corrupt file.
    assert_eq!(tsm_files(&dir), 3, "the third and the fourth file are merged");
}

/// Story: if one file was corrupt, merges of other files were not reported.
#[test]
fn merges_beside_a_corrupt_file_are_reported() {
    let scratch = Scratch::new();
    let (dir, ..) = corrupt_second_of_four(&scratch);
    let report = run("compact {} --full --format json", &[&dir]).exits(1).json();
    assert_eq!(report["files_in"].as_u64(), Some(2), "{report}");
    let again = run("compact {} --full", &[&dir]).exits(1);
    assert_eq!(String::from_utf8_lossy(&again.stdout).trim_end(), "nothing was merged");
}

/// Story: a kill after the log record of a delete, before the tombstones. Verbs that read still showed the points in files,
/// until a verb opened the directory.
#[test]
fn an_interrupted_delete_is_applied_when_reading() {
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
    assert_eq!(export(&dir), b"n v=1i 1\n", "opening completes the delete");
}

#[test]
fn only_matching_points_are_deleted() {
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
    let of_all = run("delete {} --start 5 --dry-run", &[&dir]).exits(0).text();
    assert!(of_all.contains("would delete 1 point of 1 key"), "{of_all}");
    run("delete {}", &[&dir]).exits(2);
    run("delete {} --key a --measurement b", &[&dir]).exits(2);
}

/// InfluxDB can delete by tag, but not by field.
#[test]
fn points_are_deleted_by_tag_and_field() {
    let scratch = Scratch::new();
    let text: String = ["a,host=x,dc=1", "a,host=x,dc=2", "a,host=y,dc=1", "a", "b,host=x,dc=1"]
        .iter()
        .flat_map(|series| (1..=3).map(move |time| format!("{series} f=1,g=2i,h=t {time}\n")))
        .collect();
    let left = |flags: &str, kept: &dyn Fn(&str, &str, i64) -> bool| {
        let name = format!("d{}", flags.replace([' ', '-', '='], "_"));
        let dir = scratch.imported(&name, &text);
        // Some points are in files, some in the log.
        run("snapshot {}", &[&dir]).exits(0);
        let again = scratch.file("again.lp", "a,host=x,dc=1 f=1,g=2i,h=t 3\n");
        run("import {} {}", &[&dir, &again]).exits(0);
        let before = export(&dir);
        let planned = run(&format!("delete {{}} {flags} --dry-run --format json"), &[&dir]).exits(0).json();
        assert_eq!(export(&dir), before, "a dry run changes nothing");
        let done = run(&format!("delete {{}} {flags} --format json"), &[&dir]).exits(0).json();
        assert_eq!((&planned["points"], &planned["keys"]), (&done["points"], &done["keys"]));
        let count = |points: &Points| points.values().map(tsmith_engine::Column::len).sum::<usize>();
        let all = points(&before);
        let mut lines = Vec::new();
        for key in all.keys() {
            let key = std::str::from_utf8(key).expect("text");
            let (series, field) = key.split_once("#!~#").expect("a composite key");
            let value = match field {
                "f" => "1",
                "g" => "2i",
                _ => "t",
            };
            let left = (1..=3).filter(|&time| kept(series, field, time));
            lines.extend(left.map(|time| format!("{series} {field}={value} {time}")));
        }
        let expected = points(lines.join("\n").as_bytes());
        let (all, rest) = (count(&all), count(&expected));
        assert!(points(&export(&dir)) == expected, "{flags}");
        assert_eq!(done["points"], all - rest, "{flags}");
        assert!((1..all).contains(&rest), "{flags} must match some points, but not all");
    };
    left("--measurement a --tag host=x", &|series, _, _| {
        !series.starts_with("a,") || !series.contains("host=x")
    });
    left("--tag host=x --tag dc=1", &|series, _, _| {
        !series.contains("host=x,dc=1") && !series.contains("dc=1,host=x")
    });
    left("--measurement a --field f", &|series, field, _| series.starts_with('b') || field != "f");
    left("--field f --field h --tag host=y", &|series, field, _| !series.contains("host=y") || field == "g");
    left("--tag host= --start 2", &|series, _, time| series != "a" || time < 2);
    left("--measurement b --field g --end 2", &|series, field, time| {
        !series.starts_with('b') || field != "g" || time > 2
    });
    let dir = scratch.imported("d", &text);
    for wrong in ["--key a --tag host=x", "--key a --field f", "--tag host", "--tag =x", "--field ", ""] {
        let mut words = vec!["delete".to_owned(), dir.display().to_string()];
        words.extend(wrong.split_once(' ').map_or(vec![], |_| wrong.split(' ').map(str::to_owned).collect()));
        support::tsmith(words).exits(2);
    }
    assert!(points(&export(&dir)) == points(text.as_bytes()), "a usage error deletes nothing");
}

/// Story: at the last sequence number, the error of `compact` named a generation, and an option that does not exist.
#[test]
fn exhausted_file_numbers_are_reported() {
    let scratch = Scratch::new();
    let (dir, _) = four_files(&scratch);
    let (fourth, last) = (dir.join("000000004-000000001.tsm"), dir.join("999999999-999999999.tsm"));
    fs::copy(&fourth, &last).and_then(|_| fs::remove_file(&fourth)).expect("renamed");
    let before = content(&dir);
    let ways = ["tsmith export", "tsmith import"];
    run("compact {} --full", &[&dir]).exits(1).says(&["sequence 1000000000"]).says(&ways);
    assert_eq!(tsm_files(&dir), before.keys().filter(|path| path.extension() == last.extension()).count());
    let input = scratch.file("more.lp", "m v=1 1");
    run("import {} {} --compaction off", &[&dir, &input]).exits(0);
    run("snapshot {}", &[&dir]).exits(1).says(&["generation 1000000000"]).says(&ways);
}

/// Story: a delete failed if a block of its keys was corrupt, because the points are counted first. The error did not say that
/// nothing was deleted.
#[test]
fn keys_with_corrupt_blocks_are_deleted() {
    let scratch = Scratch::new();
    let (dir, text) = four_files(&scratch);
    let second = dir.join("000000002-000000001.tsm");
    let mut bytes = fs::read(&second).expect("there");
    bytes[20] ^= 1;
    fs::write(&second, &bytes).expect("written");
    let key = "cpu,host=h0#!~#big";
    run("export {}", &[&dir]).exits(1);
    let output = run(&format!("delete {{}} --key {key} --dry-run --format json"), &[&dir])
        .exits(1)
        .says(&["offset 5"]);
    assert_eq!(output.json()["keys"][0], serde_json::json!({"key": key, "points": null}));
    let output =
        run(&format!("delete {{}} --key {key}"), &[&dir]).exits(1).says(&["offset 5", "not counted"]);
    assert!(output.text().contains(&format!("{key}: not counted")), "{}", output.text());
    assert!(
        output.text().contains("deleted 0 points of 0 keys") && output.text().contains("1 key "),
        "{}",
        output.text()
    );
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
    // A compaction frees the corrupt block.
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

/// Story: a truncated tombstone file was read up to its end without an error, so deleted points were shown.
#[test]
fn truncated_tombstones_show_no_deleted_points() {
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
            let output = run(verb, &[&dir]).exits(1).says(&["000000001-000000001.tombstone"]);
            assert!(!output.stdout.windows(4).any(|part| part == b"v=1i"), "{verb}");
        }
        let file = dir.join("000000001-000000001.tsm");
        run("export {}", &[&file]).exits(1).says(&["000000001-000000001.tombstone"]);
    }
    fs::write(&tombstones, &bytes).expect("written");
    assert_eq!(export(&dir), b"m v=2i 2\n");
    run("delete {} --key m#!~#v --start 5 --end 3", &[&dir]).exits(2);
}

/// Story: each full compaction of a single file rewrote it under another name.
#[test]
fn a_file_that_would_not_change_is_kept() {
    let scratch = Scratch::new();
    let dir = scratch.imported("d", sample(9000));
    run("snapshot {}", &[&dir]).exits(0);
    for line in ["compact {} --full", "compact {} --fast", "compact {}"] {
        let before = content(&dir);
        let text = run(line, &[&dir]).exits(0).text();
        assert!(text.contains("nothing to do"), "{line}: {text}");
        assert!(before == content(&dir), "{line} changed something");
    }
    // Deleted points are a reason to rewrite it.
    run("delete {} --key cpu,host=h1#!~#count --end 1600000050000000000", &[&dir]).exits(0);
    let text = run("compact {} --full", &[&dir]).exits(0).text();
    assert!(text.contains("1 file of "), "{text}");
    // Blocks that are not full are a reason too.
    let more = scratch.file("late.lp", "cpu,host=h1 count=7i 1700000000000000000");
    run("import {} {} --compaction off", &[&dir, &more]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    assert!(run("compact {} --fast", &[&dir]).exits(0).text().contains("2 files of "));
    assert!(run("compact {} --full", &[&dir]).exits(0).text().contains("1 file of "));
    assert!(run("compact {} --full", &[&dir]).exits(0).text().contains("nothing to do"));
}
