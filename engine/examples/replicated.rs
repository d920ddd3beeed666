//! Three replicas on 127.0.0.1, each a process with its own directory.
//!
//! ```sh
//! # Start all three:
//! cargo run --release -p tsmith-engine --features raft --example replicated -- DIR [PORT]
//! # Send lines to any of 7101, 7102 and 7103; the answer is `ok 1`:
//! printf 'cpu,host=a usage=0.5\n' | nc -q1 127.0.0.1 7101
//! # Kill replicas at random under load, and check them:
//! cargo run ... --example replicated -- kill DIR --rounds 100 [--seed S [--port PORT]]
//! ```
//!
//! Replica N listens for the other replicas on PORT+N and for line protocol on PORT+100+N. When a line is on
//! a majority of disks and applied here, the answer is `ok POINTS`; otherwise it is `error ...`. Lines that
//! arrive together share a proposal. A line without a time gets its time of arrival. A line without a line
//! end is not written. A line end inside a string or after a backslash does not end the line. `?status` and
//! `?export` answer with their content or `error ...`. Warnings go to stderr.
//!
//! The command without a verb creates the three replicas in an empty DIR, restarts replicas that were killed,
//! and stops all when it ends. If a replica stops by itself, it prints the reason and exits with code 1, and
//! it is not restarted. A replica whose directory is gone is not restarted either. `replicated node ID DIR/ID
//! PORT` opens such a replica. `replicated new ID DIR/ID PORT` recreates it, if its error says that this is
//! safe. `DIR/group` holds the number of the group.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tsmith_engine::line;
use tsmith_engine::replica::transport::{FRAME_BYTES_MAX, Tcp};
use tsmith_engine::replica::{Node, Replica, Settings};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::fs::{OsFs, publish_new};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const IDS: [u64; 3] = [1, 2, 3];
/// Follows the group's number until all three replicas have been created.
const UNFINISHED: &str = " unfinished";
/// The last argument of a child process. It ends when its parent ends.
const ATTENDED: &str = "attended";
const PORT: u16 = 7000;
/// Killed replicas use other ports than running ones.
const KILL_PORT: u16 = PORT + 20;
const TICK: Duration = Duration::from_millis(30);
/// Maximum length of a line, and of the bytes buffered for one.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How long replicas may take to catch up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval for checking whether the replica still runs, and the time for clients to receive the last error.
const WATCH: Duration = Duration::from_millis(200);

const USAGE: &str = "\
usage: replicated DIR [PORT]                                      start replicas 1, 2 and 3; create them in an empty DIR
       replicated node ID DIR/ID PORT                             open one replica
       replicated new ID DIR/ID PORT                              recreate one, if its error says that this is safe
       replicated kill DIR --rounds N [--seed S [--port PORT]]    kill replicas at random under load, and check them

PORT defaults to 7000, and to 7020 for `kill`. Replica N listens for the others on PORT+N, and for line protocol on PORT+100+N
of 127.0.0.1. It answers `ok POINTS` or `error ...`. `?status` shows the leader and the applied index, `?export` all points.
DIR/group holds the number of the group.";

fn main() -> ExitCode {
    run().map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run() -> Result<()> {
    let arguments = std::env::args_os().skip(1).map(std::ffi::OsString::into_string);
    let arguments = arguments.collect::<Result<Vec<_>, _>>();
    let arguments = arguments.map_err(|name| format!("{}: expected a name in UTF-8", name.display()))?;
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let port = |text: &str| number::<u16>("port", text);
    match texts[..] {
        ["-h" | "--help" | "help", ..] => {
            println!("{USAGE}");
            Ok(())
        }
        [verb @ ("new" | "node"), id, dir, base, ref rest @ ..] if matches!(rest, [] | [ATTENDED]) => {
            let begin = if verb == "new" { Replica::create } else { Replica::open };
            if !rest.is_empty() {
                end_with_stdin()?;
            }
            let known = id.parse().ok().filter(|id| IDS.contains(id));
            let id = known.ok_or_else(|| format!("replica {id}: expected 1, 2 or 3"))?;
            let ended = node(id, begin, Path::new(dir), port(base)?);
            ended.map_err(|error| format!("replica {id}: {error}").into())
        }
        ["kill", dir, "--rounds", rounds, ref rest @ ..] => {
            let (seed, base) = match *rest {
                [] => (1, KILL_PORT),
                ["--seed", seed] => (number("seed", seed)?, KILL_PORT),
                ["--seed", seed, "--port", base] => (number("seed", seed)?, port(base)?),
                _ => return Err(USAGE.into()),
            };
            kill(Path::new(dir), number("rounds", rounds)?, seed, base)
        }
        [dir] if is_dir(dir) => all(Path::new(dir), PORT),
        [dir, base] if is_dir(dir) => all(Path::new(dir), port(base)?),
        _ => Err(USAGE.into()),
    }
}

/// Whether an argument is a directory. Use `./kill` for a directory of that name.
fn is_dir(text: &str) -> bool {
    !text.starts_with('-') && !["new", "node", "kill", "help"].contains(&text)
}

/// Parses a number argument.
fn number<T: FromStr<Err: fmt::Display>>(what: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error| format!("{what} {text}: {error}").into())
}

fn listen(port: u16) -> Result<TcpListener> {
    let address = local(port);
    TcpListener::bind(address).map_err(|error| format!("{address}: {error}").into())
}

/// The last port of a group that begins at this port.
fn last_port(port: u16) -> Result<u16> {
    port.checked_add(103)
        .ok_or_else(|| format!("port {port}: a group also uses the 103 ports above it, up to 65535").into())
}

/// The number of the group, from the file next to the replica's directory.
fn group_of(dir: &Path) -> Result<u64> {
    // `.` and `..` have no parent in their names.
    let dir = if dir.file_name().is_some() { dir.to_path_buf() } else { on(dir, dir.canonicalize())? };
    let path = dir.parent().unwrap_or(Path::new("")).join("group");
    let text = on(&path, std::fs::read_to_string(&path))?;
    let number = text.trim().trim_end_matches(UNFINISHED).parse();
    Ok(number.map_err(|error| format!("{}: expected the number of a group: {error}", path.display()))?)
}

/// Adds the path to an error.
fn on<T>(path: &Path, done: io::Result<T>) -> Result<T> {
    done.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

type Begin = fn(OsFs, &Path, Settings) -> tsmith_engine::replica::Result<Replica>;

/// Ends the process when its standard input ends, which means that the parent has ended.
fn end_with_stdin() -> Result<()> {
    let wait = || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        std::process::exit(0);
    };
    std::thread::Builder::new().spawn(wait)?;
    Ok(())
}

/// Runs one replica until it stops. Then the process ends, too, because it would otherwise look alive.
fn node(id: u64, begin: Begin, dir: &Path, port: u16) -> Result<()> {
    tracing::subscriber::set_global_default(Warnings { id })?;
    last_port(port)?;
    // Listen first, so that a port in use leaves no directory behind.
    let listener = listen(port + id as u16)?;
    let lines = listen(port + 100 + id as u16)?;
    let address = lines.local_addr()?;
    let mut settings = Settings::new(id, &IDS);
    settings.group = group_of(dir)?;
    settings.snapshot_entries = 2000;
    settings.catch_up_entries = 200;
    settings.wal = WalOptions { segment_bytes: 8_000_000, ..WalOptions::default() };
    let replica = begin(OsFs, dir, settings)?;
    let peers = IDS.into_iter().filter(|&peer| peer != id).map(|peer| (peer, local(port + peer as u16)));
    let node = Arc::new(Node::start(replica, Tcp::new(peers, FRAME_BYTES_MAX)?, TICK)?);
    let delivering = Arc::clone(&node);
    Tcp::listen(listener, FRAME_BYTES_MAX, move |message| delivering.deliver(message))?;
    let serving = Arc::clone(&node);
    std::thread::spawn(move || {
        for stream in lines.incoming() {
            let Ok(stream) = stream else {
                std::thread::sleep(WATCH);
                continue;
            };
            let node = Arc::clone(&serving);
            std::thread::spawn(move || drop(serve(&stream, &node)));
        }
    });
    // A closed stdout does not stop the replica.
    drop(writeln!(io::stdout(), "replica {id}: lines on {address}"));
    while node.is_running() {
        std::thread::sleep(WATCH);
    }
    // Clients that wait now receive the error.
    std::thread::sleep(WATCH);
    node.stop()?;
    Err("the replica stopped by itself".into())
}

/// Prints log events of level WARN and above.
struct Warnings {
    id: u64,
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("replica {}: {}:", self.id, event.metadata().level()));
        event.record(&mut line);
        eprintln!("{}", line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message and the fields of an event.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}: {value:?}"),
        };
    }
}

/// Reads lines from one connection until it ends.
#[expect(clippy::disallowed_methods, reason = "lines without a time get the current time")]
fn serve(stream: &TcpStream, node: &Node) -> Result<()> {
    let (mut reader, mut writer) = (stream, stream);
    let (mut text, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let Some(mut end) = line_end(&mut text, 0) else {
            let why: &[u8] = match reader.read(&mut part)? {
                _ if text.len() >= LINE_BYTES_MAX => b"error the line is longer than 1 MiB\n",
                0 if text.is_empty() => return Ok(()),
                // The line may be incomplete: half a number is another number.
                0 => b"error the last line has no line end\n",
                read => {
                    text.extend_from_slice(&part[..read]);
                    continue;
                }
            };
            writer.write_all(why)?;
            return Ok(());
        };
        let answer = match text[..end].trim_ascii() {
            b"?status" => {
                node.status().map_or_else(|error| format!("error {error}"), |status| format!("{status:?}"))
            }
            b"?export" => node
                .export()
                .map_or_else(|error| format!("error {error}"), |text| text.replace('\n', "\u{1}")),
            _ => {
                // Other complete lines that have arrived go into the same proposal.
                while end < LINE_BYTES_MAX
                    && text.get(end) != Some(&b'?')
                    && let Some(next) = line_end(&mut text, end)
                {
                    end = next;
                }
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
                match node.write(&text[..end], i64::try_from(now)?) {
                    Ok(applied) if applied.rejected == 0 => format!("ok {}", applied.points),
                    Ok(applied) => format!("ok {}, {} rejected", applied.points, applied.rejected),
                    Err(error) => format!("error {error}"),
                }
            }
        };
        text.drain(..end);
        writer.write_all(format!("{answer}\n").as_bytes())?;
    }
}

/// The end of the line at `at` as the parser will see it, whatever follows. `None` if it is not known yet.
fn line_end(text: &mut Vec<u8>, at: usize) -> Option<usize> {
    // Append a byte: a backslash escapes a line end only if something follows, so this shows whether the line
    // is complete.
    let probe = text.ends_with(b"\n");
    if probe {
        text.push(b'#');
    }
    let first = line::first_line(&text[at..], false, line::STRING_LINE_BYTES_MAX);
    if probe {
        text.pop();
    }
    Some(at + first?.len)
}

/// Child processes. They end with this one.
struct Processes {
    dir: PathBuf,
    port: u16,
    children: Vec<Option<Child>>,
    /// Where the children print their addresses.
    stdout: fn() -> Stdio,
}

impl Processes {
    fn start(&mut self, at: usize) -> Result<()> {
        self.run("node", at)
    }

    fn run(&mut self, verb: &str, at: usize) -> Result<()> {
        let id = IDS[at].to_string();
        let child = Command::new(std::env::current_exe()?)
            .args([verb, &id])
            .arg(self.dir.join(&id))
            .args([&self.port.to_string(), ATTENDED])
            .stdin(Stdio::piped())
            .stdout((self.stdout)())
            .spawn()?;
        self.children[at] = Some(child);
        Ok(())
    }

    /// SIGKILL. It is an error if the replica had already ended.
    fn kill(&mut self, at: usize) -> Result<()> {
        let ended = self.check(at);
        if let Some(mut child) = self.children[at].take() {
            drop(child.kill());
            drop(child.wait());
        }
        ended
    }

    /// Returns an error if replica number `at` was started and has ended by itself.
    fn check(&mut self, at: usize) -> Result<()> {
        let Some(child) = &mut self.children[at] else { return Ok(()) };
        let ended = child.try_wait()?;
        ended.map_or(Ok(()), |status| Err(format!("replica {} ended by itself: {status}", IDS[at]).into()))
    }

    /// Checks all replicas.
    fn check_all(&mut self) -> Result<()> {
        (0..IDS.len()).try_for_each(|at| self.check(at))
    }

    /// Waits until replica number `at` has these numbers.
    fn have(&mut self, at: usize, known: &[u64]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check_all()?;
            let written = numbers(&self.ask(at, "?export").unwrap_or_default());
            let lost: Vec<_> = known.iter().filter(|number| !written.contains(number)).take(10).collect();
            if lost.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let id = IDS[at];
                return Err(format!("replica {id} lost acknowledged numbers, for example {lost:?}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ask(&self, at: usize, text: &str) -> Result<String> {
        let stream = TcpStream::connect_timeout(&local(self.port + 101 + at as u16), Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(15)))?;
        (&stream).write_all(format!("{text}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        (0..self.children.len()).for_each(|at| drop(self.kill(at)));
    }
}

/// An entry of a replica's directory, if there is one.
fn found_in(dir: &Path) -> Result<Option<PathBuf>> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        names => {
            // The root of a file system contains this from the start.
            let found = |entry: &io::Result<std::fs::DirEntry>| {
                entry.as_ref().map_or(true, |entry| entry.file_name() != "lost+found")
            };
            on(dir, names.and_then(|mut names| names.find(found).transpose()))
                .map(|entry| Some(entry?.path()))
        }
    }
}

/// Starts all three. Creates them unless all of them existed once; after that, a missing one counts as lost.
fn processes(dir: &Path, port: u16, stdout: fn() -> Stdio) -> Result<Processes> {
    last_port(port)?;
    let mut processes = Processes { dir: dir.to_path_buf(), port, children: vec![None, None, None], stdout };
    let log = |id: u64| dir.join(id.to_string()).join("wal");
    let group = dir.join("group");
    if !group.exists() {
        for id in IDS {
            if let Some(found) = found_in(&dir.join(id.to_string()))? {
                let (group, found) = (group.display(), found.display());
                let why = format!(
                    "{group} is missing, but {found} exists: restore the file, which holds the number of the group. For a new \
                     group, choose a DIR in which 1, 2 and 3 are empty or missing"
                );
                return Err(why.into());
            }
        }
        on(dir, std::fs::create_dir_all(dir))?;
        // A random number, from the seed of hash maps.
        let number = RandomState::new().hash_one(dir);
        on(&group, publish_new(&OsFs, &group, format!("{number}{UNFINISHED}\n").as_bytes()))?;
    } else if !on(&group, std::fs::read_to_string(&group))?.trim().ends_with(UNFINISHED) {
        (0..3).try_for_each(|at| processes.start(at))?;
        return Ok(processes);
    }
    for (at, id) in IDS.into_iter().enumerate() {
        processes.run(if log(id).exists() { "node" } else { "new" }, at)?;
    }
    let deadline = Instant::now() + PATIENCE;
    while !IDS.into_iter().all(|id| log(id).exists()) {
        processes.check_all()?;
        if Instant::now() > deadline {
            return Err("the replicas did not create their logs in time".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Replace the file atomically, because no replica starts without it.
    let finished = format!("{}\n", group_of(&dir.join("1"))?);
    on(&group, publish_new(&OsFs, &group, finished.as_bytes()))?;
    Ok(processes)
}

fn all(dir: &Path, port: u16) -> Result<()> {
    let mut processes = processes(dir, port, Stdio::inherit)?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        for (at, id) in IDS.into_iter().enumerate() {
            let Some(child) = processes.children[at].as_mut() else { continue };
            let Some(status) = child.try_wait()? else { continue };
            processes.children[at] = None;
            // A killed process has no exit code. A replica that lost its directory is started and ends by
            // itself.
            if status.code().is_some() {
                println!("replica {id} ended ({status}) and is not restarted: see above");
            } else {
                println!("replica {id} was killed and is restarted");
                processes.start(at)?;
            }
        }
        if processes.children.iter().all(Option::is_none) {
            return Err("no replica is left".into());
        }
    }
}

/// Numbers whose writes were acknowledged.
type Acknowledged = Arc<Mutex<Vec<u64>>>;

/// Writes through every replica and kills a random replica in every round. In every tenth round the two
/// survivors must have all acknowledged numbers; at the end all three must, with equal exports.
fn kill(dir: &Path, rounds: u64, seed: u64, port: u16) -> Result<()> {
    let mut processes = processes(dir, port, Stdio::null)?;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Acknowledged::default();
    let writers: Vec<_> = (0..3u64)
        .map(|writer| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            std::thread::spawn(move || write_numbers(writer, port, &stop, &acknowledged))
        })
        .collect();
    let mut dice = seed;
    let mut below = |limit: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % limit
    };
    for round in 1..=rounds {
        std::thread::sleep(Duration::from_millis(200 + below(500)));
        let at = below(3) as usize;
        processes.check_all()?;
        processes.kill(at)?;
        if round % 10 == 0 {
            let known = acknowledged.lock().clone();
            for survivor in (0..3).filter(|&survivor| survivor != at) {
                processes.have(survivor, &known)?;
            }
            println!("round {round}: both survivors have {}", known.len());
        }
        std::thread::sleep(Duration::from_millis(below(600)));
        processes.start(at)?;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")?;
    }
    let known = acknowledged.lock().clone();
    (0..3).try_for_each(|at| processes.have(at, &known))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        processes.check_all()?;
        let exports: Vec<_> = (0..3).map(|at| processes.ask(at, "?export").unwrap_or_default()).collect();
        if !exports[0].is_empty() && exports.windows(2).all(|pair| pair[0] == pair[1]) {
            println!("{rounds} rounds, {} acknowledged, none lost, all replicas equal", known.len());
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the replicas differ".into());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Writes numbers in small groups through one replica after the other.
fn write_numbers(writer: u64, port: u16, stop: &AtomicBool, acknowledged: &Acknowledged) {
    let mut number = writer;
    let mut at = writer;
    while !stop.load(Ordering::Relaxed) {
        let stream = TcpStream::connect_timeout(&local(port + 101 + at as u16), Duration::from_millis(300));
        at = (at + 1) % 3;
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        drop(stream.set_read_timeout(Some(Duration::from_secs(12))));
        let mut answers = BufReader::new(&stream);
        for round in 0..200 {
            // The number is time and value; each writer has its own series.
            let batch: Vec<u64> = (0..=round % 7).map(|more| number + 3 * (more + 1)).collect();
            number += 3 * batch.len() as u64;
            let lines: String =
                batch.iter().map(|number| format!("n,w={writer} v={number}i {number}\n")).collect();
            if (&stream).write_all(lines.as_bytes()).is_err() || !are_written(&mut answers, batch.len()) {
                break;
            }
            acknowledged.lock().extend(batch);
        }
    }
}

/// Whether the next answers acknowledge `count` lines.
fn are_written(answers: &mut impl BufRead, count: usize) -> bool {
    let mut written = 0;
    while written < count {
        let mut answer = String::new();
        let read = answers.read_line(&mut answer);
        match answer.trim_end().strip_prefix("ok ").and_then(|points| points.parse::<usize>().ok()) {
            Some(points) if read.is_ok() => written += points,
            _ => return false,
        }
    }
    written == count
}

/// The numbers in an export whose value equals their time.
fn numbers(export: &str) -> HashSet<u64> {
    let list = |text: &str| -> Option<Vec<u64>> {
        let inside = text.split_once('[')?.1.split_once(']')?.0;
        inside.split(", ").map(|number| number.parse().ok()).collect()
    };
    let mut found = HashSet::new();
    for row in export.split('\u{1}').filter(|row| row.starts_with("n,w=")) {
        let Some((times, values)) = row.split_once("] ") else { continue };
        let (times, values) = (list(&format!("{times}]")), list(values));
        let pairs = times.into_iter().flatten().zip(values.into_iter().flatten());
        found.extend(pairs.filter(|(time, value)| time == value).map(|(time, _)| time));
    }
    found
}
