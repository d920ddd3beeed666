//! `repair`: damaged directories, before and after.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Scratch, command, content, points, run, sample};

fn export(dir: &Path) -> Vec<u8> {
    run("export {} --format lp", &[dir]).exits(0).stdout
}

/// A directory with one file of several blocks a key, tombstones, and more in the log.
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

fn flip(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("there");
    let at = if at < bytes.len() { at } else { bytes.len() / 2 };
    bytes[at] ^= 0x20;
    fs::write(path, &bytes).expect("written");
    bytes
}

#[test]
fn what_is_whole_of_a_damaged_directory_goes_on() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let all = points(&export(&dir));
    run("repair {}", &[&dir]).exits(0);
    let tsm = dir.join("000000001-000000001.tsm");
    let segment = fs::read_dir(dir.join("wal")).expect("a log").map(|e| e.expect("an entry").path());
    let mut segments: Vec<_> =
        segment.filter(|path| fs::metadata(path).is_ok_and(|m| m.len() > 100)).collect();
    segments.sort();
    let segment = segments.pop().expect("a segment");
    let (damaged_tsm, damaged_log) = (flip(&tsm, 20), flip(&segment, usize::MAX));

    let before = content(&dir);
    let planned = run("repair {} --dry-run --format json", &[&dir]).exits(1).json();
    let text = run("repair {} --dry-run", &[&dir]).exits(1).text();
    assert_eq!(content(&dir), before, "a dry run changes nothing");
    assert!(text.contains("damaged ") && text.contains("nothing was changed"), "{text}");
    assert!(text.contains("cpu,host=h0#!~#big: kept 1 block"), "{text}");
    assert!(text.contains("dropped offset 5: 2020-09-13T12:26:40.000000000Z to "), "{text}");

    let done = run("repair {} --format json", &[&dir]).exits(1).json();
    let state = |report: &serde_json::Value, state: &str| {
        report["files"].as_array().expect("files").iter().filter(|file| file["state"] == state).count()
    };
    assert_eq!((state(&planned, "damaged"), state(&done, "repaired")), (2, 2), "{done}");
    for (plan, file) in
        planned["files"].as_array().expect("files").iter().zip(done["files"].as_array().expect("files"))
    {
        for part in ["path", "kind", "kept", "dropped", "keys", "gaps", "set_aside"] {
            assert_eq!(plan[part], file[part], "{part}");
        }
    }
    assert_eq!(fs::read(dir.join("000000001-000000001.tsm.bad")).expect("set aside"), damaged_tsm);
    let aside = format!("{}.bad", segment.display());
    assert_eq!(fs::read(aside).expect("set aside"), damaged_log);

    run("repair {}", &[&dir]).exits(0);
    run("verify {}", &[&dir]).exits(0);
    let left = points(&export(&dir));
    let (hurt, logged) = (&b"cpu,host=h0#!~#big"[..], &b"more#!~#v"[..]);
    for (key, column) in all.iter().filter(|(key, _)| ![hurt, logged].contains(&&key[..])) {
        assert!(left.get(key) == Some(column), "{}", String::from_utf8_lossy(key));
    }
    assert_eq!(left[hurt].times(), &all[hurt].times()[1000..], "the first block is gone");
    // Which record it is depends on where the middle of the segment is; a mark may go without a record.
    assert!((49..=50).contains(&left[logged].len()), "{}", left[logged].len());
    // And it can be worked with.
    run("compact {} --full", &[&dir]).exits(0);
    run("snapshot {}", &[&dir]).exits(0);
    assert_eq!(points(&export(&dir)), left);
}

#[test]
fn tombstones_are_repaired_and_what_is_back_is_told() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    let path = dir.join("000000001-000000001.tombstone");
    let bytes = fs::read(&path).expect("tombstones");
    // In the records of the second gzip member.
    let members = bytes.windows(4).enumerate().filter(|(_, window)| *window == [0x1f, 0x8b, 8, 4]);
    let second = members.map(|(at, _)| at).nth(1).expect("two deletes");
    flip(&path, second + 40);
    run("export {}", &[&dir]).exits(1).says(&["000000001-000000001.tombstone"]);
    let text = run("repair {}", &[&dir]).exits(1).text();
    assert!(text.contains("kept 1 record; dropped") && text.contains("is there again"), "{text}");
    let verified = run("verify {}", &[&dir]).exits(0).text();
    assert!(verified.contains("000000001-000000001.tombstone.bad"), "{verified}");
    let left = points(&export(&dir));
    let len = |host: u8| left[format!("cpu,host=h{host}#!~#count").as_bytes()].len();
    assert_eq!((len(0), len(1)), (1286 - 8, 1286), "only the second delete came undone");
}

/// The keys are in the index and nowhere else.
#[test]
fn a_file_without_an_index_is_left_and_the_others_repaired() {
    let scratch = Scratch::new();
    let dir = directory(&scratch);
    run("snapshot {}", &[&dir]).exits(0);
    let (first, second) = (dir.join("000000001-000000001.tsm"), dir.join("000000002-000000001.tsm"));
    let footer = fs::read(&first).expect("there").len() - 2;
    flip(&first, footer);
    flip(&second, 12);
    let before = fs::read(&first).expect("there");
    let text = run("repair {}", &[&dir]).exits(1).text();
    assert!(text.contains("CANNOT REPAIR") && text.contains("the keys are nowhere else"), "{text}");
    assert!(text.contains("repaired ") || text.contains("nothing is left"), "{text}");
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
    run("repair {}", &[&scratch.path("nowhere")]).exits(74).says(&["no such file"]);
    let empty = scratch.path("empty");
    fs::create_dir(&empty).expect("made");
    run("repair {}", &[&empty]).exits(74).says(&["holds no TSM file"]);
    assert!(content(&empty).is_empty(), "no lock is left in a directory that is not ours");
}

#[test]
fn a_directory_in_use_is_refused() {
    let scratch = Scratch::new();
    let dir = scratch.path("d");
    let mut holder = command();
    holder
        .args(["import".as_ref(), dir.as_os_str(), "-".as_ref()])
        .stdin(Stdio::piped())
        .stderr(Stdio::null());
    let mut holder = holder.spawn().expect("runs");
    // It opens the directory when there is something to import, and keeps it until there is no more.
    let mut stdin = holder.stdin.take().expect("piped");
    stdin.write_all(b"m v=1 1\n").expect("written");
    let begun = Instant::now();
    // The manifest is written when the lock is held.
    while !dir.join("tsmith.manifest").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never opened");
        std::thread::sleep(Duration::from_millis(5));
    }
    run("repair {} --dry-run", &[&dir]).exits(74).says(&["in use"]);
    run("repair {}", &[&dir]).exits(74).says(&["in use"]);
    holder.kill().expect("killed");
    holder.wait().expect("ended");
    run("repair {}", &[&dir]).exits(0);
}
