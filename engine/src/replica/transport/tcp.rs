//! Messages over TCP, one connection for each direction.
//!
//! ```text
//! ┌──────────────┬──────────────────┬──────────────────┬─────────┐
//! │ "TSR2" <4B>  │ length <4B, LE>  │ CRC-32 <4B, LE>  │ message │ ... next
//! └──────────────┴──────────────────┴──────────────────┴─────────┘
//! ```
//!
//! A connection that brings anything else is closed; what was lost with it is asked for again. There is no secret: whoever
//! reaches the port belongs to the group.

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

/// What a message takes at most, as a rule: an entry of the log, or a chunk of a file, with what raft says around it.
pub const FRAME_BYTES_MAX: u32 = 64 << 20;

const MAGIC: [u8; 4] = *b"TSR2";
/// Messages that wait for one peer; more are dropped.
const WAITING_MAX: usize = 1024;
/// No more is taken while so many bytes of them wait.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// After a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a message of up to `limit` bytes as a frame.
pub fn write_frame(out: &mut impl Write, message: &[u8], limit: u32) -> io::Result<()> {
    let len = u32::try_from(message.len()).ok().filter(|&len| len <= limit);
    let len = len.ok_or_else(|| too_large(io::ErrorKind::InvalidInput, message.len(), limit))?;
    out.write_all(&MAGIC)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&crc32fast::hash(message).to_le_bytes())?;
    out.write_all(message)
}

fn too_large(kind: io::ErrorKind, len: usize, limit: u32) -> io::Error {
    io::Error::new(kind, format!("a message of {len} bytes, a frame takes {limit}"))
}

/// Reads the message of the next frame, of up to `limit` bytes; `None` when the stream ends before one.
pub fn read_frame(stream: &mut impl Read, limit: u32) -> io::Result<Option<Vec<u8>>> {
    let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut head = [0; 12];
    let mut have = 0;
    while have < head.len() {
        match stream.read(&mut head[have..])? {
            0 if have == 0 => return Ok(None),
            0 => return Err(bad("the stream ends within the head of a frame")),
            len => have += len,
        }
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != MAGIC {
        return Err(bad("expected a frame of a replica: something else connects to this port"));
    }
    let len = word(4);
    if len > limit {
        return Err(too_large(io::ErrorKind::InvalidData, len as usize, limit));
    }
    // As much memory as there are bytes, whatever the length says.
    let mut message = Vec::new();
    stream.take(len.into()).read_to_end(&mut message)?;
    if message.len() != len as usize {
        return Err(bad("the stream ends within a frame"));
    }
    if crc32fast::hash(&message) != word(8) {
        return Err(bad("a frame with a wrong checksum"));
    }
    Ok(Some(message))
}

/// Sends to peers by their addresses; a thread and a connection for each.
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
    /// Sends to `peers`, but no message above `frame_bytes_max`; all of a group have the same, [`FRAME_BYTES_MAX`] as a
    /// rule. An entry of the log has to fit in, and a chunk of a file, each with 1 MiB to spare.
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

    /// Gives everything that arrives at `listener` to `deliver`, in threads that end with the process.
    pub fn listen(
        listener: TcpListener,
        frame_bytes_max: u32,
        deliver: impl Fn(Vec<u8>) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let (deliver, closed) = (Arc::new(deliver), Arc::new(Mutex::new(WarnLimit::default())));
        let accept = move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // No file is left for it, say; another try costs a processor until there is.
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
                                    tracing::warn!(%error, suppressed, "connection closed");
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
            tracing::error!(to, len, self.frame_bytes_max, "no frame takes this message: raise the bound");
        } else if peer.waiting_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX {
            peer.waiting_bytes.fetch_add(len, Ordering::Relaxed);
            if peer.messages.try_send(message).is_err() {
                peer.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
            }
        }
    }
}

/// Sends what is to be sent, over a new connection after every failure.
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
    use super::*;

    /// A peer that reads nothing costs so much memory and no more.
    #[test]
    fn what_waits_for_a_peer_is_bounded() {
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
}
