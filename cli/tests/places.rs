//! What a path is: with its log or without, through links, in use by another program, or not to be read.

#[path = "../../engine/tests/support/influxd.rs"]
mod server;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Scratch, content, run};

/// The point in the file, and the one that only the log has.
const LINES: [&str; 2] = ["m,h=a f=1 1\n", "m,h=a f=2 2\n"];

/// Data and log of a shard in InfluxDB's layout.
fn dirs(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("data/db/rp/1"), root.join("wal/db/rp/1"))
}

/// A shard with a point in a file and another in the log.
fn shard(scratch: &Scratch, root: &Path) -> (PathBuf, PathBuf) {
    let (data, wal) = dirs(root);
    run("import {} {} --wal {}", &[&data, &scratch.file("1.lp", LINES[0]), &wal]).exits(0);
    run("snapshot {}", &[&data]).exits(0);
    run("import {} {}", &[&data, &scratch.file("2.lp", LINES[1])]).exits(0);
    (data, wal)
}

/// The files of `from`, and with `manifest` that one, too, in `to`.
fn copy_data(from: &Path, to: &Path, manifest: bool) {
    fs::create_dir_all(to).expect("made");
    for (path, bytes) in content(from) {
        let name = path.file_name().expect("a name");
        if path.extension().is_some_and(|end| end == "tsm") || manifest && name == "tsmith.manifest" {
            fs::write(to.join(name), bytes).expect("written");
        }
    }
}

/// Story: `data` was copied without `wal`, and export, stats and verify showed stale values as if they were all.
#[test]
fn a_missing_log_is_reported() {
    let scratch = Scratch::new();
    let (data, _) = shard(&scratch, &scratch.path("influxdb"));
    for (name, manifest) in [("influxdbs", false), ("ours", true)] {
        let copied = dirs(&scratch.path(name)).0;
        copy_data(&data, &copied, manifest);
        let line = format!("no log directory for {}", copied.display());
        let said = [line.as_str(), "values written after the last snapshot are not included; pass --wal"];
        for verb in ["export", "query --format lp"] {
            let found = run(&format!("{verb} {{}}"), &[&copied]).exits(1).says(&said);
            assert_eq!(found.stderr.lines().count(), 1, "{}", found.stderr);
            assert_eq!(found.text(), LINES[0]);
            let meant = run(&format!("{verb} {{}} --no-wal"), &[&copied]).exits(0);
            assert_eq!((meant.text().as_str(), meant.stderr.as_str()), (LINES[0], ""));
        }
        let stats = run("stats {} --format json", &[&copied]).exits(0).says(&said).json();
        assert_eq!(stats["values"], 1);
        assert!(stats["no_log"].as_str().is_some_and(|text| text.starts_with(&line)), "{stats}");
        // A manifest says that there is a log, so that is BAD.
        let code = i32::from(manifest);
        let verified = run("verify {} --format json", &[&copied]).exits(code).says(&said).json();
        assert_eq!(verified["no_log"][0]["path"], copied.display().to_string());
        let inspected = run("inspect {} --format json", &[&copied]).exits(code).says(&said).json();
        assert!(inspected["no_log"][0]["reason"].as_str().is_some_and(|text| text.starts_with(&line)));
        for verb in ["stats", "verify", "inspect"] {
            let meant = run(&format!("{verb} {{}} --no-wal"), &[&copied]).exits(0);
            assert!(!meant.stderr.contains("log"), "{}", meant.stderr);
        }
        // Of a tree there is a line a shard.
        let other = copied.with_file_name("2");
        copy_data(&data, &other, false);
        let tree = run("stats {} --format json", &[&scratch.path(name)]).exits(0).says(&[&line]);
        assert_eq!(tree.stderr.matches("no log directory for ").count(), 2, "{}", tree.stderr);
        assert!(tree.json()["shards"][1]["no_log"].is_string());
        let tree = run("verify {}", &[&scratch.path(name)]).exits(code).says(&[&line]);
        assert_eq!(tree.stderr.matches("no log directory for ").count(), 2, "{}", tree.stderr);
        // What would delete says so, too.
        run("delete {} --key m,h=a --dry-run", &[&copied]).exits(74).says(&["the log would be there"]);
    }
}

#[test]
fn an_empty_log_and_a_lone_file_are_normal() {
    let scratch = Scratch::new();
    let (data, _) = shard(&scratch, &scratch.path("influxdb"));
    let (copied, wal) = dirs(&scratch.path("copied"));
    copy_data(&data, &copied, false);
    fs::create_dir_all(&wal).expect("made");
    let elsewhere = scratch.path("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let file = copied.join("000000001-000000001.tsm");
    for found in [
        run("export {}", &[&copied]),
        run("export {} --wal {}", &[&copied, &elsewhere]),
        run("export {}", &[&file]),
        run("export {} --no-wal", &[&file]),
    ] {
        let found = found.exits(0);
        assert_eq!((found.text().as_str(), found.stderr.as_str()), (LINES[0], ""));
    }
}

/// Story: `--wal` named the directory above the logs. It was taken for an empty log, without a word.
#[test]
fn a_directory_above_logs_is_no_log() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root);
    fs::remove_file(data.join("tsmith.manifest")).expect("there");
    let before = content(&root);
    let log = wal.display().to_string();
    for above in ["wal", "wal/db", "wal/db/rp"].map(|above| root.join(above)) {
        let said = ["no log directory for", "holds no segments itself", &log, "pass --wal"];
        let found = run("export {} --wal {}", &[&data, &above]).exits(1).says(&said);
        assert_eq!(found.text(), LINES[0]);
        run("verify {} --wal {}", &[&data, &above]).exits(0).says(&said);
        let input = scratch.file("3.lp", "m,h=a f=3 3\n");
        run("import {} {} --wal {}", &[&data, &input, &above]).exits(2).says(&[&log, "name the log"]);
        run("snapshot {} --wal {}", &[&data, &above]).exits(2).says(&[&log, "name the log"]);
    }
    assert!(content(&root) == before, "nothing is changed");
    assert_eq!(run("export {} --wal {}", &[&data, &wal]).exits(0).text(), LINES.concat());
}

/// Story: the types of a field differed between shards, and that showed when an import of their export kept one of four.
#[test]
fn types_that_differ_between_shards_are_reported() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let values = ["1.5", "7i", "\"x\"", "true"];
    let path = |db: &str, n: usize| (format!("data/{db}/rp/{n}"), format!("wal/{db}/rp/{n}"));
    let import = |(data, wal): (String, String), line: String| {
        let input = scratch.file("in.lp", line);
        run("import {} {} --wal {}", &[&root.join(data), &input, &root.join(wal)]).exits(0);
    };
    for (at, value) in values.iter().enumerate() {
        import(path("db", at), format!("m,h=a signal={value},same=1i 1\nm,h=b signal={value} 1\n"));
    }
    // One of them has it in a file, and another database may have other types.
    run("snapshot {}", &[&root.join("data/db/rp/0")]).exits(0);
    import(path("other", 1), "m,h=a same=\"text\" 1\n".to_owned());
    // What is deleted has no type.
    import(path("db", 4), "m,h=a same=1.5 1\n".to_owned());
    run("delete {} --key {}", &[&root.join("data/db/rp/4"), Path::new("m,h=a")]).exits(0);

    let above = root.join("data/db/rp");
    let shard = |n: usize| above.join(n.to_string()).display().to_string();
    let types = [("boolean", 3), ("float", 0), ("integer", 1), ("string", 2)];
    let types: Vec<_> = types.iter().map(|(name, n)| json!({"type": name, "shards": [shard(*n)]})).collect();
    let expected = json!([{
        "path": above.display().to_string(), "measurement": "m", "field": "signal", "types": types,
    }]);
    for verb in ["verify", "stats"] {
        let report = run(&format!("{verb} {{}} --format json"), &[&root]).exits(0).json();
        assert_eq!(report["types_differ"], expected);
        let text = run(&format!("{verb} {{}}"), &[&root]).exits(0).text();
        let line = "m signal: boolean in shard 3; float in shard 0; integer in shard 1; string in shard 2";
        assert!(text.contains(line) && text.contains("note: the type of 1 field differs"), "{text}");
    }
    let other = run("verify {}", &[&root.join("data/other")]).exits(0).text();
    assert!(!other.contains("differs"), "{other}");
}

/// Story: with several paths, as `data/db/*` gives them, `_series` was a failure.
#[test]
fn what_a_glob_brings_along_is_skipped_with_a_word() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, _) = shard(&scratch, &root);
    let (db, series) = (root.join("data/db"), root.join("data/db/_series"));
    fs::create_dir_all(series.join("00")).expect("made");
    fs::write(data.join("fields.idx"), [0, 6, 1, 3]).expect("written");
    let text = run("verify {} {}", &[&series, &db.join("rp")]).exits(0).text();
    assert!(text.contains("_series: not checked: the series file"), "{text}");
    let index = data.join("fields.idx");
    for verb in ["inspect", "export"] {
        let paths = [&series, &data, &index].map(PathBuf::as_path);
        run(&format!("{verb} {{}} {{}} {{}}"), &paths).exits(0).says(&[
            "_series: not read: the series file",
            "fields.idx",
            "not read",
        ]);
    }
    // Named alone, it is asked for.
    run("verify {}", &[&series]).exits(74).says(&["_series"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::process::CommandExt;

    use super::*;
    use support::{Run, command};

    /// Story: `data` was a link to another disk, and `wal` was none. The first write gave the log to the shard by one of its
    /// paths, and all later ones refused it by the other.
    #[test]
    fn links_between_data_and_log_change_no_owner() {
        let scratch = Scratch::new();
        for (name, linked) in [("data", &["data"][..]), ("wal", &["wal"]), ("both", &["data", "wal"])] {
            let (root, disk) = (scratch.path(name), scratch.path(&format!("{name}-disk")));
            fs::create_dir_all(&root).expect("made");
            for link in linked {
                fs::create_dir_all(disk.join(link)).expect("made");
                symlink(disk.join(link), root.join(link)).expect("linked");
            }
            // It imports, snapshots, and imports again.
            let (data, wal) = shard(&scratch, &root);
            run("snapshot {} --wal {}", &[&data, &wal]).exits(0);
            run("compact {} --full", &[&data]).exits(0);
            assert_eq!(run("export {}", &[&data]).exits(0).text(), LINES.concat());
            run("verify {}", &[&data]).exits(0);
            // The log is still that shard's, and no other's.
            let other = root.join("data/db/rp/2");
            let input = scratch.file("3.lp", LINES[0]);
            let refused = run("import {} {} --wal {}", &[&other, &input, &wal]).exits(2);
            refused.says(&["is the log of the shard"]);
        }
    }

    /// Story: a directory that was a link to nothing "exists", said `import`, and it said nothing else.
    #[test]
    fn a_link_to_nothing_is_named() {
        let scratch = Scratch::new();
        let (link, target) = (scratch.path("link"), scratch.path("unmounted"));
        symlink(&target, &link).expect("linked");
        let line = scratch.file("in.lp", "m f=1 1\n");
        let says = format!("{}: a link to {}, which does not exist", link.display(), target.display());
        for dir in [&link, &link.join("shard")] {
            run("import {} {}", &[dir, &line]).exits(74).says(&[&says]);
            run("import {} {} --wal {}", &[&scratch.path("d"), &line, dir]).exits(74).says(&[&says]);
            for verb in ["export", "verify", "stats", "inspect", "snapshot", "repair"] {
                run(&format!("{verb} {{}}"), &[dir]).exits(74).says(&[&says]);
            }
        }
        assert!(!scratch.path("d").exists(), "nothing is made");
        fs::create_dir(&target).expect("made");
        run("import {} {}", &[&link, &line]).exits(0);
    }

    /// Runs as a user for whom permissions count; `None` when there is no such user here.
    fn run_unprivileged(line: &str, paths: &[&Path]) -> Option<Run> {
        let mut paths = paths.iter();
        let mut command = command();
        for word in line.split(' ') {
            match word {
                "{}" => command.arg(paths.next().expect("a path for every {}")),
                word => command.arg(word),
            };
        }
        let is_root = tempfile::tempfile().and_then(|file| file.metadata()).expect("a file").uid() == 0;
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        match command.output() {
            Ok(output) => Some(output.into()),
            Err(error) => {
                eprintln!("skipped: the command does not run as another user: {error}");
                None
            }
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
    }

    fn open_up(dir: &Path) {
        set_mode(dir, 0o755);
        for path in content(dir).keys() {
            set_mode(path, if path.is_dir() { 0o755 } else { 0o644 });
        }
    }

    /// Story: `repair` without permission said "0 files, all whole".
    #[test]
    fn what_cannot_be_read_is_no_success() {
        let scratch = Scratch::new();
        let root = scratch.path("influxdb");
        let (data, wal) = shard(&scratch, &root);
        open_up(&root);
        set_mode(&scratch.path(""), 0o755);
        match run_unprivileged("verify {}", &[&data]) {
            Some(found) if found.code == 0 => {}
            Some(found) => {
                return eprintln!(
                    "skipped: another user does not reach {}: {}",
                    data.display(),
                    found.stderr
                );
            }
            None => return,
        }
        // A file that nobody else may read, a log, a directory above the log, and the shard.
        let file = data.join("000000001-000000001.tsm");
        let segment = content(&wal).into_keys().find(|path| path.extension().is_some_and(|end| end == "wal"));
        let segment = segment.expect("a segment");
        let (manifest, tombstone) = (data.join("tsmith.manifest"), file.with_extension("tombstone"));
        fs::write(&tombstone, b"").expect("written");
        for locked in [&file, &tombstone, &manifest, &segment, &wal, &root.join("wal"), &data] {
            open_up(&root);
            set_mode(locked, 0);
            for line in [
                "verify {}",
                "verify {} --format json",
                "stats {}",
                "export {}",
                "query {}",
                "inspect {}",
                "repair {} --dry-run",
                "repair {} --dry-run --format json",
                "snapshot {}",
            ] {
                for path in [&data, &root] {
                    let takes_one = ["export", "query", "snapshot"].iter().any(|verb| line.starts_with(verb));
                    if takes_one && path == &root {
                        continue;
                    }
                    let Some(found) = run_unprivileged(line, &[path]) else { return };
                    let context =
                        format!("{line} {}, without {}: {}", path.display(), locked.display(), found.text());
                    assert_eq!(found.code, 74, "{context}\n{}", found.stderr);
                    let all = found.text() + &found.stderr;
                    assert!(all.contains("ermission denied"), "{context}\n{}", found.stderr);
                    assert!(!all.contains("all whole"), "{context}");
                    // Words about values that are left out are for verbs that read.
                    assert!(line != "snapshot {}" || !all.contains("not included"), "{context}");
                }
            }
        }
        // One that may be read but not written.
        open_up(&root);
        let Some(found) = run_unprivileged("repair {}", &[&data]) else { return };
        let found = found.exits(74).says(&["ermission denied"]);
        assert_eq!(found.text(), "");
        let found = run_unprivileged("repair {}", &[&root]).expect("it ran").exits(74);
        assert!(found.text().contains("1 place could not be looked at"), "{}", found.text());
        // Without the log the rest can be read.
        set_mode(&root.join("wal"), 0);
        let found = run_unprivileged("export {} --no-wal", &[&data]).expect("it ran").exits(0);
        assert_eq!((found.text().as_str(), found.stderr.as_str()), (LINES[0], ""));
    }
}

#[cfg(target_os = "linux")]
mod in_use {
    use super::*;
    use tsmith_engine::view::View;

    const VERBS: [&str; 5] =
        ["import {} {}", "snapshot {}", "delete {} --key m,h=a", "compact {} --full", "repair {}"];

    /// Story: influxd ran on the shard, and what `import` and `snapshot` wrote was lost when it renamed its own file over theirs.
    #[test]
    fn files_open_in_another_process_are_not_written() {
        let scratch = Scratch::new();
        let root = scratch.path("influxdb");
        let (data, wal) = shard(&scratch, &root);
        let input = scratch.file("3.lp", "m,h=b f=3 3\n");
        let segment = content(&wal).into_keys().find(|path| path.extension().is_some_and(|end| end == "wal"));
        fs::create_dir_all(data.join("index/0")).expect("made");
        fs::write(data.join("index/0/L0-00000001.tsl"), "").expect("written");
        // InfluxDB's directories have no lock.
        fs::remove_file(data.join("tsmith.lock")).expect("there");
        let before = content(&root);
        let process = format!("process {} (", std::process::id());
        let refused = |what: &str| {
            for line in VERBS {
                let verb = line.split(' ').next().expect("a verb");
                let again = format!("`tsmith {verb}`");
                let says = ["in use", process.as_str(), again.as_str(), "--force"];
                let paths = [data.as_path(), &input];
                let refused = run(line, &paths).exits(74).says(&says);
                assert!(refused.stderr.contains(what), "{verb}: {}", refused.stderr);
            }
            run("repair {}", &[&root]).exits(74).says(&["in use", &process]);
        };
        let opened = [
            data.join("000000001-000000001.tsm"),
            segment.expect("a segment"),
            data.join("index/0/L0-00000001.tsl"),
        ];
        for path in &opened {
            let file = fs::File::open(path).expect("there");
            refused(&path.display().to_string());
            drop(file);
        }
        // Not a file of the shard.
        let output = fs::File::create(data.join("import.log")).expect("created");
        run("compact {}", &[&data]).exits(0);
        drop(output);
        fs::remove_file(data.join("import.log")).expect("there");
        fs::remove_file(data.join("tsmith.lock")).expect("there");
        // Mapped, and its descriptor closed.
        let view = View::open(&tsmith_engine::Registry::standard(), &data, None).expect("opens");
        refused("000000001-000000001.tsm");
        run("repair {} --dry-run", &[&data]).exits(0);
        run("delete {} --key m,h=a --dry-run", &[&data]).exits(0);
        run("verify {}", &[&data]).exits(0);
        assert!(content(&root) == before, "nothing is changed");
        for line in VERBS {
            run(&format!("{line} --force"), &[&data, &input]).exits(0);
        }
        drop(view);
        for line in VERBS {
            run(line, &[&data, &input]).exits(0);
        }
    }

    /// The same with the real server, by itself and after it was started again.
    #[test]
    fn a_running_influxd_is_noticed() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path();
        let Some(server) = server::start_with_database(root) else { return };
        server.write("m,h=a f=1 1");
        let (shard, scratch) = (server::shard_dirs(root).data, Scratch::new());
        let input = scratch.file("in.lp", "m,h=b f=2 2\n");
        let refused = || {
            for line in VERBS {
                run(line, &[&shard, &input]).exits(74).says(&["in use", "(influxd)", "--force"]);
            }
        };
        refused();
        server.end("-TERM");
        run("snapshot {}", &[&shard]).exits(0);
        run("compact {}", &[&shard]).exits(0);
        let server = server::Influxd::start(root).expect("is installed");
        assert!(server.query("SELECT f FROM m").to_string().contains("[[1,1]]"));
        refused();
        server.end("-KILL");
        for line in VERBS {
            run(line, &[&shard, &input]).exits(0);
        }
    }
}
