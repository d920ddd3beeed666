//! Verbs on the data directory of a real InfluxDB server, as a kill left it.

#[path = "../../engine/tests/support/influxd.rs"]
mod server;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Scratch, content, run};

/// A copy of the server's directory, with additional files that Tsmith does not read.
fn influxd(scratch: &Scratch) -> PathBuf {
    let root = scratch.path("influxdb");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/vectors/tsm1/influxd");
    for part in ["data", "wal"] {
        unpack(&from.join(part), &root.join(part));
    }
    fs::create_dir_all(root.join("data/vec/_series/00")).expect("made");
    fs::write(root.join("data/vec/_series/00/0000"), [0; 64]).expect("written");
    fs::create_dir_all(root.join("meta")).expect("made");
    fs::write(root.join("meta/meta.db"), b"meta").expect("written");
    for shard in 1..=4 {
        let shard = root.join(format!("data/vec/autogen/{shard}"));
        fs::create_dir_all(shard.join("index/0")).expect("made");
        fs::write(shard.join("fields.idx"), [0, 6, 1, 3]).expect("written");
    }
    root
}

fn unpack(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("the vectors") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if path.is_dir() {
            unpack(&path, &to.join(name));
        } else if let Some(plain) = name.strip_suffix(".zst") {
            let bytes = zstd::decode_all(fs::File::open(&path).expect("there")).expect("zstd");
            fs::write(to.join(plain), bytes).expect("written");
        } else {
            fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

/// The first words of the totals of `verify` for four shards.
const NO_PROBLEMS: &str = "4 shards, 0 with problems: ";
const ONE_PROBLEM: &str = "4 shards, 1 with problems: ";

fn paths(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|item| item["path"].as_str().expect("a path").to_owned())
        .collect()
}

/// The directories above all four shards.
fn ways(root: &Path) -> [PathBuf; 4] {
    ["", "data", "data/vec", "data/vec/autogen"].map(|below| root.join(below))
}

#[test]
fn every_shard_is_verified() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let before = content(&root);
    for way in ways(&root) {
        let found = run("verify {}", &[&way]).exits(0);
        let text = found.text();
        for shard in 1..=4 {
            assert!(text.contains(&format!("autogen/{shard}: ")), "{text}");
        }
        // Story: lines about the same files in every shard hid the problems.
        for name in ["fields.idx", "index"] {
            assert!(found.stderr.contains(&format!("autogen/1/{name} and 3 more")), "{}", found.stderr);
            assert!(!found.stderr.contains(&format!("autogen/4/{name}")), "{}", found.stderr);
        }
        assert!(text.contains(NO_PROBLEMS), "{text}");
        let report = run("verify {} --format json", &[&way]).exits(0).json();
        assert_eq!((paths(&report["shards"]).len(), &report["problems"]), (4, &Value::from(0)));
    }
    let skipped = run("verify {} --format json", &[&root]).exits(0).json();
    let skipped = paths(&skipped["skipped"]);
    for name in ["data/vec/_series", "meta", "1/index", "4/fields.idx"] {
        assert!(skipped.iter().any(|path| path.ends_with(name)), "{name}: {skipped:?}");
    }
    assert!(before == content(&root), "nothing is changed");
}

#[test]
fn shards_are_counted_one_by_one_and_in_total() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let mut reports = Vec::new();
    for way in ways(&root) {
        let report = run("stats {} --format json", &[&way]).exits(0).json();
        let shards = report["shards"].as_array().expect("shards").clone();
        assert_eq!(shards.len(), 4);
        for part in ["values", "keys", "files", "file_bytes", "log_bytes", "stored_values", "blocks"] {
            let sum: u64 = shards.iter().map(|shard| shard[part].as_u64().expect("a number")).sum();
            assert_eq!(report["total"][part], sum, "{part}");
        }
        for shard in &shards {
            // The same numbers as for the shard alone.
            let alone = run("stats {} --format json", &[Path::new(shard["path"].as_str().expect("a path"))]);
            let alone = alone.exits(0).json();
            assert_eq!((&alone["values"], &alone["min_time"]), (&shard["values"], &shard["min_time"]));
            assert!(alone["values"].as_u64() > Some(0), "{alone}");
        }
        let text = run("stats {}", &[&way]).exits(0).text();
        assert!(text.contains("autogen/4 ") && text.contains("4 shards "), "{text}");
        reports.push(report["total"].clone());
    }
    assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_files_of_all_shards_are_inspected() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let shown = run("inspect {} --format json", &[&root])
        .exits(0)
        .says(&["fields.idx and 3 more", "_series: not read"]);
    // Story: seventeen lines reported files that are not read, one for each file of each shard.
    assert!(shown.stderr.lines().count() <= 5, "{}", shown.stderr);
    let files = shown.json()["files"].as_array().expect("files").clone();
    let of = |kind: &str| files.iter().filter(|file| file["kind"] == kind).count();
    assert_eq!((of("tsm"), of("tombstone"), of("segment")), (2, 1, 4));
}

#[test]
fn corruption_in_one_shard_hides_no_other() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let tsm = root.join("data/vec/autogen/1/000000001-000000001.tsm");
    let mut bytes = fs::read(&tsm).expect("there");
    bytes[30] ^= 1;
    fs::write(&tsm, &bytes).expect("written");
    // Of another shard, only the log is left. influxd does not read it.
    fs::remove_dir_all(root.join("data/vec/autogen/4")).expect("removed");
    let text = run("verify {}", &[&root]).exits(1).text();
    assert!(text.contains(ONE_PROBLEM), "{text}");
    assert!(text.contains("autogen/1/000000001-000000001.tsm: offset "), "{text}");
    let stats = run("stats {} --format json", &[&root]).exits(1).says(&["autogen/1/000000001-000000001.tsm"]);
    let shards = paths(&stats.json()["shards"]);
    assert!(shards.iter().any(|path| path.ends_with("wal/vec/autogen/4")), "{shards:?}");
    run("inspect {}", &[&root]).exits(1);

    let plan = run("repair {} --dry-run", &[&root]).exits(1).text();
    assert!(plan.contains("corrupt ") && plan.contains(" 1 corrupt; "), "{plan}");
    run("repair {}", &[&root]).exits(1).says(&["fields.idx and 2 more"]);
    let text = run("verify {}", &[&root]).exits(0).text();
    assert!(text.contains(NO_PROBLEMS) && text.contains("000000001-000000001.tsm.bad"), "{text}");
    for verb in ["export", "query"] {
        run(&format!("{verb} {{}}"), &[&root]).exits(2).says(&["data/vec/autogen/"]);
    }
}

/// Story: with one corrupt manifest, the other shards were not reported.
#[test]
fn a_corrupt_manifest_hides_no_other_shard() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let data = root.join("data/vec/autogen");
    let input = scratch.file("more.lp", "m v=1 1");
    run("import {} {}", &[&data.join("2"), &input]).exits(0);
    let manifest = data.join("2/tsmith.manifest");
    let good = fs::read(&manifest).expect("there");
    fs::write(&manifest, &good[..good.len() - 9]).expect("cut");
    let words = ["autogen/2/tsmith.manifest: line 8", "tsmith repair"];
    let text = run("verify {}", &[&root]).exits(1).text();
    assert!(text.contains(ONE_PROBLEM) && words.iter().all(|part| text.contains(part)), "{text}");
    let stats = run("stats {} --format json", &[&root]).exits(1).says(&words).json();
    assert_eq!(paths(&stats["shards"]).len(), 4);
    run("inspect {}", &[&root]).exits(1);
    let one = run("export {} {} --format lp", &[&data.join("2"), &data.join("1")]).exits(1).says(&words);
    let other = run("export {}", &[&data.join("1")]).exits(0);
    assert!(one.stdout.ends_with(&other.stdout) && one.stdout.len() > other.stdout.len());
    let plan = run("repair {} --dry-run", &[&root]).exits(1).text();
    assert!(plan.contains(" 1 unrepaired; "), "{plan}");
    // The user must name the log, because the corrupt manifest says that it is outside the data directory.
    let output = run("repair {}", &[&root]).exits(1).text();
    assert!(output.contains("unrepaired ") && output.contains("--wal"), "{output}");
    run("repair {} --wal {}", &[&root, &root.join("wal/vec/autogen")]).exits(1);
    run("repair {} --wal {}", &[&data, &root.join("wal/vec/autogen")]).exits(1);
    assert_eq!(fs::read(&manifest).expect("there"), good);
    assert!(run("verify {}", &[&root]).exits(0).text().contains(NO_PROBLEMS));
}

/// Story: verbs that write to one shard reported a directory of shards as empty.
#[test]
fn verbs_for_one_shard_list_the_shards() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let before = content(&root);
    let input = scratch.file("more.lp", "m v=1 1");
    for way in ways(&root) {
        for line in [
            "compact {} --full",
            "snapshot {}",
            "delete {} --key k",
            "delete {} --key k --dry-run",
            "import {} {}",
        ] {
            let verb = line.split(' ').next().expect("a verb");
            let first = format!("`tsmith {verb} {}`", root.join("data/vec/autogen/1").display());
            run(line, &[&way, &input]).exits(2).says(&["4 shards", "autogen/4", &first]);
        }
    }
    assert!(content(&root) == before, "nothing is changed");
}

/// `--wal` can name the directory above the logs.
#[test]
fn wal_can_name_a_directory_above_logs() {
    let scratch = Scratch::new();
    let root = influxd(&scratch);
    let (data, logs) = (scratch.path("tsm"), scratch.path("logs"));
    unpack(&root.join("data"), &data);
    unpack(&root.join("wal"), &logs);
    let without = run("stats {} --format json", &[&data]).exits(0).json();
    let shards = without["shards"].as_array().expect("shards");
    assert!(shards.len() == 4 && shards.iter().all(|shard| shard["no_log"].is_string()), "{without}");
    let with = run("stats {} --wal {} --format json", &[&data, &logs]).exits(0).json();
    assert_eq!(paths(&with["shards"]).len(), 4);
    assert!(with["total"]["values"].as_u64() > without["total"]["values"].as_u64());
    run("stats {} --wal {}", &[&data, &scratch.path("nowhere")]).exits(74);
}

/// A real server writes two databases and is killed. Its directory is counted, corrupted and repaired, and the server starts
/// again.
#[test]
fn a_real_server_opens_a_repaired_directory() {
    const DAY: i64 = 86_400_000_000_000;
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = server::start_with_database(root) else { return };
    server.query("CREATE DATABASE other WITH DURATION INF REPLICATION 1 SHARD DURATION 1d NAME \"days\"");
    let lines = |host: &str, points: i64, step: i64| -> String {
        (0..points)
            .map(|n| format!("m,host={host} v={n}i {}\n", 1_600_000_000_000_000_000 + n * step))
            .collect()
    };
    server.write(&lines("a", 2500, 1_000_000));
    server.write(&lines("b", 10, 1_000_000));
    for (host, points, step) in [("a", 4, DAY), ("b", 100, 1_000_000)] {
        let (status, body) = server.request("POST", "/write?db=other", &lines(host, points, step));
        assert_eq!(status, 204, "{body}");
    }
    server.end("-KILL");

    let text = run("verify {}", &[root]).exits(0).text();
    assert!(text.contains("5 shards, 0 with problems: ") && text.contains(", 2614 stored values"), "{text}");
    let stats = run("stats {} --format json", &[root]).exits(0).json();
    assert_eq!((paths(&stats["shards"]).len(), &stats["total"]["values"]), (5, &Value::from(2614)));
    run("inspect {}", &[root]).exits(0);
    let shard = server::shard_dirs(root).data;
    run("snapshot {}", &[&shard]).exits(0);
    let tsm = shard.join("000000001-000000001.tsm");
    let mut bytes = fs::read(&tsm).expect("written");
    bytes[40] ^= 1;
    fs::write(&tsm, &bytes).expect("writes");
    run("verify {}", &[root]).exits(1);
    let report = run("repair {} --format json", &[root]).exits(1).json();
    assert_eq!(report["problems"], 1, "{report}");
    let verified = run("verify {}", &[root]).exits(0).text();
    assert!(verified.contains(", 1614 stored values"), "{verified}");

    let server = server::Influxd::start(root).expect("is installed");
    let answer = server.query("SELECT count(v) FROM m GROUP BY host");
    let counts: Vec<Option<i64>> = answer["results"][0]["series"]
        .as_array()
        .expect("series")
        .iter()
        .map(|series| series["values"][0][1].as_i64())
        .collect();
    assert_eq!(counts, [Some(1500), Some(10)], "{answer}");
    server.end("-TERM");
}
