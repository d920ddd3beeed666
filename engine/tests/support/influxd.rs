//! A real influxd 1.6.7, if installed (Debian: `apt-get install influxdb`), on 127.0.0.1 only.
#![allow(dead_code, reason = "each test uses some of these")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tsmith_engine::Dirs;

pub(crate) const DATABASE: &str = "walk";
/// How many pairs of ports are tried.
const PORTS_TRIED: usize = 5;

/// A running influxd. It is killed on drop.
pub(crate) struct Influxd {
    child: Child,
    address: String,
}

impl Influxd {
    /// Starts influxd. `None` if it is not installed.
    pub(crate) fn start(root: &Path) -> Option<Self> {
        Self::start_with(root, "inmem")
    }

    /// Starts it with this kind of series index, `inmem` or `tsi1`.
    pub(crate) fn start_with(root: &Path, index: &str) -> Option<Self> {
        Command::new("influxd").arg("version").stdout(Stdio::null()).status().ok()?;
        let server = (0..PORTS_TRIED).find_map(|_| Self::listening(root, index));
        Some(
            server.unwrap_or_else(|| {
                panic!("influxd ends at once; see {}", root.join("influxd.log").display())
            }),
        )
    }

    /// Starts a server. `None` if it ended, for example because another process took its port.
    fn listening(root: &Path, index: &str) -> Option<Self> {
        let (http, rpc) = (free_port(), free_port());
        let address = format!("127.0.0.1:{http}");
        let log = std::fs::File::create(root.join("influxd.log")).expect("a log file");
        let child = Command::new("influxd")
            .args(["run", "-config", "/dev/null"])
            .env("HOME", root)
            .env("INFLUXDB_META_DIR", root.join("meta"))
            .env("INFLUXDB_DATA_DIR", root.join("data"))
            .env("INFLUXDB_DATA_WAL_DIR", root.join("wal"))
            .env("INFLUXDB_DATA_INDEX_VERSION", index)
            .env("INFLUXDB_HTTP_BIND_ADDRESS", &address)
            .env("INFLUXDB_BIND_ADDRESS", format!("127.0.0.1:{rpc}"))
            .env("INFLUXDB_REPORTING_DISABLED", "true")
            .env("INFLUXDB_MONITOR_STORE_ENABLED", "false")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts");
        let mut server = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(2 * 60);
        while !server.answers_ping() {
            if server.child.try_wait().expect("is a child").is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "influxd does not listen; see {}", root.display());
            sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// Whether influxd answers, and not another process on the same port.
    fn answers_ping(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return false };
        let mut answer = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains("X-Influxdb-Version")
    }

    pub(crate) fn request(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("listens");
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.0\r\nHost: influxd\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        (status, body)
    }

    pub(crate) fn query(&self, text: &str) -> Json {
        let mut encoded = String::new();
        for byte in text.bytes() {
            write!(encoded, "%{byte:02X}").expect("into a string");
        }
        let (status, body) = self.request("POST", &format!("/query?db={DATABASE}&epoch=ns&q={encoded}"), "");
        assert_eq!(status, 200, "{text}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub(crate) fn write(&self, lines: &str) {
        let (status, body) = self.request("POST", &format!("/write?db={DATABASE}"), lines);
        assert_eq!(status, 204, "{body}");
    }

    /// Ends it with this signal.
    pub(crate) fn end(mut self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        self.child.wait().expect("ended");
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts influxd with one shard for all times. Prints a note if it is not installed.
pub(crate) fn start_with_database(root: &Path) -> Option<Influxd> {
    let Some(server) = Influxd::start(root) else {
        eprintln!("skipped: influxd is not installed");
        return None;
    };
    server.query(&format!(
        "CREATE DATABASE {DATABASE} WITH DURATION INF REPLICATION 1 SHARD DURATION 1000w NAME \"long\""
    ));
    Some(server)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub(crate) fn shard_dirs(root: &Path) -> Dirs {
    let shard: PathBuf = [DATABASE, "long", "1"].iter().collect();
    Dirs { data: root.join("data").join(&shard), wal: root.join("wal").join(&shard) }
}
