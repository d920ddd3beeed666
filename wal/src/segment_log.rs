//! Logs in segments of one of our formats: [`FileLog`](crate::FileLog), [`MmapLog`](crate::MmapLog) and
//! [`NativeLog`](crate::NativeLog).

mod active;
mod framer;
mod recycler;
mod writer;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use crate::commit::GroupCommit;
use crate::directory;
use crate::encoder::{Encoders, FrameEncoder};
use crate::fs::Fs;
use crate::kind::{Format, parts};
use crate::metrics::Metrics;
use crate::recover::{Start, recover};
use crate::replay::replay_of;
use crate::{
    Batch, Durable, Log, LogOptions, Position, Record, Recovery, RecoveryMode, Replay, ReplayFn, Result,
    entry,
};

pub(crate) use active::SegmentFile;
use framer::SegmentFramer;
use recycler::Recycler;
use writer::SegmentWriter;

/// A log in segments of the format `T`, which are written through `S`.
#[derive(Debug)]
pub(crate) struct SegmentLog<S: SegmentFile, T: Format> {
    commit: GroupCommit<SegmentFramer<S, T>, <S::Fs as Fs>::File>,
    recycler: Arc<Recycler<S::Fs, T>>,
    encoders: Encoders<T::Encoder>,
}

impl<S: SegmentFile, T: Format> Log for SegmentLog<S, T> {
    type Fs = S::Fs;

    fn open(
        fs: S::Fs,
        dir: &Path,
        options: LogOptions,
        mut replay: impl FnMut(Position, Record<'_>) -> Result<()>,
    ) -> Result<(Self, Recovery)> {
        let lock = directory::take(&fs, dir)?;
        let (recovery, start) =
            recover::<T, _>(&fs, dir, options.recovery, |walk| walk.records(&mut replay))?;
        Ok((Self::begin(fs, dir, &options, lock, start)?, recovery))
    }

    fn open_replaying(
        fs: S::Fs,
        dir: &Path,
        options: LogOptions,
        replay: &mut dyn Replay,
    ) -> Result<(Self, Recovery)> {
        let lock = directory::take(&fs, dir)?;
        let (recovery, start) = recover::<T, _>(&fs, dir, options.recovery, |walk| walk.entries(replay))?;
        Ok((Self::begin(fs, dir, &options, lock, start)?, recovery))
    }

    fn read(fs: &S::Fs, dir: &Path, mode: RecoveryMode, replay: &mut ReplayFn<'_>) -> Result<Recovery> {
        replay_of::<T, _>(fs, dir, mode.into(), replay)
    }

    fn is_segment(name: &OsStr) -> bool {
        T::parse_name(name).is_some()
    }

    fn is_influx() -> bool {
        T::INFLUX
    }

    fn layout(&self) -> entry::Layout {
        T::LAYOUT
    }

    fn append(&self, record: Record<'_>) -> Result<Position> {
        self.encoders.with(|encoder| self.commit.append(encoder.encode(record)?))
    }

    fn append_write(&self, batch: &Batch<'_>) -> Result<Position> {
        self.encoders.with(|encoder| self.commit.append(encoder.encode_write(batch)?))
    }

    fn sync(&self, at: Position) -> Result<Durable> {
        self.commit.sync(at)
    }

    fn cut(&self) -> Result<Position> {
        self.commit.cut()
    }

    fn truncate_front(&self, before: Position) -> Result<()> {
        // Held to the end, so that nothing is removed from a directory that was given up meanwhile.
        let _lock = self.commit.lock();
        let (open_from, next_record) = self.commit.look(|framer| (framer.open_from, framer.next_record))?;
        let limit = parts(before).0.min(open_from);
        self.commit.beside(|| self.recycler.truncate(limit, next_record))
    }

    fn close(&self) -> Result<()> {
        self.commit.close()
    }

    fn metrics(&self) -> Metrics {
        self.commit.metrics()
    }
}

impl<S: SegmentFile, T: Format> SegmentLog<S, T> {
    /// A log that goes on at `start`.
    fn begin(
        fs: S::Fs,
        dir: &Path,
        options: &LogOptions,
        lock: <S::Fs as Fs>::File,
        start: Start,
    ) -> Result<Self> {
        let Start { segment, held, record, recycled } = start;
        let recycler = Arc::new(Recycler::new(fs, dir, recycled));
        let framer = SegmentFramer::new(segment, record, options.segment_bytes);
        let writer = SegmentWriter::new(Arc::clone(&recycler), options, (segment, held, record));
        let commit = GroupCommit::new(dir, options.durability, framer, writer, lock)?;
        Ok(Self { commit, recycler, encoders: Encoders::new(options.compression) })
    }
}

/// Declares a public log that is a [`SegmentLog`], so that its two type parameters stay internal.
macro_rules! segment_log {
    ($(#[$docs:meta])* $Name:ident: $File:ident, $Format:ty) => {
        $(#[$docs])*
        #[derive(Debug)]
        pub struct $Name<F: $crate::fs::Fs = $crate::fs::OsFs>(
            $crate::segment_log::SegmentLog<$File<F>, $Format>,
        );

        impl<F: $crate::fs::Fs> $crate::Log for $Name<F> {
            type Fs = F;

            fn open(
                fs: F,
                dir: &std::path::Path,
                options: $crate::LogOptions,
                replay: impl FnMut($crate::Position, $crate::Record<'_>) -> $crate::Result<()>,
            ) -> $crate::Result<(Self, $crate::Recovery)> {
                let (log, recovery) = $crate::segment_log::SegmentLog::open(fs, dir, options, replay)?;
                Ok((Self(log), recovery))
            }

            fn open_replaying(
                fs: F,
                dir: &std::path::Path,
                options: $crate::LogOptions,
                replay: &mut dyn $crate::Replay,
            ) -> $crate::Result<(Self, $crate::Recovery)> {
                let (log, recovery) =
                    $crate::segment_log::SegmentLog::open_replaying(fs, dir, options, replay)?;
                Ok((Self(log), recovery))
            }

            fn read(
                fs: &F,
                dir: &std::path::Path,
                mode: $crate::RecoveryMode,
                replay: &mut $crate::ReplayFn<'_>,
            ) -> $crate::Result<$crate::Recovery> {
                <$crate::segment_log::SegmentLog<$File<F>, $Format> as $crate::Log>::read(fs, dir, mode, replay)
            }

            fn is_segment(name: &std::ffi::OsStr) -> bool {
                <$crate::segment_log::SegmentLog<$File<F>, $Format> as $crate::Log>::is_segment(name)
            }

            fn is_influx() -> bool {
                <$crate::segment_log::SegmentLog<$File<F>, $Format> as $crate::Log>::is_influx()
            }

            fn layout(&self) -> $crate::entry::Layout {
                self.0.layout()
            }

            fn append(&self, record: $crate::Record<'_>) -> $crate::Result<$crate::Position> {
                self.0.append(record)
            }

            fn append_write(&self, batch: &$crate::Batch<'_>) -> $crate::Result<$crate::Position> {
                self.0.append_write(batch)
            }

            fn sync(&self, at: $crate::Position) -> $crate::Result<$crate::Durable> {
                self.0.sync(at)
            }

            fn cut(&self) -> $crate::Result<$crate::Position> {
                self.0.cut()
            }

            fn truncate_front(&self, before: $crate::Position) -> $crate::Result<()> {
                self.0.truncate_front(before)
            }

            fn close(&self) -> $crate::Result<()> {
                self.0.close()
            }

            fn metrics(&self) -> $crate::Metrics {
                self.0.metrics()
            }
        }
    };
}

pub(crate) use segment_log;

#[cfg(all(test, any(loom, shuttle)))]
mod model;
