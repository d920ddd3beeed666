//! Paths: with and without a log, through links, in use by another process, or unreadable.

#[path = "../../engine/tests/support/influxd.rs"]
mod server;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Scratch, content, run, shard_dirs as dirs};

/// The point in the file, and the point in the log.
const LINES: [&str; 2] = ["m,h=a f=1 1\n", "m,h=a f=2 2\n"];

/// A shard with a point in a file and another in the log.
fn shard(scratch: &Scratch, root: &Path) -> (PathBuf, PathBuf) {
    let (data, wal) = dirs(root);
    run("import {} {} --wal {}", &[&data, &scratch.file("1.lp", LINES[0]), &wal]).exits(0);
    run("snapshot {}", &[&data]).exits(0);
    run("import {} {}", &[&data, &scratch.file("2.lp", LINES[1])]).exits(0);
    (data, wal)
}

/// Copies the TSM files of `from` to `to`, and the manifest if `manifest` is set.
fn copy_data(from: &Path, to: &Path, manifest: bool) {
    fs::create_dir_all(to).expect("made");
    for (path, bytes) in content(from) {
        let name = path.file_name().expect("a name");
        if path.extension().is_some_and(|end| end == "tsm") || manifest && name == "tsmith.manifest" {
            fs::write(to.join(name), bytes).expect("written");
        }
    }
}

/// Story: `data` was copied without `wal`. The verbs showed old values and did not report the missing log.
#[test]
fn a_missing_log_is_reported() {
    let scratch = Scratch::new();
    let (data, _) = shard(&scratch, &scratch.path("influxdb"));
    for (name, manifest) in [("influxdbs", false), ("ours", true)] {
        let copied = dirs(&scratch.path(name)).0;
        copy_data(&data, &copied, manifest);
        let line = format!("no log directory for {}", copied.display());
        let said = [line.as_str(), "--wal", "--no-wal"];
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
        // A manifest says that there is a log, so a missing log is a problem.
        let code = i32::from(manifest);
        let verified = run("verify {} --format json", &[&copied]).exits(code).says(&said).json();
        assert_eq!(verified["no_log"][0]["path"], copied.display().to_string());
        let inspected = run("inspect {} --format json", &[&copied]).exits(code).says(&said).json();
        assert!(inspected["no_log"][0]["reason"].as_str().is_some_and(|text| text.starts_with(&line)));
        for verb in ["stats", "verify", "inspect"] {
            let meant = run(&format!("{verb} {{}} --no-wal"), &[&copied]).exits(0);
            assert!(!meant.stderr.contains("log"), "{}", meant.stderr);
        }
        // For a tree there is one line per shard.
        let other = copied.with_file_name("2");
        copy_data(&data, &other, false);
        let tree = run("stats {} --format json", &[&scratch.path(name)]).exits(0).says(&[&line]);
        assert_eq!(tree.stderr.matches("no log directory for ").count(), 2, "{}", tree.stderr);
        assert!(tree.json()["shards"][1]["no_log"].is_string());
        let tree = run("verify {}", &[&scratch.path(name)]).exits(code).says(&[&line]);
        assert_eq!(tree.stderr.matches("no log directory for ").count(), 2, "{}", tree.stderr);
        // A dry run of delete reports it too.
        run("delete {} --key m,h=a --dry-run", &[&copied]).exits(74).says(&["wal/db/rp/1"]);
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

/// Story: `--wal` with the directory above the logs was accepted as an empty log.
#[test]
fn a_directory_above_logs_is_refused() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, wal) = shard(&scratch, &root);
    fs::remove_file(data.join("tsmith.manifest")).expect("there");
    let before = content(&root);
    let log = wal.display().to_string();
    for above in ["wal", "wal/db", "wal/db/rp"].map(|above| root.join(above)) {
        let said = [log.as_str(), "--wal"];
        let found = run("export {} --wal {}", &[&data, &above]).exits(1).says(&said);
        assert_eq!(found.text(), LINES[0]);
        run("verify {} --wal {}", &[&data, &above]).exits(0).says(&said);
        let input = scratch.file("3.lp", "m,h=a f=3 3\n");
        run("import {} {} --wal {}", &[&data, &input, &above]).exits(2).says(&said);
        run("snapshot {} --wal {}", &[&data, &above]).exits(2).says(&said);
    }
    assert!(content(&root) == before, "nothing is changed");
    assert_eq!(run("export {} --wal {}", &[&data, &wal]).exits(0).text(), LINES.concat());
}

/// Story: a field had different types in different shards, and no verb reported it.
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
    // One shard has the field in a file. Another database may have other types.
    run("snapshot {}", &[&root.join("data/db/rp/0")]).exits(0);
    import(path("other", 1), "m,h=a same=\"text\" 1\n".to_owned());
    // A deleted field has no type.
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
        assert!(text.contains(line) && text.contains("note: 1 field "), "{text}");
    }
    let other = run("verify {} --format json", &[&root.join("data/other")]).exits(0).json();
    assert!(other["types_differ"].is_null(), "{other}");
}

/// Story: a path list such as `data/db/*` failed because of `_series`.
#[test]
fn files_of_influxdb_in_a_path_list_are_skipped() {
    let scratch = Scratch::new();
    let root = scratch.path("influxdb");
    let (data, _) = shard(&scratch, &root);
    let (db, series) = (root.join("data/db"), root.join("data/db/_series"));
    fs::create_dir_all(series.join("00")).expect("made");
    fs::write(data.join("fields.idx"), [0, 6, 1, 3]).expect("written");
    run("verify {} {}", &[&series, &db.join("rp")]).exits(0).says(&["_series: not read: ", "fields.idx"]);
    let index = data.join("fields.idx");
    for verb in ["inspect", "export"] {
        let paths = [&series, &data, &index].map(PathBuf::as_path);
        run(&format!("{verb} {{}} {{}} {{}}"), &paths).exits(0).says(&["_series: not read: ", "fields.idx"]);
    }
    // A single path is not skipped.
    run("verify {}", &[&series]).exits(74).says(&["_series"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::process::CommandExt;

    use super::*;
    use support::{Run, command};

    /// Story: `data` was a link to another disk, and `wal` was not. The first write recorded one path of the log, and later
    /// writes refused the log because of its other path.
    #[test]
    fn a_shard_behind_a_link_keeps_its_log() {
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
            // Another shard cannot use the log.
            let other = root.join("data/db/rp/2");
            let input = scratch.file("3.lp", LINES[0]);
            let refused = run("import {} {} --wal {}", &[&other, &input, &wal]).exits(2);
            refused.says(&["--wal", "data/db/rp/1"]);
        }
    }

    /// Story: if the directory was a dangling link, `import` reported only that it exists.
    #[test]
    fn a_dangling_link_is_reported() {
        let scratch = Scratch::new();
        let (link, target) = (scratch.path("link"), scratch.path("unmounted"));
        symlink(&target, &link).expect("linked");
        let line = scratch.file("in.lp", "m f=1 1\n");
        let (first, second) = (link.display().to_string(), target.display().to_string());
        let says = [first.as_str(), second.as_str()];
        for dir in [&link, &link.join("shard")] {
            run("import {} {}", &[dir, &line]).exits(74).says(&says);
            run("import {} {} --wal {}", &[&scratch.path("d"), &line, dir]).exits(74).says(&says);
            for verb in ["export", "verify", "stats", "inspect", "snapshot", "repair"] {
                run(&format!("{verb} {{}}"), &[dir]).exits(74).says(&says);
            }
        }
        assert!(!scratch.path("d").exists(), "nothing is created");
        fs::create_dir(&target).expect("made");
        run("import {} {}", &[&link, &line]).exits(0);
    }

    /// Runs as a user who is not root; `None` if that is impossible.
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

    /// Story: `repair` without permission to read the files reported success.
    #[test]
    fn unreadable_files_are_no_success() {
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
        // Each file, the log, the directory above the log, and the shard itself are made unreadable.
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
                    assert!(!all.ends_with(" ok\n"), "{context}");
                }
            }
        }
        // The files can be read but not written.
        open_up(&root);
        let Some(found) = run_unprivileged("repair {}", &[&data]) else { return };
        let found = found.exits(74).says(&["ermission denied"]);
        assert_eq!(found.text(), "");
        let found = run_unprivileged("repair {}", &[&root]).expect("it ran").exits(74);
        assert!(found.text().contains("1 shard could not be read"), "{}", found.text());
        // The files can be read without the log.
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

    /// Story: while influxd was running, `import` and `snapshot` wrote files that influxd then replaced with its own.
    #[test]
    fn files_open_in_another_process_are_refused() {
        let scratch = Scratch::new();
        let root = scratch.path("influxdb");
        let (data, wal) = shard(&scratch, &root);
        let input = scratch.file("3.lp", "m,h=b f=3 3\n");
        let segment = content(&wal).into_keys().find(|path| path.extension().is_some_and(|end| end == "wal"));
        fs::create_dir_all(data.join("index/0")).expect("made");
        fs::write(data.join("index/0/L0-00000001.tsl"), "").expect("written");
        // Directories of InfluxDB have no lock file.
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
        // An open file that does not belong to the shard.
        let output = fs::File::create(data.join("import.log")).expect("created");
        run("compact {}", &[&data]).exits(0);
        drop(output);
        fs::remove_file(data.join("import.log")).expect("there");
        fs::remove_file(data.join("tsmith.lock")).expect("there");
        // A file that is mapped, with its descriptor closed.
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

    /// The same with a real server, also after a restart.
    #[test]
    fn a_running_influxd_is_detected() {
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
