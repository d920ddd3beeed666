//! Messages over TCP, one connection for each direction.
//!
//! ```text
//! ┌──────────────┬──────────────────┬──────────────────┬─────────┐
//! │ "TSR1" <4B>  │ length <4B, LE>  │ CRC-32 <4B, LE>  │ message │ ... next
//! └──────────────┴──────────────────┴──────────────────┴─────────┘
//! ```
//!
//! A connection that brings anything else is closed. There is no secret: whoever reaches the port belongs to the group.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::Transport;

/// A message is not larger than this; a snapshot travels in one.
pub const FRAME_BYTES_MAX: u32 = 256 << 20;

const MAGIC: [u8; 4] = *b"TSR1";
/// Messages that wait for one peer; more are dropped.
const WAITING_MAX: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a message as a frame.
pub fn write_frame(out: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let len = u32::try_from(message.len()).ok().filter(|&len| len <= FRAME_BYTES_MAX);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message above 256 MiB"))?;
    out.write_all(&MAGIC)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&crc32fast::hash(message).to_le_bytes())?;
    out.write_all(message)
}

/// Reads the message of the next frame; `None` when the stream ends before one.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
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
    if len > FRAME_BYTES_MAX {
        return Err(bad("a frame above 256 MiB"));
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
    peers: HashMap<u64, Sender<Vec<u8>>>,
}

impl Tcp {
    /// Sends to `peers`.
    pub fn new(peers: impl IntoIterator<Item = (u64, SocketAddr)>) -> io::Result<Self> {
        let mut out = Self { peers: HashMap::new() };
        for (id, address) in peers {
            let (give, messages) = bounded(WAITING_MAX);
            std::thread::Builder::new()
                .name("replica-send".into())
                .spawn(move || carry(address, &messages))?;
            out.peers.insert(id, give);
        }
        Ok(out)
    }

    /// Gives everything that arrives at `listener` to `deliver`, in threads that end with the process.
    pub fn listen(
        listener: TcpListener,
        deliver: impl Fn(Vec<u8>) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let deliver = Arc::new(deliver);
        let accept = move || {
            for stream in listener.incoming().flatten() {
                let deliver = Arc::clone(&deliver);
                let read = move || {
                    let mut stream = io::BufReader::new(stream);
                    loop {
                        match read_frame(&mut stream) {
                            Ok(Some(message)) => deliver(message),
                            Ok(None) => return,
                            Err(error) => {
                                tracing::warn!(%error, "connection closed");
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
        if let Some(peer) = self.peers.get(&to) {
            drop(peer.try_send(message));
        }
    }
}

/// Sends what is to be sent, over a new connection after every failure.
fn carry(address: SocketAddr, messages: &Receiver<Vec<u8>>) {
    let mut connection: Option<BufWriter<TcpStream>> = None;
    while let Ok(message) = messages.recv() {
        if connection.is_none() {
            connection = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok().and_then(|stream| {
                stream.set_nodelay(true).ok()?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT)).ok()?;
                Some(BufWriter::new(stream))
            });
        }
        let Some(stream) = &mut connection else { continue };
        let sent = write_frame(stream, &message)
            .and_then(|()| if messages.is_empty() { stream.flush() } else { Ok(()) });
        if sent.is_err() {
            connection = None;
        }
    }
}
