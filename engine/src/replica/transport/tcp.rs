//! Messages over TCP, with one connection per direction.
//!
//! ```text
//! ┌──────────────┬──────────────────┬──────────────────┬─────────┐
//! │ "TSR2" <4B>  │ length <4B, LE>  │ CRC-32 <4B, LE>  │ message │ ... next
//! └──────────────┴──────────────────┴──────────────────┴─────────┘
//! ```
//!
//! A connection that sends anything else is closed, and lost messages are sent again. There is no
//! authentication: anyone who can reach the port can act as a member of the group.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::Transport;
use crate::replica::warn_limit::WarnLimit;

/// Suggested maximum length of a frame: one log entry, or one chunk of a file, with raft's overhead.
pub const FRAME_BYTES_MAX: u32 = 64 << 20;

const MAGIC: [u8; 4] = *b"TSR2";
/// Maximum number of messages waiting for one peer. Further ones are dropped.
const WAITING_MAX: usize = 1024;
/// No more messages are accepted while this many bytes wait.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Pause after an error in `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a message of at most `limit` bytes as a frame.
fn write_frame(out: &mut impl Write, message: &[u8], limit: u32) -> io::Result<()> {
    let len = u32::try_from(message.len()).ok().filter(|&len| len <= limit);
    let len = len.ok_or_else(|| too_large(io::ErrorKind::InvalidInput, message.len(), limit))?;
    out.write_all(&MAGIC)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&crc32fast::hash(message).to_le_bytes())?;
    out.write_all(message)
}

fn too_large(kind: io::ErrorKind, len: usize, limit: u32) -> io::Error {
    io::Error::new(kind, format!("a message of {len} bytes is above the limit of {limit}"))
}

/// Reads the next frame, of at most `limit` bytes. Returns `None` if the stream ends before it.
fn read_frame(stream: &mut impl Read, limit: u32) -> io::Result<Option<Vec<u8>>> {
    let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut head = [0; 12];
    let mut have = 0;
    while have < head.len() {
        match stream.read(&mut head[have..])? {
            0 if have == 0 => return Ok(None),
            0 => return Err(bad("the connection ended inside the header of a frame")),
            len => have += len,
        }
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != MAGIC {
        return Err(bad("expected a frame of a replica: another program connects to this port"));
    }
    let len = word(4);
    if len > limit {
        return Err(too_large(io::ErrorKind::InvalidData, len as usize, limit));
    }
    // Allocate only for bytes that arrive, whatever the length says.
    let mut message = Vec::new();
    stream.take(len.into()).read_to_end(&mut message)?;
    if message.len() != len as usize {
        return Err(bad("the connection ended inside a frame"));
    }
    if crc32fast::hash(&message) != word(8) {
        return Err(bad("the checksum of a frame is wrong"));
    }
    Ok(Some(message))
}

/// Sends to peers by address, with one thread and one connection per peer.
#[derive(Debug)]
pub struct Tcp {
    peers: HashMap<u64, Peer>,
    frame_bytes_max: u32,
}

#[derive(Debug)]
struct Peer {
    messages: Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Tcp {
    /// Sends to `peers`, up to `frame_bytes_max` per message. All members of a group use the same limit,
    /// usually [`FRAME_BYTES_MAX`]. It must exceed a log entry and a chunk of a file by 1 MiB.
    pub fn new(peers: impl IntoIterator<Item = (u64, SocketAddr)>, frame_bytes_max: u32) -> io::Result<Self> {
        let mut out = Self { peers: HashMap::new(), frame_bytes_max };
        for (id, address) in peers {
            let (give, messages) = bounded(WAITING_MAX);
            let peer = Peer { messages: give, waiting_bytes: Arc::default() };
            let waiting_bytes = Arc::clone(&peer.waiting_bytes);
            std::thread::Builder::new()
                .name("replica-send".into())
                .spawn(move || carry(address, &messages, &waiting_bytes, frame_bytes_max))?;
            out.peers.insert(id, peer);
        }
        Ok(out)
    }

    /// Passes every message that arrives at `listener` to `deliver`. Its threads end with the process.
    pub fn listen(
        listener: TcpListener,
        frame_bytes_max: u32,
        deliver: impl Fn(Vec<u8>) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let (deliver, closed) = (Arc::new(deliver), Arc::new(Mutex::new(WarnLimit::default())));
        let accept = move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // For example, no file descriptor is left. Without a pause this loop would use a full
                    // core.
                    std::thread::sleep(ACCEPT_PAUSE);
                    continue;
                };
                let (deliver, closed) = (Arc::clone(&deliver), Arc::clone(&closed));
                let read = move || {
                    let mut stream = io::BufReader::new(stream);
                    loop {
                        match read_frame(&mut stream, frame_bytes_max) {
                            Ok(Some(message)) => deliver(message),
                            Ok(None) => return,
                            Err(error) => {
                                if let Some(suppressed) = closed.lock().allow(Instant::now()) {
                                    tracing::warn!(%error, suppressed, "closed a connection");
                                }
                                return;
                            }
                        }
                    }
                };
                drop(std::thread::Builder::new().name("replica-read".into()).spawn(read));
            }
        };
        std::thread::Builder::new().name("replica-accept".into()).spawn(accept).map(drop)
    }
}

impl Transport for Tcp {
    fn send(&self, to: u64, message: Vec<u8>) {
        let Some(peer) = self.peers.get(&to) else { return };
        let len = message.len();
        if len as u64 > self.frame_bytes_max.into() {
            tracing::error!(
                to,
                len,
                self.frame_bytes_max,
                "dropped a message above the frame limit: raise the limit"
            );
        } else if peer.waiting_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX {
            peer.waiting_bytes.fetch_add(len, Ordering::Relaxed);
            if peer.messages.try_send(message).is_err() {
                peer.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
            }
        }
    }
}

/// Sends waiting messages. After a failure it opens a new connection.
fn carry(address: SocketAddr, messages: &Receiver<Vec<u8>>, waiting_bytes: &AtomicUsize, limit: u32) {
    let mut connection: Option<BufWriter<TcpStream>> = None;
    while let Ok(message) = messages.recv() {
        waiting_bytes.fetch_sub(message.len(), Ordering::Relaxed);
        if connection.is_none() {
            connection = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok().and_then(|stream| {
                stream.set_nodelay(true).ok()?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT)).ok()?;
                Some(BufWriter::new(stream))
            });
        }
        let Some(stream) = &mut connection else { continue };
        let sent = write_frame(stream, &message, limit)
            .and_then(|()| if messages.is_empty() { stream.flush() } else { Ok(()) });
        if sent.is_err() {
            connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// The memory for a peer that reads nothing is bounded.
    #[test]
    fn waiting_messages_are_bounded() {
        let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = deaf.local_addr().expect("an address");
        let tcp = Tcp::new([(2, address)], 1 << 20).expect("a thread");
        for _ in 0..400 {
            tcp.send(2, vec![0; 1 << 20]);
            tcp.send(2, vec![0; (1 << 20) + 1]);
        }
        let waiting = tcp.peers[&2].waiting_bytes.load(Ordering::Relaxed);
        assert!((32 << 20..=WAITING_BYTES_MAX).contains(&waiting), "{waiting} bytes wait");
    }

    #[test]
    fn a_corrupt_frame_is_an_error() {
        let mut stream = Vec::new();
        for message in [&b"one"[..], b"", &[7; 5000]] {
            write_frame(&mut stream, message, FRAME_BYTES_MAX).expect("writes");
        }
        let mut all = Cursor::new(&stream);
        for len in [3, 0, 5000] {
            assert_eq!(
                read_frame(&mut all, FRAME_BYTES_MAX).expect("reads").map(|message| message.len()),
                Some(len)
            );
        }
        assert!(read_frame(&mut all, FRAME_BYTES_MAX).expect("ends").is_none());
        for len in 1..15 {
            assert!(read_frame(&mut Cursor::new(&stream[..len]), FRAME_BYTES_MAX).is_err(), "cut at {len}");
        }
        for at in 0..15 {
            let mut bytes = stream[..15].to_vec();
            bytes[at] ^= 4;
            assert!(read_frame(&mut Cursor::new(&bytes), FRAME_BYTES_MAX).is_err(), "byte {at}");
        }
        // A length above the limit is refused. A claimed length without bytes allocates nothing.
        for claimed in [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, u32::MAX] {
            let bytes = [&b"TSR2"[..], &claimed.to_le_bytes(), &[0; 4], b"short"].concat();
            assert!(read_frame(&mut Cursor::new(&bytes), FRAME_BYTES_MAX).is_err());
        }
        // The limits of reader and writer may differ.
        let error = read_frame(&mut Cursor::new(&stream[12 + 3 + 12..]), 4999).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(write_frame(&mut Vec::new(), &[7; 5000], 4999).is_err());
    }
}
