//! Three replicas on 127.0.0.1, each a process with its own directory.
//!
//! ```sh
//! cargo run --release -p tsmith-engine --features raft --example replicated -- DIR [PORT]          # starts all three
//! printf 'cpu,host=a usage=0.5\n' | nc -q1 127.0.0.1 7101      # lines to any of 7101, 7102, 7103; answers `ok 1`
//! cargo run ... --example replicated -- kill DIR --rounds 100 [--seed S]   # kill -9 at random under load, and check
//! ```
//!
//! Replica N talks to the others on PORT+N and takes line protocol on PORT+100+N. A line is answered with `ok POINTS` when
//! it is on a majority of disks and written here, else with `error ...`; the lines that arrive together share a proposal.
//! `?status` and `?export` answer what they say.

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tsmith_engine::replica::transport::Tcp;
use tsmith_engine::replica::{Node, Replica, Settings};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::fs::OsFs;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const IDS: [u64; 3] = [1, 2, 3];
const PORT: u16 = 7000;
const TICK: Duration = Duration::from_millis(30);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match texts[..] {
        ["node", id, dir, port] => node(id.parse()?, Path::new(dir), port.parse()?),
        ["kill", dir, "--rounds", rounds] => kill(Path::new(dir), rounds.parse()?, 1),
        ["kill", dir, "--rounds", rounds, "--seed", seed] => {
            kill(Path::new(dir), rounds.parse()?, seed.parse()?)
        }
        [dir] => all(Path::new(dir), PORT),
        [dir, port] => all(Path::new(dir), port.parse()?),
        _ => Err("usage: replicated DIR [PORT] | replicated kill DIR --rounds N [--seed S]".into()),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One replica, for as long as the process lives.
fn node(id: u64, dir: &Path, port: u16) -> Result<()> {
    let mut settings = Settings::new(id, &IDS);
    settings.snapshot_entries = 2000;
    settings.catch_up_entries = 200;
    settings.wal = WalOptions::default().segment_bytes(8_000_000);
    let replica = Replica::open(OsFs, dir, settings)?;
    let peers = IDS.into_iter().filter(|&peer| peer != id).map(|peer| (peer, local(port + peer as u16)));
    let listener = TcpListener::bind(local(port + id as u16))?;
    let node = Arc::new(Node::start(replica, Tcp::new(peers)?, TICK)?);
    let delivering = Arc::clone(&node);
    Tcp::listen(listener, move |message| delivering.deliver(message))?;
    let lines = TcpListener::bind(local(port + 100 + id as u16))?;
    for stream in lines.incoming() {
        let (stream, node) = (stream?, Arc::clone(&node));
        std::thread::spawn(move || drop(serve(&stream, &node)));
    }
    Ok(())
}

/// Takes lines from one connection until it ends.
fn serve(stream: &TcpStream, node: &Node) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let answer = match line.trim_ascii() {
            b"?status" => format!("{:?}", node.status()?),
            b"?export" => node.export()?.replace('\n', "\u{1}"),
            _ => {
                // Whatever has arrived with it goes into the same proposal, whole lines only.
                while reader.buffer().contains(&b'\n') && line.len() < 1 << 20 {
                    reader.read_until(b'\n', &mut line)?;
                }
                match node.write(&line, 0) {
                    Ok(applied) if applied.rejected == 0 => format!("ok {}", applied.points),
                    Ok(applied) => format!("ok {}, {} rejected", applied.points, applied.rejected),
                    Err(error) => format!("error {error}"),
                }
            }
        };
        writer.write_all(format!("{answer}\n").as_bytes())?;
    }
}

/// Child processes, killed with this one.
struct Processes {
    dir: PathBuf,
    port: u16,
    children: Vec<Option<Child>>,
}

impl Processes {
    fn start(&mut self, at: usize) -> Result<()> {
        let id = IDS[at].to_string();
        let dir = self.dir.join(&id);
        let child = Command::new(std::env::current_exe()?)
            .arg("node")
            .args([&id, dir.to_str().ok_or("a directory in UTF-8")?, &self.port.to_string()])
            .stdout(Stdio::null())
            .spawn()?;
        self.children[at] = Some(child);
        Ok(())
    }

    fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.children[at].take() {
            // SIGKILL.
            drop(child.kill());
            drop(child.wait());
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
        (0..self.children.len()).for_each(|at| self.kill(at));
    }
}

fn processes(dir: &Path, port: u16) -> Result<Processes> {
    let mut processes = Processes { dir: dir.to_path_buf(), port, children: vec![None, None, None] };
    (0..3).try_for_each(|at| processes.start(at))?;
    Ok(processes)
}

fn all(dir: &Path, port: u16) -> Result<()> {
    let mut processes = processes(dir, port)?;
    for id in IDS {
        println!("replica {id}: lines on {}", local(port + 100 + id as u16));
    }
    loop {
        std::thread::sleep(Duration::from_millis(500));
        for (at, id) in IDS.into_iter().enumerate() {
            let ended =
                processes.children[at].as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                println!("replica {id} is gone, and started again");
                processes.kill(at);
                processes.start(at)?;
            }
        }
    }
}

/// Writers on every replica, a replica killed at random in every round; at the end everything that was acknowledged must
/// be on each, and all the same.
fn kill(dir: &Path, rounds: u64, seed: u64) -> Result<()> {
    let port = PORT + 20;
    let mut processes = processes(dir, port)?;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..3u64)
        .map(|writer| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || write_numbers(writer, port, &stop))
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
        processes.kill(at);
        std::thread::sleep(Duration::from_millis(below(600)));
        processes.start(at)?;
        if round % 10 == 0 {
            println!("round {round}");
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let acknowledged: Vec<u64> =
        writers.into_iter().flat_map(|writer| writer.join().unwrap_or_default()).collect();
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let exports: Vec<_> = (0..3).map(|at| processes.ask(at, "?export").unwrap_or_default()).collect();
        let same = !exports[0].is_empty() && exports.windows(2).all(|pair| pair[0] == pair[1]);
        if same {
            let written = numbers(&exports[0]);
            let lost: Vec<_> =
                acknowledged.iter().filter(|number| !written.contains(number)).take(10).collect();
            println!("{rounds} rounds, {} acknowledged, lost: {lost:?}", acknowledged.len());
            return if lost.is_empty() { Ok(()) } else { Err("acknowledged writes are lost".into()) };
        }
        if Instant::now() > deadline {
            return Err("the replicas do not agree".into());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Writes numbers through one replica after the other; gives those that were acknowledged.
fn write_numbers(writer: u64, port: u16, stop: &std::sync::atomic::AtomicBool) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut number = writer;
    let mut at = writer;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let stream = TcpStream::connect_timeout(&local(port + 101 + at as u16), Duration::from_millis(300));
        at = (at + 1) % 3;
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        drop(stream.set_read_timeout(Some(Duration::from_secs(12))));
        let mut answers = BufReader::new(&stream);
        for _ in 0..200 {
            number += 3;
            // The number is time and value; one series a writer.
            let line = format!("n,w={writer} v={number}i {number}\n");
            let mut answer = String::new();
            let sent = (&stream).write_all(line.as_bytes()).and_then(|()| answers.read_line(&mut answer));
            if sent.is_ok() && answer.starts_with("ok 1") {
                acknowledged.push(number);
            } else {
                break;
            }
        }
    }
    acknowledged
}

/// The numbers in an export.
fn numbers(export: &str) -> HashSet<u64> {
    let rows = export.split('\u{1}').filter(|row| row.starts_with("n,w="));
    let times = rows.filter_map(|row| Some(row.split_once('[')?.1.split_once(']')?.0));
    times.flat_map(|times| times.split(", ")).filter_map(|time| time.parse().ok()).collect()
}
