//! The snapshot: writes the cache to TSM files and truncates its part of the log.
//!
//! 1. Freeze: wait until every admitted write is published, cut the log there, and swap the stores. The
//!    frozen store then holds exactly the log's records before the cut. Store and cut stay together through
//!    failed attempts.
//! 2. Encode on several threads, write in key order, and publish: sync, rename, sync the directory.
//! 3. Show the files to readers, drop the frozen store, and only then truncate the log before the cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crossbeam::channel::{Receiver, bounded};
use tsmith_cache::{Frozen, Storer};
use tsmith_codecs::{
    BlockEncoder, Column, ColumnRef, FieldKey, FieldType, Position, TimeRange, encode_checked,
};
use tsmith_tsm::{Remedy, Version, first_block};
use tsmith_wal::Log;
use tsmith_wal::fs::Fs;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{Change, FileName, TsmFile, Writing};
use crate::output::{Open, Output};
use crate::{Engine, Inner};

const OPERATION: &str = "snapshot";

/// Keys that a thread encodes before it passes the blocks on.
const KEYS_PER_CHUNK: usize = 128;

/// Maximum number of encoded chunks per thread that wait for the writer.
const CHUNKS_WAITING_MAX: usize = 2;

/// What a snapshot wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The new files.
    pub files: Vec<PathBuf>,
    /// Their total length.
    pub file_bytes: u64,
    /// Keys in them. A key that continues in a second file counts twice.
    pub keys: u64,
    /// Values in them.
    pub values: u64,
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Writes everything acknowledged before this call to TSM files, and truncates its part of the log.
    ///
    /// # Errors
    /// After an error the data is unchanged: readers find it in the cache, and recovery finds it in the log.
    pub fn snapshot(&self) -> Result<SnapshotReport> {
        self.inner.check_writable(OPERATION)?;
        self.inner.snapshot()
    }
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Inner<S, L, E> {
    pub(crate) fn snapshot(&self) -> Result<SnapshotReport> {
        let _one_at_a_time = self.snapshotting.lock();
        let _span = tracing::debug_span!("snapshot").entered();
        let mut report = SnapshotReport::default();
        // The frozen store of a failed attempt comes first, with its own cut. Later writes follow in a second
        // round.
        loop {
            let mut fresh = false;
            let cut = || {
                fresh = true;
                self.leftovers_logged.store(false, Ordering::Release);
                self.log.cut()
            };
            let Some(frozen) = self.cache.freeze(cut).during(OPERATION)? else {
                self.drop_leftovers()?;
                break;
            };
            // Earlier deletes have already been applied to the frozen store.
            let (writing, generation) = {
                let mut change = self.files.change();
                (change.begin_writing(), change.next_generation()?)
            };
            self.write_files(&frozen, generation, &writing, &mut report)?;
            drop(writing);
            self.fs.point("snapshot: files shown");
            let cut = frozen.cut();
            self.cache.drop_frozen(frozen);
            self.worker.note_snapshot();
            self.truncate(cut)?;
            if fresh {
                break;
            }
        }
        self.compactor.wake();
        Ok(report)
    }

    /// Truncates the log before `cut`, unless a delete is unfinished. After a crash its record in the log
    /// finishes it.
    fn truncate(&self, cut: Position) -> Result<()> {
        let change = self.files.change();
        if self.waits_for_delete(&change) {
            return Ok(());
        }
        self.log.truncate_front(cut).during(OPERATION)
    }

    /// Writes, publishes and shows the files of a frozen store. After a failure none of them is left.
    fn write_files(
        &self,
        frozen: &Frozen<S>,
        generation: u64,
        writing: &Writing<'_>,
        report: &mut SnapshotReport,
    ) -> Result<()> {
        let keys = sorted_keys::<S>(frozen);
        let first = FileName { generation, sequence: 1 };
        let mut output = Output::new(OPERATION, &self.fs, &self.dirs.data, (first, self.options.index_bytes));
        let points_per_block = self.options.points_per_block;
        let done = thread::scope(|scope| {
            let threads = self.encode_threads().min(keys.len().div_ceil(KEYS_PER_CHUNK)).max(1);
            let chunks = keys.chunks(KEYS_PER_CHUNK);
            let lanes: Vec<Option<Receiver<Chunk>>> = (0..threads)
                .map(|lane| {
                    let (send, receive) = bounded(CHUNKS_WAITING_MAX);
                    let mine = chunks.clone().skip(lane).step_by(threads);
                    let encoder = (self.make_encoder)();
                    let encode = move || {
                        let mut lane = Encoding::<S, E>::new(frozen, encoder, points_per_block);
                        // If the channel is closed, the writer has failed and reports the error.
                        for keys in mine {
                            if send.send(lane.chunk(keys)).is_err() {
                                return;
                            }
                        }
                    };
                    thread::Builder::new().spawn_scoped(scope, encode).ok().map(|_| receive)
                })
                .collect();
            // If the system refused a thread, this thread encodes its chunks.
            let encoder = (self.make_encoder)();
            let version = Version::of(&encoder);
            let mut here = Encoding::<S, E>::new(frozen, encoder, points_per_block);
            let in_order = chunks.enumerate().map(|(at, keys)| match &lanes[at % threads] {
                Some(lane) => lane.recv().unwrap_or(Err(ErrorKind::ReadOnly)),
                None => here.chunk(keys),
            });
            write_blocks(&mut output, version, in_order, report)
        });
        let files = self.publish(output, done, writing, &[], |key| frozen.field_type(key).is_some())?;
        for file in &files {
            report.files.push(file.path().to_owned());
            report.file_bytes += file.reader().file_bytes();
            report.keys += file.reader().len() as u64;
        }
        Ok(())
    }

    fn encode_threads(&self) -> usize {
        match self.options.encode_threads {
            0 => thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        }
    }
}

impl<S: Storer, L: Log + ?Sized, E> Inner<S, L, E> {
    /// Whether a delete is unfinished and cannot be finished now.
    fn waits_for_delete(&self, change: &Change<'_>) -> bool {
        let finished = change.finish_deletes(&self.fs);
        finished
            .inspect_err(
                |error| tracing::warn!(%error, "a delete is unfinished, so the log is not truncated"),
            )
            .is_err()
    }

    /// Truncates a log that holds only deletes and records that salvage dropped. (InfluxDB keeps them until
    /// the next write.)
    pub(crate) fn drop_leftovers(&self) -> Result<()> {
        if !self.leftovers_logged.load(Ordering::Acquire) {
            return Ok(());
        }
        let change = self.files.change();
        if self.waits_for_delete(&change) {
            return Ok(());
        }
        let _no_write = self.cache.pause();
        // Also check the keys: the byte count may be too small, and logged values must not be lost.
        let mut empty = self.cache.live_bytes() == 0;
        self.cache.keys(&mut |_, _| empty = false);
        if !empty {
            return Ok(());
        }
        let cut = self.log.cut().during(OPERATION)?;
        self.log.truncate_front(cut).during(OPERATION)?;
        self.leftovers_logged.store(false, Ordering::Release);
        Ok(())
    }

    /// Publishes the written files, shows them in place of `gone`, and removes those. `has` tells whether the
    /// frozen store still has a key. After a failure no new file is left. Errors name the operation of
    /// `output`.
    pub(crate) fn publish(
        &self,
        mut output: Output<'_, L::Fs>,
        written: Result<()>,
        writing: &Writing<'_>,
        gone: &[FileName],
        has: impl Fn(FieldKey<'_>) -> bool,
    ) -> Result<Vec<Arc<TsmFile>>> {
        let operation = output.operation();
        let done = written.and_then(|()| {
            output.sync()?;
            let change = self.files.change();
            if self.worker.is_read_only() {
                // The log may hold a delete that does not name these files.
                return Err(Error::new(operation, ErrorKind::ReadOnly));
            }
            // The current versions: a delete may have added tombstones.
            let gone: Vec<_> =
                change.files().iter().filter(|file| gone.contains(&file.name())).cloned().collect();
            let has = |key: &[u8]| {
                gone.iter().any(|file| file.live_type(key).is_some())
                    || FieldKey::parse(key).is_some_and(&has)
            };
            let files = output.publish(&change, writing, &gone, has)?;
            Ok((files, gone, change))
        });
        match done {
            Ok((files, gone, change)) => {
                // After a restart these files would reappear, without later deletes. So no more deletes are
                // accepted.
                Change::remove(&change, &self.fs, &self.dirs.data, &gone)
                    .inspect_err(|_| self.worker.make_read_only())?;
                Ok(files)
            }
            Err(error) => {
                if let Err(stays) = output.discard() {
                    tracing::error!(error = %stays, "cannot remove the files of a failed attempt; the engine is now read-only");
                    self.worker.make_read_only();
                }
                Err(error)
            }
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

/// Encoded blocks of consecutive keys.
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
    /// End of its bytes in the chunk.
    end: usize,
}

/// Encodes the columns of a store.
struct Encoding<'s, S, E> {
    store: &'s S,
    encoder: E,
    points_per_block: usize,
    sorted: Column,
}

impl<'s, S: Storer, E: BlockEncoder> Encoding<'s, S, E> {
    fn new(store: &'s S, encoder: E, points_per_block: usize) -> Self {
        Self { store, encoder, points_per_block, sorted: Column::new(FieldType::Float) }
    }

    fn chunk(&mut self, keys: &[Vec<u8>]) -> Chunk {
        let Self { store, encoder, points_per_block, sorted } = self;
        let mut chunk = Blocks::default();
        for composite in keys {
            let Some(key) = FieldKey::parse(composite) else { continue };
            let encoded = store.with(key, |column| {
                if column.is_strictly_ascending() {
                    return chunk.encode(encoder, *points_per_block, composite, column);
                }
                sorted.reset(column.field_type());
                let extended = sorted.extend(column);
                debug_assert_eq!(extended, Ok(()), "the column was reset to this type");
                sorted.sort_dedup();
                chunk.encode(encoder, *points_per_block, composite, sorted.as_ref())
            });
            encoded.unwrap_or(Ok(()))?;
        }
        Ok(chunk)
    }
}

impl Blocks {
    fn encode<E: BlockEncoder>(
        &mut self,
        encoder: &mut E,
        points_per_block: usize,
        composite: &[u8],
        column: ColumnRef<'_>,
    ) -> Result<(), ErrorKind> {
        let key: Arc<[u8]> = composite.into();
        let mut from = 0;
        while from < column.len() {
            let rest = column.slice(from..column.len());
            let part = rest.slice(0..first_block(rest, points_per_block));
            encode_checked(encoder, part, &mut self.bytes).map_err(|error| ErrorKind::Encode {
                key: tsmith_codecs::name::to_text(composite).into_owned(),
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

/// Writes the blocks to as many files as needed.
fn write_blocks<F: Fs>(
    output: &mut Output<'_, F>,
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
            write_block(output, &mut open, version, block, bytes)?;
            report.values += block.values as u64;
        }
    }
    open.map_or(Ok(()), |writer| output.finish(writer))
}

fn write_block<F: Fs>(
    output: &mut Output<'_, F>,
    open: &mut Option<Open<F>>,
    version: Version,
    block: &Block,
    bytes: &[u8],
) -> Result<()> {
    for _ in 0..2 {
        if let Some(full) = open.take_if(|writer| writer.is_full()) {
            output.finish(full)?;
        }
        let writer = match open {
            Some(writer) => writer,
            None => open.insert(output.begin(version)?),
        };
        match writer.write_block(&block.key, block.field_type, block.range, bytes) {
            Ok(()) => return Ok(()),
            Err(error) if error.remedy() == Remedy::NextFile => {}
            Err(error) => return Err(error).on(OPERATION, &output.temporary()),
        }
    }
    unreachable!("a new file always has space for one block")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tsmith_wal::FileLog;
    use tsmith_wal::testing::SimFs;

    use super::*;
    use crate::{Dirs, LineOptions, Options, Selection, Timestamp};

    type Shard = Engine<tsmith_cache::Ring, FileLog<SimFs>, tsmith_codecs::Tsm1>;

    /// Story: two deletes removed all points of a key while a snapshot wrote them. Then the key got another
    /// type. The new file's index still had the old type, so the directory did not open.
    #[test]
    fn a_key_of_several_deletes_is_gone_from_the_snapshot() {
        let fs = SimFs::default();
        let open = |fs: &SimFs| {
            let options = Options { background: false, encode_threads: 1, ..Options::default() };
            Shard::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options).expect("opens")
        };
        let (shard, options) = (open(&fs), LineOptions::new(Timestamp(0)));
        let write = |text: &[u8]| {
            let report = shard.write_lines(text, &options).expect("enough space");
            assert!(report.rejected.is_empty(), "{:?}", report.rejected);
        };
        write(b"m v=1 1\nm v=1 100\nn v=1 1");
        let inner = &*shard.inner;
        let frozen = inner.cache.freeze(|| inner.log.cut()).expect("enough space").expect("points");
        let (writing, generation) = {
            let mut change = inner.files.change();
            (change.begin_writing(), change.next_generation().expect("a number"))
        };
        let first = FileName { generation, sequence: 1 };
        let mut output = Output::new(OPERATION, &fs, &inner.dirs.data, (first, 1 << 20));
        let chunk =
            Encoding::new(&**frozen, tsmith_codecs::Tsm1::default(), 1000).chunk(&sorted_keys(&**frozen));
        let chunks = std::iter::once(chunk);
        let written = write_blocks(&mut output, Version::Influx, chunks, &mut SnapshotReport::default());
        for time in [1, 100] {
            shard.delete(Selection::Measurement(b"m"), TimeRange::new(time, time)).expect("deletes");
        }
        write(b"m v=2i 50");
        let has = |key: FieldKey<'_>| frozen.field_type(key).is_some();
        inner.publish(output, written, &writing, &[], has).expect("enough space");
        drop(writing);
        inner.cache.drop_frozen(frozen);
        let shard = open(&fs.kill());
        let column = shard.read(FieldKey::new(b"m", b"v"), TimeRange::ALL).expect("readable");
        assert_eq!((column.times(), column.field_type()), (&[50][..], FieldType::Integer));
        assert_eq!(shard.read(FieldKey::new(b"n", b"v"), TimeRange::ALL).expect("readable").len(), 1);
    }
}
