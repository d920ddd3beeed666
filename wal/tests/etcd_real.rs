//! Tests with the real etcd 3.4 and its Go packages, if they are installed (Debian: `etcd-server etcd-client golang-go
//! golang-etcd-server-dev`). A skipped test prints why.

use std::ffi::OsString;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tsmith_wal::etcd::{
    DiskStorage, Entry, EntryKind, HardState, Message, Snapshot, SnapshotRecord, Storage, Wal, WalOptions,
    cut_back, valid_snapshot_entries,
};
use tsmith_wal::fs::{Fs, OsFs};

mod etcd;
#[path = "../examples/plan/mod.rs"]
mod plan;
mod support;

use support::Dice;

/// One test at a time. A child process holds the locks of its parent until it executes another program, so a log that another
/// test has just closed would be in use.
static ALONE: Mutex<()> = Mutex::new(());

/// A running member, killed on drop.
struct Member {
    child: Child,
    client: u16,
}

fn free_ports() -> [u16; 2] {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok() || Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}

impl Member {
    fn start(data: &Path, ports: [u16; 2]) -> Self {
        let [client, peer] = ports;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let child = Command::new("etcd")
            .args(["--name", "n1", "--snapshot-count", "20", "--logger", "zap", "--log-outputs", "stderr"])
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("n1={}", url(peer))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let member = Self { child, client };
        let deadline = Instant::now() + Duration::from_secs(30);
        while member.ctl(&["endpoint", "health"]).is_none() {
            assert!(Instant::now() < deadline, "etcd does not become healthy with {}", data.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        member
    }

    fn ctl(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=http://127.0.0.1:{}", self.client))
            .args(arguments)
            .output()
            .expect("etcdctl");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops etcd cleanly, so that it writes the last transaction of its database.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("kill").success());
        self.child.wait().expect("waits");
    }

    /// Kills etcd. Unlike a power cut, this loses no written bytes.
    fn kill(mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("waits");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Every key with its value. A restart does not change this text.
fn keys(member: &Member) -> String {
    member.ctl(&["get", "", "--prefix"]).expect("keys")
}

/// Repeats the saves that wrote the records of a log, in a new log.
fn repeat_saves(from: &Path, to: &Path) {
    let file = from.join("0000000000000000-0000000000000000.wal");
    let bytes = std::fs::read(file).expect("reads");
    let mut wal: Option<Wal> = None;
    let mut entries = Vec::new();
    for record in tsmith_wal::etcd::records(&bytes) {
        let record = record.expect("a record");
        match (record.message().expect("a message"), &mut wal) {
            (Message::Checksum, None) => {}
            (Message::Metadata(metadata), None) => {
                wal = Some(Wal::create(OsFs, to, metadata, WalOptions::default()).expect("creates"));
            }
            (Message::Snapshot(snapshot), Some(_)) if snapshot == SnapshotRecord::default() => {}
            (Message::Snapshot(snapshot), Some(wal)) => wal.save_snapshot(&snapshot).expect("saves"),
            (Message::Entry(entry), Some(_)) => entries.push(entry),
            (Message::State(state), Some(wal)) => {
                wal.save(&state, &entries).expect("saves");
                entries.clear();
            }
            other => panic!("{other:?}"),
        }
    }
    let mut wal = wal.expect("a log");
    wal.save(&HardState::default(), &entries).expect("saves");
    wal.close().expect("closes");
}

/// Tsmith reads a member's log and writes a new one with the same bytes. etcd starts on the new log and serves the same keys.
/// While one of them has the log open, the other is refused.
#[test]
fn etcd_starts_on_a_log_that_tsmith_wrote() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !installed("etcd") || !installed("etcdctl") {
        eprintln!("skipped: etcd and etcdctl are not installed");
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let data = scratch.path().join("n1.etcd");
    let ports = free_ports();
    let member = Member::start(&data, ports);
    for key in 0..45 {
        member.ctl(&["put", &format!("key{key}"), &"value".repeat(key)]).expect("puts");
    }
    member.ctl(&["del", "key7"]).expect("deletes");
    let before = keys(&member);
    let wal_dir = data.join("member/wal");
    let start = valid_snapshot_entries(&OsFs, &wal_dir).expect("reads").pop().expect("a snapshot");
    assert!(start.index >= 20, "{start:?}");
    let held = Wal::open(OsFs, &wal_dir, &start, WalOptions::default()).expect_err("etcd holds it");
    assert!(matches!(held.kind(), tsmith_wal::ErrorKind::InUse), "{held}");
    member.kill();

    let again = scratch.path().join("again");
    repeat_saves(&wal_dir, &again);
    let name = "0000000000000000-0000000000000000.wal";
    let [theirs, ours] = [&wal_dir, &again].map(|dir| std::fs::read(dir.join(name)).expect("reads"));
    assert!(theirs == ours, "the bytes differ");
    std::fs::remove_dir_all(&wal_dir).expect("removes");
    etcd::copy_dir(&again, &wal_dir);

    let snap_dir = data.join("member/snap");
    let opened = DiskStorage::open(OsFs, &wal_dir, &snap_dir, WalOptions::default());
    let (storage, restored) = opened.expect("opens a member's directory");
    assert_eq!(restored.snapshot.expect("a snapshot").index, start.index);
    assert!(!restored.contents.entries.is_empty() && restored.contents.state.commit > 45);
    let mut refused = Command::new("etcd")
        .arg("--data-dir")
        .arg(&data)
        .args(["--name", "n1", "--listen-client-urls", "http://127.0.0.1:0"])
        .args(["--advertise-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", "http://127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcd starts");
    let text = wait_for_end(&mut refused);
    assert!(text.contains("locked") || text.contains("panic") || text.contains("fatal"), "{text}");
    storage.close().expect("closes");

    let member = Member::start(&data, ports);
    assert_eq!(keys(&member), before);
    member.ctl(&["put", "after", "ours"]).expect("puts");
    assert!(keys(&member).contains("after\nours"));
}

/// The standard error of a process until it ends, for at most 15 seconds.
fn wait_for_end(child: &mut Child) -> String {
    let deadline = Instant::now() + Duration::from_secs(15);
    while child.try_wait().expect("waits").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("kills");
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut text = String::new();
    drop(child.stderr.take().expect("piped").read_to_string(&mut text));
    drop(child.wait());
    text
}

/// Debian's directory of Go sources.
const GOPATH: &str = "/usr/share/gocode";

/// Builds the checker with the real packages.
fn checker(scratch: &Path) -> Option<PathBuf> {
    if !installed("go") || !Path::new(GOPATH).join("src/go.etcd.io/etcd/wal").is_dir() {
        eprintln!("skipped: go or the sources of etcd are not installed");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd/checker.go");
    std::fs::copy(source, scratch.join("main.go")).expect("copies");
    let built = Command::new("go")
        .args(["build", "-o", "checker", "main.go"])
        .current_dir(scratch)
        .env("GO111MODULE", "off")
        .env("GOPATH", GOPATH)
        .env("GOFLAGS", "")
        // Compiling etcd's packages takes a minute the first time.
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
        .env("HOME", scratch)
        .output()
        .expect("go");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(scratch.join("checker"))
}

/// etcd's package verifies, opens and reads a directory of Tsmith, and appends an entry. Then Tsmith reads the directory.
#[test]
fn etcds_package_reads_and_continues_our_log() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = tempfile::tempdir().expect("a directory");
    let Some(checker) = checker(scratch.path()) else { return };
    let (wal_dir, snap_dir) = (scratch.path().join("wal"), scratch.path().join("snap"));
    let options = WalOptions { segment_bytes: 20_000, ..WalOptions::default() };
    let mut storage = DiskStorage::create(OsFs, &wal_dir, &snap_dir, Some(b"m"), options).expect("creates");
    let entry = |index: u64| {
        let data =
            (!index.is_multiple_of(9)).then(|| Bytes::from(vec![index as u8; index as usize * 13 % 1500]));
        Entry { kind: EntryKind::NORMAL, term: 1 + index / 40, index, data }
    };
    for index in (1..=120).step_by(3) {
        let state = HardState { term: entry(index).term, vote: 1, commit: index - 1 };
        storage.save(&state, &[entry(index), entry(index + 1), entry(index + 2)]).expect("saves");
        if index == 61 {
            let snapshot = Snapshot {
                data: Some(Bytes::from_static(b"state")),
                index: 50,
                term: entry(50).term,
                ..Snapshot::default()
            };
            storage.save_snap(&snapshot).expect("saves");
        }
    }
    storage.close().expect("closes");
    let output = Command::new(checker).args([&wal_dir, &snap_dir]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.trim(), "snapshot 50 entries 70 commit 117 appended 121");
    let (storage, restored) = DiskStorage::open(OsFs, &wal_dir, &snap_dir, options).expect("opens");
    let entries = restored.contents.entries;
    assert_eq!(entries.len(), 71);
    assert_eq!(entries[..70], (51..=120).map(entry).collect::<Vec<_>>());
    assert_eq!(entries[70].data.as_deref(), Some(&b"from go"[..]));
    storage.close().expect("closes");
}

/// Random operations of a member.
struct Plans(Dice);

impl Plans {
    fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    fn hex(&mut self, len: u64) -> serde_json::Value {
        let digits = (0..2 * len).map(|_| char::from_digit(self.below(16) as u32, 16).expect("a digit"));
        digits.collect::<String>().into()
    }

    /// Operations that a member could do: entries that continue the log or overwrite uncommitted ones, new terms and votes,
    /// states without entries, snapshots, and reopening.
    fn plan(&mut self) -> String {
        let metadata = if self.below(4) == 0 { serde_json::Value::Null } else { self.hex(5) };
        let segment_bytes = [4_096, 20_000, 100_000][self.below(3) as usize];
        let mut plan = vec![json!({"op": "create", "segment_bytes": segment_bytes, "metadata": metadata})];
        let (mut term, mut vote, mut snapshot, mut commit, mut last) = (1, 1, 0, 0, 0);
        for _ in 0..5 + self.below(40) {
            match self.below(10) {
                0 => (term, vote) = (term + 1, self.below(4)),
                1 if commit > snapshot => {
                    snapshot = commit;
                    plan.push(json!({"op": "snapshot", "index": snapshot, "term": term}));
                }
                2 => plan.push(json!({"op": "reopen"})),
                3 => commit += self.below(1 + last - commit),
                4 if last > commit => last = commit + self.below(last - commit),
                _ => {}
            }
            let mut entries = Vec::new();
            for _ in 0..self.below(6) {
                last += 1;
                let data = match self.below(5) {
                    0 => serde_json::Value::Null,
                    1 => self.hex(0),
                    2 => {
                        let len = self.below(3000);
                        self.hex(len)
                    }
                    _ => self.hex(20),
                };
                entries.push(json!({"type": self.below(2), "term": term, "index": last, "data": data}));
            }
            let state = json!({"term": term, "vote": vote, "commit": commit});
            let state = if self.below(5) == 0 { serde_json::Value::Null } else { state };
            plan.push(json!({"op": "save", "state": state, "entries": entries}));
        }
        plan.push(json!({"op": "close"}));
        plan.iter().map(|op| format!("{op}\n")).collect()
    }
}

/// Random operations give the same bytes as etcd's package.
#[test]
fn random_plans_give_the_same_bytes_as_etcd() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = tempfile::tempdir().expect("a directory");
    let Some(checker) = checker(scratch.path()) else { return };
    let segments = |dir: &Path| {
        let names = OsFs.list(dir).expect("lists").into_iter();
        let names = names.filter(|name| Path::new(name).extension() == Some("wal".as_ref()));
        names.map(|name| (std::fs::read(dir.join(&name)).expect("reads"), name)).collect::<Vec<_>>()
    };
    let mut cuts = 0;
    for seed in 0..60 {
        let [plan, ours, theirs] =
            ["plan", "ours", "theirs"].map(|name| scratch.path().join(format!("{name}-{seed}")));
        let text = Plans(Dice(seed)).plan();
        std::fs::write(&plan, &text).expect("writes");
        plan::play(&text, &ours).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let output = Command::new(&checker).arg("plan").args([&plan, &theirs]).output().expect("runs");
        assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stdout));
        let (ours, theirs) = (segments(&ours), segments(&theirs));
        let names =
            |all: &[(Vec<u8>, OsString)]| all.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "seed {seed}");
        for ((ours, name), (theirs, _)) in ours.iter().zip(&theirs) {
            assert!(ours == theirs, "seed {seed}: {} differs", name.display());
        }
        cuts += ours.len() - 1;
    }
    assert!(cuts > 20, "too few segments: {cuts}");
}

/// Story: after a power cut the only member of a cluster did not start ("crc mismatch", "max entry size limit exceeded"), and
/// etcd's own repair refused its log. etcd starts on the log after `cut_back`.
#[test]
fn etcd_starts_on_a_log_that_was_cut_back() {
    type Corrupt = fn(&mut Vec<u8>, usize);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !installed("etcd") || !installed("etcdctl") {
        eprintln!("skipped: etcd and etcdctl are not installed");
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let data = scratch.path().join("n1.etcd");
    let ports = free_ports();
    let member = Member::start(&data, ports);
    for key in 0..30 {
        member.ctl(&["put", &format!("key{key}"), "value"]).expect("puts");
    }
    // A clean stop writes the database, so that the cut loses no key that only the log had.
    member.stop();
    let kinds: [(&str, Corrupt); 3] = [
        ("a wrong checksum", |bytes, at| bytes[at + 30] ^= 1),
        ("an oversized length", |bytes, at| bytes[at + 2..at + 6].fill(0xff)),
        ("a zeroed sector", |bytes, at| bytes[at..at + 512].fill(0)),
    ];
    for (what, corrupt) in kinds {
        let copy = scratch.path().join("copy.etcd");
        etcd::copy_dir(&data.join("member/wal"), &copy.join("member/wal"));
        etcd::copy_dir(&data.join("member/snap"), &copy.join("member/snap"));
        let (wal_dir, snap_dir) = (copy.join("member/wal"), copy.join("member/snap"));
        let segment = wal_dir.join("0000000000000000-0000000000000000.wal");
        let mut bytes = std::fs::read(&segment).expect("reads");
        let entries: Vec<_> = tsmith_wal::etcd::records(&bytes)
            .map(|record| record.expect("a record"))
            .filter(|record| record.kind == 2)
            .map(|record| record.offset as usize)
            .collect();
        let at = entries[entries.len() - 8];
        corrupt(&mut bytes, at);
        std::fs::write(&segment, bytes).expect("writes");
        let done = cut_back(&OsFs, &wal_dir, Some(&snap_dir), false).expect("cuts").expect("is needed");
        assert_eq!(done.offset, at as u64, "{what}");
        assert!(done.lost_entries.is_some_and(|(first, last)| last - first == 7), "{what}: {done:?}");
        let member = Member::start(&copy, ports);
        assert_eq!(keys(&member).lines().filter(|line| line.starts_with("key")).count(), 30, "{what}");
        // The database contains the index of the last applied entry, and etcd ignores new entries up to that index.
        let accepted =
            (0..20).any(|_| member.ctl(&["--command-timeout=1s", "put", "after", "the cut"]).is_some());
        assert!(accepted && keys(&member).contains("after\nthe cut"), "{what}");
        drop(member);
        std::fs::remove_dir_all(&copy).expect("removes");
    }
}
