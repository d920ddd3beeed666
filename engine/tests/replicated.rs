//! The example `replicated` as processes: a replica that stops ends its process, and the parent reports it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The path of the example. It is not built if only some tests are built.
fn example() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a path");
    let path = test.parent()?.parent()?.join("examples/replicated");
    if !path.exists() {
        eprintln!("skipped: {} is not built; `cargo test --examples` builds it", path.display());
    }
    Some(path).filter(|path| path.exists())
}

/// A base whose ports, for replicas and for lines, are free. Each test uses another range.
fn free_ports(test: u16) -> u16 {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let all_free = |base: u16| (1..=3).all(|id| is_free(base + id) && is_free(base + 100 + id));
    let begin = 20_000 + 1000 * test + (std::process::id() % 4000) as u16;
    (begin..32_000).step_by(7).find(|&base| all_free(base)).expect("free ports")
}

/// A child process, killed on drop.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().expect("starts"))
    }

    fn node(example: &Path, verb: &str, id: u16, dir: &Path, base: u16) -> Self {
        let dir = dir.join(id.to_string());
        Self::start(Command::new(example).args([verb, &id.to_string()]).arg(dir).arg(base.to_string()))
    }

    /// Waits until it ends by itself. Returns its status and its stderr.
    fn end(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("is a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "still runs");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut said = String::new();
        self.0.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        (status, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The answer on a port, if a process listens there.
fn ask(port: u16, text: &str) -> Option<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (&stream).write_all(format!("{text}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).ok()?;
    Some(answer)
}

fn wait<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a process to its end: exit code, stdout and stderr.
fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Starts all three and waits until they accept lines.
fn all(example: &Path, dir: &Path, base: u16) -> Running {
    let started = Running::start(Command::new(example).arg(dir).arg(base.to_string()));
    let written = |id: u16| ask(base + 100 + id, "m v=1 1").filter(|answer| answer == "ok 1\n");
    (1..=3).for_each(|id| drop(wait("a write", || written(id))));
    started
}

/// Ends all by ending their parent.
fn end_all(started: Running, base: u16) {
    drop(started);
    let is_there = |id: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, base + 100 + id)).is_ok();
    wait("their end", || (1..=3).all(|id| !is_there(id)).then_some(()));
}

/// Story: empty directories that existed before, for example mount points, were treated as replicas. Without
/// the group's number none started. The number was also not found when a replica was started inside its
/// directory.
#[test]
fn a_group_can_start_in_empty_directories() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(3));
    let dir = |name: &str| scratch.path().join(name);
    for id in ["1", "2", "3"] {
        std::fs::create_dir(dir(id)).expect("made");
    }
    end_all(all(&example, scratch.path(), base), base);

    let inside = ["node", "1", ".", &base.to_string()];
    let _one = Running::start(Command::new(&example).args(inside).current_dir(dir("1")));
    wait("its status", || ask(base + 101, "?status"));
    // With other ports than the running replica.
    let other = (base + 7).to_string();
    let (_, _, said) = output(Command::new(&example).args(["new", "1"]).arg(dir("1")).arg(&other));
    assert!(said.contains("in use") && !said.contains("remove"), "{said}");
    let (_, _, said) = output(Command::new(&example).args(["node", "3"]).arg(dir("2")).arg(&other));
    let of_two = format!("{} belongs to replica 2", dir("2").display());
    assert!(said.contains(&of_two), "{said}");

    std::fs::remove_file(dir("group")).expect("removed");
    let (code, said, why) = output(Command::new(&example).arg(scratch.path()).arg(&other));
    assert_eq!(code, Some(1), "{said}{why}");
    assert!(why.contains(&format!("{} is missing", dir("group").display())), "{why}");
    assert!(!dir("group").exists());
}

/// Story: a line end inside a string ended the line if the rest had not arrived yet. The replica stored a point that no
/// client had written.
#[test]
fn a_string_may_arrive_in_parts() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(4));
    let _started = all(&example, scratch.path(), base);
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 101)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answers = BufReader::new(&stream);
    let mut write = |parts: &[&str]| {
        for part in parts {
            (&stream).write_all(part.as_bytes()).expect("sends");
            // So that each part arrives separately.
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("answers");
        answer
    };
    assert_eq!(write(&["s v=\"a\n", "b v=2 2\n", "c\" 1\n"]), "ok 1\n");
    // Longer than one read.
    let long = format!("l v=\"{}\n\" 1\n", "x v=3 3\n".repeat(9000));
    assert_eq!(write(&[&long]), "ok 1\n");
    // An escaped character is known when the line ends, except for a line end.
    assert_eq!(write(&["k,t=a\\ b v=4 4\n"]), "ok 1\n");
    assert_eq!(write(&["e,t=a\\\n", "b v=5 5\n?status\n"]), "ok 1\n");
    let export = ask(base + 101, "?export").expect("answers");
    let rows: Vec<_> = export.split('\u{1}').map(|row| row.chars().take(100).collect::<String>()).collect();
    let keys: Vec<_> = rows.iter().filter_map(|row| row.split_once("#!~#")).map(|(key, _)| key).collect();
    // The export replaces line ends by U+0001, so `b` is the end of a key.
    assert_eq!(keys, ["b", "k,t=a\\ b", "l", "m", "s"], "{rows:?}");
    assert!(export.starts_with("e,t=a\\\u{1}b#!~#v [5]"), "{rows:?}");
    let string = format!("{:?}", b"a\nb v=2 2\nc");
    assert!(export.contains(&string), "{rows:?}");
    // A string without an end is refused after a limit.
    let endless = "y".repeat(3 << 20);
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 102)).expect("connects");
    drop((&stream).write_all(format!("z v=\"\n{endless}").as_bytes()));
    // The connection may be reset before the answer is read.
    let mut answer = String::new();
    drop(BufReader::new(&stream).read_line(&mut answer));
    // A string that does not close within 1 MiB ends at its first line end. The rest has no line end.
    let is_answer = answer.is_empty()
        || answer
            == "ok 0, 1 rejected
" || answer.starts_with("error ");
    assert!(is_answer, "{answer}");
    assert!(!ask(base + 101, "?export").expect("answers").contains("z#!~#"));
}

/// Story: errors were printed in debug form, `--help` was an error, and the parent reported a replica as
/// running although it had not started.
#[test]
fn errors_and_help_are_readable() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(5));
    for help in ["-h", "--help", "help"] {
        let (code, said, why) = output(Command::new(&example).arg(help));
        assert!(code == Some(0) && why.is_empty(), "{why}");
        assert!(
            ["?status", "?export", "DIR/group", "PORT+100+N"].iter().all(|word| said.contains(word)),
            "{said}"
        );
    }
    for arguments in [&["kill", "x", "--rounds", "1x"][..], &["x", "1x"], &["new", "1", "x/1", "1x"]] {
        let (code, said, why) = output(Command::new(&example).args(arguments).current_dir(scratch.path()));
        assert!(code == Some(1) && said.is_empty(), "{said}");
        assert!(why.contains(" 1x: invalid digit") && !why.contains('{'), "{why}");
    }
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 1)).expect("was free");
    let (code, said, why) = output(Command::new(&example).arg(scratch.path()).arg(base.to_string()));
    assert_eq!(code, Some(1), "{said}{why}");
    let in_use = format!("replica 1: 127.0.0.1:{}: Address already in use", base + 1);
    assert!(why.contains(&in_use) && !why.contains('{'), "{why}");
    assert!(!said.contains("replica 1: lines on"), "{said}");
}

/// Kills at random under load; `TSMITH_KILL_ROUNDS` sets the number of rounds.
#[test]
fn killed_replicas_lose_nothing() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(6));
    let rounds = std::env::var("TSMITH_KILL_ROUNDS").unwrap_or_else(|_| "5".to_owned());
    let mut checker = Command::new(example);
    checker.arg("kill").arg(scratch.path()).args(["--rounds", &rounds, "--seed", "1", "--port"]);
    let (code, said, why) = output(checker.arg(base.to_string()));
    assert_eq!(code, Some(0), "{said}{why}");
    let summary = said.lines().last().and_then(|line| line.strip_prefix(&format!("{rounds} rounds, ")));
    let known = summary.and_then(|rest| rest.strip_suffix(" acknowledged, none lost, all replicas equal"));
    assert!(known.is_some_and(|known| known.parse::<u64>().is_ok_and(|known| known > 0)), "{said}");
}

/// Story: when a replica stopped, its process still accepted connections and never answered.
#[test]
fn a_process_ends_with_its_replica() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(0));
    std::fs::write(scratch.path().join("group"), "7\n").expect("written");
    let mut nodes: Vec<_> =
        (1..=3).map(|id| Some(Running::node(&example, "new", id, scratch.path(), base))).collect();
    let written = |id: u16| ask(base + 100 + id, "m v=1 1").filter(|answer| answer == "ok 1\n");
    (1..=3).for_each(|id| drop(wait("a write", || written(id))));
    let leader = wait("a leader", || {
        let status = ask(base + 101, "?status")?;
        let (_, leader) = status.split_once("leader: ")?;
        leader.split(',').next()?.parse::<u16>().ok().filter(|&leader| leader > 0)
    });
    let lost = leader % 3 + 1;
    nodes[usize::from(lost) - 1] = None;
    std::fs::remove_dir_all(scratch.path().join(lost.to_string())).expect("removed");
    for (verb, why) in [("node", "has no log"), ("new", "The log was lost")] {
        let (status, said) = Running::node(&example, verb, lost, scratch.path(), base).end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(said.contains(&format!("replica {lost}: ")), "{said}");
    }
}

/// Story: after SIGTERM to the parent, the replicas kept running on its ports.
#[test]
fn replicas_end_with_their_parent() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(2));
    let mut started = Running::start(Command::new(example).arg(scratch.path()).arg(base.to_string()));
    let is_there = |id: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, base + 100 + id)).is_ok();
    wait("all three", || (1..=3).all(is_there).then_some(()));
    drop(started.0.kill());
    wait("their end", || (1..=3).all(|id| !is_there(id)).then_some(()));
}

/// Story: the checker looked only at the replica that it was about to kill. Another one that had ended by
/// itself counted as a survivor that lost numbers.
#[test]
fn the_checker_names_an_ended_process() {
    let Some(example) = example() else { return };
    let (scratch, base) = (tempfile::tempdir().expect("a directory"), free_ports(1));
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 2)).expect("was free");
    let mut checker = Command::new(example);
    checker.arg("kill").arg(scratch.path()).args(["--rounds", "1", "--seed", "1", "--port"]);
    let (status, said) = Running::start(checker.arg(base.to_string())).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("replica 2 ended by itself: exit status: 1"), "{said}");
}
