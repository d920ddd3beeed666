//! The snapshot: the cache becomes TSM files, then its part of the log goes.
//!
//! 1. Freeze: wait until every admitted write is published, cut the log there, swap the stores. What is frozen is then
//!    exactly what the log holds before the cut, and the two stay together through every failed attempt.
//! 2. Encode on several threads, write in order of keys, and publish: sync, rename, sync the directory.
//! 3. Show the files, forget the frozen store, and only then drop the log before the cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crossbeam::channel::{Receiver, bounded};
use tsmith_cache::{Frozen, Storer};
use tsmith_codecs::{
    BlockEncoder, Column, ColumnRef, FieldKey, FieldType, Position, TimeRange, encode_checked,
};
use tsmith_tsm::{POINTS_PER_BLOCK, Remedy, Version, first_block};
use tsmith_wal::Log;
use tsmith_wal::fs::Fs;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::{Change, FileName, TsmFile, Writing};
use crate::output::{Open, Output};
use crate::{Engine, Inner};

const OPERATION: &str = "snapshot";

/// Keys that one thread encodes before it hands the blocks on.
const KEYS_PER_CHUNK: usize = 128;

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

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Writes everything that was acknowledged before this call to TSM files, and drops its part of the log.
    ///
    /// # Errors
    /// After an error the data is where it was: in the cache for readers, in the log for a crash.
    pub fn snapshot(&self) -> Result<SnapshotReport> {
        self.inner.check_writable(OPERATION)?;
        self.inner.snapshot()
    }
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Inner<S, L, E> {
    pub(crate) fn snapshot(&self) -> Result<SnapshotReport> {
        let _one_at_a_time = self.snapshotting.lock();
        let mut report = SnapshotReport::default();
        // A frozen store of a failed attempt comes first, with its own cut; what was written since comes after it.
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
            // What was deleted before this is gone from the frozen store too.
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

    /// Drops the log before `cut`, once no delete is half done: its record in the log is what finishes it after a crash.
    fn truncate(&self, cut: Position) -> Result<()> {
        let change = self.files.change();
        if self.waits_for_delete(&change) {
            return Ok(());
        }
        self.log.truncate_front(cut).during(OPERATION)
    }

    /// Writes, publishes and shows the files of a frozen store. On failure none of them is left.
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
        let done = thread::scope(|scope| {
            let threads = self.encode_threads().min(keys.len().div_ceil(KEYS_PER_CHUNK)).max(1);
            let chunks = keys.chunks(KEYS_PER_CHUNK);
            let lanes: Vec<Option<Receiver<Chunk>>> = (0..threads)
                .map(|lane| {
                    let (send, receive) = bounded(CHUNKS_WAITING_MAX);
                    let mine = chunks.clone().skip(lane).step_by(threads);
                    let encoder = (self.make_encoder)();
                    let encode = move || {
                        let mut lane = Encoding::<S, E>::new(frozen, encoder);
                        // A closed channel means that the writer gave up; it knows why.
                        for keys in mine {
                            if send.send(lane.chunk(keys)).is_err() {
                                return;
                            }
                        }
                    };
                    thread::Builder::new().spawn_scoped(scope, encode).ok().map(|_| receive)
                })
                .collect();
            // What the system gave no thread for this one encodes, in its turn.
            let encoder = (self.make_encoder)();
            let version = Version::of(&encoder);
            let mut here = Encoding::<S, E>::new(frozen, encoder);
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
    /// Whether a delete is half done, and cannot be finished now either.
    fn waits_for_delete(&self, change: &Change<'_>) -> bool {
        let finished = change.finish_deletes(&self.fs);
        finished
            .inspect_err(|error| tracing::warn!(%error, "the log stays, for a delete is half done"))
            .is_err()
    }

    /// Drops a log that holds nothing but deletes and what a salvage left out. (InfluxDB keeps it until something is written.)
    pub(crate) fn drop_leftovers(&self) -> Result<()> {
        if !self.leftovers_logged.load(Ordering::Acquire) {
            return Ok(());
        }
        let change = self.files.change();
        if self.waits_for_delete(&change) {
            return Ok(());
        }
        let _no_write = self.cache.pause();
        // Asked for keys, for the account can be too small: what is logged must not go while somebody reads it.
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

    /// Publishes what was written, shows it in the place of `gone`, and removes those. `has` says whether the frozen store
    /// that it was written from still has a key. On failure none of it is left.
    pub(crate) fn publish(
        &self,
        mut output: Output<'_, L::Fs>,
        written: Result<()>,
        writing: &Writing<'_>,
        gone: &[FileName],
        has: impl Fn(FieldKey<'_>) -> bool,
    ) -> Result<Vec<Arc<TsmFile>>> {
        let done = written.and_then(|()| {
            output.sync()?;
            let change = self.files.change();
            if self.worker.is_read_only() {
                // The log may have a delete that knows nothing of these files.
                return Err(Error::new(OPERATION, ErrorKind::ReadOnly));
            }
            // As they are now: a delete may have given them tombstones.
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
                // They would be back after a restart, without what is deleted from here on.
                Change::remove(&change, &self.fs, &self.dirs.data, &gone)
                    .inspect_err(|_| self.worker.make_read_only())?;
                Ok(files)
            }
            Err(error) => {
                if let Err(stays) = output.discard() {
                    tracing::error!(error = %stays, "what failed cannot be removed: no more is written");
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

/// Encodes the columns of a store.
struct Encoding<'s, S, E> {
    store: &'s S,
    encoder: E,
    sorted: Column,
}

impl<'s, S: Storer, E: BlockEncoder> Encoding<'s, S, E> {
    fn new(store: &'s S, encoder: E) -> Self {
        Self { store, encoder, sorted: Column::new(FieldType::Float) }
    }

    fn chunk(&mut self, keys: &[Vec<u8>]) -> Chunk {
        let Self { store, encoder, sorted } = self;
        let mut chunk = Blocks::default();
        for composite in keys {
            let Some(key) = FieldKey::parse(composite) else { continue };
            let encoded = store.with(key, |column| {
                if column.is_strictly_ascending() {
                    return chunk.encode(encoder, composite, column);
                }
                sorted.reset(column.field_type());
                let extended = sorted.extend(column);
                debug_assert_eq!(extended, Ok(()), "the column was reset to this type");
                sorted.sort_dedup();
                chunk.encode(encoder, composite, sorted.as_ref())
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
        composite: &[u8],
        column: ColumnRef<'_>,
    ) -> Result<(), ErrorKind> {
        let key: Arc<[u8]> = composite.into();
        let mut from = 0;
        while from < column.len() {
            let rest = column.slice(from..column.len());
            let part = rest.slice(0..first_block(rest, POINTS_PER_BLOCK));
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

/// Writes the blocks to as many files as they need.
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
    unreachable!("a new file has room for one block")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tsmith_wal::FileLog;
    use tsmith_wal::testing::SimFs;

    use super::*;
    use crate::{Dirs, LineOptions, Options, Selection, Timestamp};

    type Shard = Engine<tsmith_cache::Ring, FileLog<SimFs>, tsmith_codecs::Tsm1>;

    /// Story: two deletes took the points of a key while a snapshot wrote them. Then the key got another type, the file
    /// held the old one as far as anybody could tell from its index, and the directory did not open.
    #[test]
    fn a_key_of_several_deletes_is_gone_from_the_snapshot() {
        let fs = SimFs::default();
        let open = |fs: &SimFs| {
            let options = Options { background: false, encode_threads: 1, ..Options::default() };
            Shard::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options).expect("opens")
        };
        let (shard, options) = (open(&fs), LineOptions::new(Timestamp(0)));
        let write = |text: &[u8]| {
            let report = shard.write_lines(text, &options).expect("room");
            assert!(report.rejected.is_empty(), "{:?}", report.rejected);
        };
        write(b"m v=1 1\nm v=1 100\nn v=1 1");
        let inner = &*shard.inner;
        let frozen = inner.cache.freeze(|| inner.log.cut()).expect("room").expect("points");
        let (writing, generation) = {
            let mut change = inner.files.change();
            (change.begin_writing(), change.next_generation().expect("a number"))
        };
        let first = FileName { generation, sequence: 1 };
        let mut output = Output::new(OPERATION, &fs, &inner.dirs.data, (first, 1 << 20));
        let chunk = Encoding::new(&**frozen, tsmith_codecs::Tsm1::default()).chunk(&sorted_keys(&**frozen));
        let chunks = std::iter::once(chunk);
        let written = write_blocks(&mut output, Version::Influx, chunks, &mut SnapshotReport::default());
        for time in [1, 100] {
            shard.delete(Selection::Measurement(b"m"), TimeRange::new(time, time)).expect("deletes");
        }
        write(b"m v=2i 50");
        let has = |key: FieldKey<'_>| frozen.field_type(key).is_some();
        inner.publish(output, written, &writing, &[], has).expect("room");
        drop(writing);
        inner.cache.drop_frozen(frozen);
        let shard = open(&fs.kill());
        let column = shard.read(FieldKey::new(b"m", b"v"), TimeRange::ALL).expect("readable");
        assert_eq!((column.times(), column.field_type()), (&[50][..], FieldType::Integer));
        assert_eq!(shard.read(FieldKey::new(b"n", b"v"), TimeRange::ALL).expect("readable").len(), 1);
    }
}
