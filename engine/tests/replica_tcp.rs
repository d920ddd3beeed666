//! Three replicas over TCP on 127.0.0.1: snapshots larger than a frame, and broken connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tsmith_engine::replica::transport::Tcp;
use tsmith_engine::replica::{Node, Replica, Settings, Status};
use tsmith_wal::etcd::WalOptions;
use tsmith_wal::testing::SimFs;

const VOTERS: [u64; 3] = [1, 2, 3];
const DIR: &str = "/r";
const TICK: Duration = Duration::from_millis(10);
const FRAME_BYTES_MAX: u32 = 64 << 10;
const CHUNK_BYTES: u32 = 4 << 10;
/// How long the group may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Digits that compress badly.
fn noise(seed: u64) -> String {
    let steps = std::iter::successors(Some(seed + 1), |number| {
        Some(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    });
    steps.skip(2).take(40).map(|number| format!("{:08x}", number >> 32)).collect()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Nodes, with addresses for those that start later.
struct Group {
    disks: BTreeMap<u64, SimFs>,
    addresses: BTreeMap<u64, SocketAddr>,
    listeners: BTreeMap<u64, TcpListener>,
    running: BTreeMap<u64, Arc<Node>>,
}

impl Group {
    /// Two replicas run. They have written so much that the third needs a snapshot larger than a frame. `way`
    /// may put a proxy in front of the third one's address.
    fn with_one_behind(way: impl FnOnce(SocketAddr) -> SocketAddr) -> Self {
        let ports = VOTERS.map(|id| (id, listener()));
        let mut addresses: BTreeMap<_, _> = ports.iter().map(|(id, (_, address))| (*id, *address)).collect();
        let listeners = ports.map(|(id, (listener, _))| (id, listener)).into();
        let direct = addresses[&3];
        addresses.insert(3, way(direct));
        let disks = VOTERS.map(|id| (id, SimFs::default())).into();
        let mut group = Self { disks, addresses, listeners, running: BTreeMap::new() };
        group.start(1);
        group.start(2);
        for round in 0..400 {
            let line = format!("m,n={} v=\"{}\" {round}", round % 5, noise(round));
            group.wait(|group| group.running[&1].write(line.as_bytes(), 0).is_ok());
        }
        group
    }

    fn start(&mut self, id: u64) {
        let mut settings = Settings::new(id, &VOTERS);
        settings.snapshot_entries = 50;
        settings.catch_up_entries = 10;
        settings.chunk_bytes = CHUNK_BYTES;
        settings.wal = WalOptions { segment_bytes: 64 << 10, ..WalOptions::default() };
        let replica = Replica::create(self.disks[&id].clone(), Path::new(DIR), settings).expect("is made");
        let peers = self.addresses.clone().into_iter().filter(|(peer, _)| *peer != id);
        let tcp = Tcp::new(peers, FRAME_BYTES_MAX).expect("threads");
        let node = Arc::new(Node::start(replica, tcp, TICK).expect("a thread"));
        let delivering = Arc::clone(&node);
        let listener = self.listeners.remove(&id).expect("not started before");
        Tcp::listen(listener, FRAME_BYTES_MAX, move |message| delivering.deliver(message)).expect("a thread");
        self.running.insert(id, node);
    }

    fn wait(&self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "timed out: {:?}", self.statuses());
            std::thread::sleep(TICK);
        }
    }

    fn statuses(&self) -> Vec<Status> {
        self.running.values().map(|node| node.status().expect("runs")).collect()
    }

    /// All have applied the same, and the third got a snapshot larger than a frame.
    fn check(&self) {
        self.wait(|group| {
            let statuses = group.statuses();
            statuses.iter().all(|status| status.applied == statuses[0].applied && status.applied > 400)
        });
        let exports: Vec<String> =
            self.running.values().map(|node| node.export().expect("exports")).collect();
        assert!(exports.windows(2).all(|pair| pair[0] == pair[1]));
        let snapshot = self.running[&3].status().expect("runs").snapshot;
        let below = format!("{DIR}/files-{snapshot:016x}/");
        let files = self.disks[&3].snapshot().into_iter();
        let files = files.filter(|(path, _)| path.to_str().is_some_and(|path| path.starts_with(&below)));
        let bytes = files.map(|(_, bytes)| bytes.len()).sum::<usize>();
        assert!(bytes > FRAME_BYTES_MAX as usize, "{bytes} bytes of snapshot {snapshot}");
        for node in self.running.values() {
            node.stop().expect("stops");
        }
    }
}

/// Also checks that other programs that connect are disconnected without effect.
#[test]
fn a_large_snapshot_is_sent_in_chunks() {
    let mut group = Group::with_one_behind(|direct| direct);
    let direct = group.addresses[&3];
    group.start(3);
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"TSR2\xff\xff\xff\xff\0\0\0\0", noise(1).as_bytes()] {
        let mut stream = TcpStream::connect(direct).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // The connection may be closed before everything is sent.
        drop(stream.write_all(junk));
        assert!(!matches!(stream.read(&mut [0]), Ok(1)), "was answered");
    }
    group.check();
}

/// Story: every connection to the follower broke after 20 KiB. Only a follower that keeps received chunks
/// gets a larger snapshot.
#[test]
fn a_snapshot_survives_broken_connections() {
    let cuts = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&cuts);
    let mut group = Group::with_one_behind(|direct| {
        let (listener, address) = listener();
        std::thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let counting = Arc::clone(&counting);
                std::thread::spawn(move || {
                    let Ok(mut to) = TcpStream::connect(direct) else { return };
                    let mut left = Read::take(&from, 20 << 10);
                    drop(std::io::copy(&mut left, &mut to));
                    counting.fetch_add(u64::from(left.limit() == 0), Ordering::Relaxed);
                    drop(from.shutdown(Shutdown::Both));
                });
            }
        });
        address
    });
    let before = cuts.load(Ordering::Relaxed);
    group.start(3);
    group.check();
    let cuts = cuts.load(Ordering::Relaxed) - before;
    assert!(cuts >= 3, "{cuts} connections died");
}
