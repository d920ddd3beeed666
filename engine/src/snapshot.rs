//! The snapshot: the cache becomes TSM files, then its part of the log goes.
//!
//! 1. Freeze: wait until every admitted write is published, cut the log there, swap the stores. What is frozen is then
//!    exactly what the log holds before the cut, and the two stay together through every failed attempt.
//! 2. Encode on several threads, write in order of keys, and publish: sync, rename, sync the directory.
//! 3. Show the files, forget the frozen store, and only then drop the log before the cut.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};
use tsmith_cache::{Frozen, Storer};
use tsmith_codecs::{BlockEncoder, Column, ColumnRef, FieldKey, FieldType, TimeRange};
use tsmith_tsm::{Remedy, Version, Writer};
use tsmith_wal::Log;
use tsmith_wal::fs::{FileWriter, Fs};

use crate::error::{Context, ErrorKind, Result};
use crate::files::{FileName, TsmFile};
use crate::{Engine, Inner};

const OPERATION: &str = "snapshot";

/// InfluxDB cuts a key's values into blocks of this many.
pub const POINTS_PER_BLOCK: usize = 1000;

/// Keys that one thread encodes before it hands the blocks on.
const KEYS_PER_CHUNK: usize = 128;

/// Bytes gathered before a file is written to.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Chunks that wait for the writer, a thread.
const CHUNKS_WAITING_MAX: usize = 2;

/// What a snapshot wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The new files.
    pub files: Vec<PathBuf>,
    /// Their length together.
    pub file_bytes: u64,
    /// Keys in them; one that goes on in a second file counts twice.
    pub keys: u64,
    /// Values in them.
    pub values: u64,
}

impl<S: Storer, L: Log, E: BlockEncoder> Engine<S, L, E> {
    /// Writes everything that was acknowledged before this call to TSM files, and drops its part of the log.
    ///
    /// # Errors
    /// After an error the data is where it was: in the cache for readers, in the log for a crash.
    pub fn snapshot(&self) -> Result<SnapshotReport> {
        self.inner.check_writable(OPERATION)?;
        self.inner.snapshot()
    }
}

impl<S: Storer, L: Log, E: BlockEncoder> Inner<S, L, E> {
    pub(crate) fn snapshot(&self) -> Result<SnapshotReport> {
        let _one_at_a_time = self.snapshotting.lock();
        let mut report = SnapshotReport::default();
        // A frozen store of a failed attempt comes first, with its own cut; what was written since comes after it.
        loop {
            let mut fresh = false;
            let cut = || {
                fresh = true;
                self.log.cut()
            };
            let Some(frozen) = self.cache.freeze(cut).during(OPERATION)? else { break };
            let files = self.write_files(&frozen, &mut report)?;
            self.files.add(&files);
            self.fs.point("snapshot: files shown");
            let cut = frozen.cut();
            self.cache.forget(frozen);
            self.log.truncate_front(cut).during(OPERATION)?;
            if fresh {
                break;
            }
        }
        Ok(report)
    }

    /// Writes and publishes the files of a frozen store. On failure none of them is left.
    fn write_files(&self, frozen: &Frozen<S>, report: &mut SnapshotReport) -> Result<Vec<Arc<TsmFile>>> {
        let keys = sorted_keys::<S>(frozen);
        let generation = self.files.next_generation()?;
        let (fs, dir) = (&self.fs, &*self.dirs.data);
        let mut output = Output { fs, dir, generation, begun: Vec::new(), complete: Vec::new() };
        let done = thread::scope(|scope| {
            let threads = self.encode_threads().min(keys.len().div_ceil(KEYS_PER_CHUNK)).max(1);
            let chunks = keys.chunks(KEYS_PER_CHUNK);
            let lanes: Vec<Receiver<Chunk>> = (0..threads)
                .map(|lane| {
                    let (send, receive) = bounded(CHUNKS_WAITING_MAX);
                    let mine = chunks.clone().skip(lane).step_by(threads);
                    scope.spawn(move || encode_chunks::<S, E>(frozen, mine, &send));
                    receive
                })
                .collect();
            let in_order = (0..chunks.len()).map(|at| lanes[at % threads].recv());
            output.write(
                Version::of::<E>(),
                in_order.map(|chunk| chunk.unwrap_or(Err(ErrorKind::Crippled))),
                report,
            )
        });
        let open = |name| TsmFile::open(&self.fs, &self.dirs.data, name).map(Arc::new);
        let opened = done.and_then(|()| output.publish()?.into_iter().map(open).collect::<Result<Vec<_>>>());
        let files = match opened {
            Ok(files) => files,
            Err(error) => {
                output.discard();
                return Err(error);
            }
        };
        for file in &files {
            report.files.push(file.path().to_owned());
            report.file_bytes += file.reader().file_bytes();
            report.keys += file.reader().len() as u64;
        }
        Ok(files)
    }

    fn encode_threads(&self) -> usize {
        match self.options.encode_threads {
            0 => thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        }
    }
}

/// The composite keys of a store, ascending.
fn sorted_keys<S: Storer>(store: &S) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    store.keys(&mut |key, _| keys.push(key.to_composite()));
    keys.sort_unstable();
    keys
}

/// Encoded blocks of some neighbouring keys.
type Chunk = Result<Blocks, ErrorKind>;

#[derive(Debug, Default)]
struct Blocks {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    key: Arc<[u8]>,
    field_type: FieldType,
    range: TimeRange,
    values: usize,
    /// Where its bytes end among those of the chunk.
    end: usize,
}

fn encode_chunks<'k, S: Storer, E: BlockEncoder>(
    store: &S,
    chunks: impl Iterator<Item = &'k [Vec<u8>]>,
    send: &Sender<Chunk>,
) {
    let mut encoder = E::default();
    let mut sorted = Column::new(FieldType::Float);
    for keys in chunks {
        let mut chunk = Blocks::default();
        let encoded = keys.iter().try_for_each(|composite| {
            let Some(key) = FieldKey::parse(composite) else { return Ok(()) };
            let encoded = store.with(key, |column| {
                if column.is_strictly_ascending() {
                    return chunk.encode(&mut encoder, composite, column);
                }
                sorted.reset(column.field_type());
                let fits = sorted.extend(column);
                debug_assert!(fits, "the column was reset to this type");
                sorted.sort_dedup();
                chunk.encode(&mut encoder, composite, sorted.as_ref())
            });
            encoded.unwrap_or(Ok(()))
        });
        // A closed channel means that the writer gave up; it knows why.
        if send.send(encoded.map(|()| chunk)).is_err() {
            return;
        }
    }
}

impl Blocks {
    fn encode<E: BlockEncoder>(
        &mut self,
        encoder: &mut E,
        composite: &[u8],
        column: ColumnRef<'_>,
    ) -> Result<(), ErrorKind> {
        let key: Arc<[u8]> = composite.into();
        let mut from = 0;
        while from < column.len() {
            let part = column.slice(from..column.len().min(from + POINTS_PER_BLOCK));
            encoder.encode(part, &mut self.bytes).map_err(|error| ErrorKind::Encode {
                key: String::from_utf8_lossy(composite).into_owned(),
                error,
            })?;
            let times = part.times();
            self.blocks.push(Block {
                key: key.clone(),
                field_type: column.field_type(),
                range: TimeRange::new(times[0], times[times.len() - 1]),
                values: part.len(),
                end: self.bytes.len(),
            });
            from += part.len();
        }
        Ok(())
    }
}

/// The files of one snapshot while they are being written.
struct Output<'e, F: Fs> {
    fs: &'e F,
    dir: &'e Path,
    generation: u64,
    begun: Vec<FileName>,
    /// Files that are complete but for their name, in the order of `begun`.
    complete: Vec<F::File>,
}

type Open<F> = Writer<BufWriter<FileWriter<<F as Fs>::File>>>;

impl<F: Fs> Output<'_, F> {
    /// Writes the blocks to as many files as they need.
    fn write(
        &mut self,
        version: Version,
        chunks: impl Iterator<Item = Chunk>,
        report: &mut SnapshotReport,
    ) -> Result<()> {
        let mut open: Option<Open<F>> = None;
        for chunk in chunks {
            let chunk = chunk.during(OPERATION)?;
            let mut start = 0;
            for block in &chunk.blocks {
                let bytes = &chunk.bytes[start..block.end];
                start = block.end;
                self.write_block(&mut open, version, block, bytes)?;
                report.values += block.values as u64;
            }
        }
        self.finish(open)
    }

    fn write_block(
        &mut self,
        open: &mut Option<Open<F>>,
        version: Version,
        block: &Block,
        bytes: &[u8],
    ) -> Result<()> {
        if open.as_ref().is_some_and(Writer::is_full) {
            self.finish(open.take())?;
        }
        for _ in 0..2 {
            let writer = match open {
                Some(writer) => writer,
                None => open.insert(self.begin(version)?),
            };
            match writer.write_block(&block.key, block.field_type, block.range, bytes) {
                Ok(()) => return Ok(()),
                Err(error) if error.remedy() == Remedy::NextFile => {
                    self.finish(open.take())?;
                }
                Err(error) => return Err(error).on(OPERATION, &self.temporary()),
            }
        }
        unreachable!("a new file has room for one block")
    }

    fn begin(&mut self, version: Version) -> Result<Open<F>> {
        let sequence = self.begun.len() as u64 + 1;
        let name = FileName { generation: self.generation, sequence };
        let path = self.dir.join(name.temporary());
        let file = self.fs.create_new(&path).on(OPERATION, &path)?;
        self.begun.push(name);
        let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, FileWriter::new(file));
        Ok(Writer::new(out, version))
    }

    fn finish(&mut self, open: Option<Open<F>>) -> Result<()> {
        let Some(writer) = open else { return Ok(()) };
        let path = self.temporary();
        let (out, _) = writer.finish().on(OPERATION, &path)?;
        let out = out.into_inner().map_err(std::io::IntoInnerError::into_error).on(OPERATION, &path)?;
        self.complete.push(out.into_inner());
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join(self.begun.last().map_or_else(String::new, |name| name.temporary()))
    }

    fn publish(&self) -> Result<Vec<FileName>> {
        for (name, file) in self.begun.iter().zip(&self.complete) {
            let path = self.dir.join(name.to_string());
            self.fs.publish(file, &self.dir.join(name.temporary()), &path).on(OPERATION, &path)?;
        }
        Ok(self.begun.clone())
    }

    /// Removes what was written. What cannot be removed is found and removed when the directory is opened.
    fn discard(&self) {
        for name in &self.begun {
            for path in [self.dir.join(name.temporary()), self.dir.join(name.to_string())] {
                match self.fs.remove(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        tracing::warn!(path = %path.display(), %error, "a file of a failed snapshot stays");
                    }
                    _ => {}
                }
            }
        }
    }
}
