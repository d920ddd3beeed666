//! Segments begin, grow, end, and are let go of.

use std::path::Path;
use std::sync::Arc;

use super::{METADATA, OVERHEAD_BYTES, Shared, State, TEMPORARY, TERM, broken};
use crate::error::{is_full, is_passing};
use crate::etcd::encoder::Appender;
use crate::etcd::frame::kind;
use crate::etcd::names::SegmentName;
use crate::etcd::proto::Head;
use crate::etcd::repair::lock;
use crate::etcd::{HardState, SnapshotRecord};
use crate::fs::{Fs, FsFile};
use crate::{Error, ErrorKind, Position, Result, recover};

/// The space of a segment of which there is only the head: a block of most file systems.
const HEAD_BYTES: u64 = 4096;

impl<F: Fs> Shared<F> {
    /// Makes everything durable and ends the last segment, if it has records. Needs no space.
    pub(super) fn finish(&self, state: &mut State<F>) -> Result<()> {
        self.settle(state)?;
        if state.over || !state.has_records() {
            return Ok(());
        }
        if state.durable > state.marked {
            // So that damage at the end of the segment does not pass for torn if the next one gets lost.
            state.mark()?;
            self.settle(state)?;
        }
        let appender = state.appender()?;
        let cut = appender.cut().and_then(|()| appender.file.sync_all());
        state.guard(cut.map_err(|error| broken("cut", error).at_path(&self.dir)))?;
        state.over = true;
        Ok(())
    }

    /// Begins the next segment, if the last one has ended.
    pub(super) fn advance(&self, state: &mut State<F>) -> Result<()> {
        if !state.over {
            return Ok(());
        }
        let seq = state.tail().seq.checked_add(1).ok_or_else(|| Error::new(ErrorKind::NumbersEnd))?;
        let name = SegmentName { seq, index: state.last + 1 };
        let (commit, crc) = (state.marked, state.appender()?.crc());
        match begin(&self.fs, &self.dir, name, crc, commit, self.segment_bytes) {
            Ok(appender) => {
                state.metrics.segments += 1;
                state.segments.push((name, Arc::clone(&appender.file)));
                state.appender = Some(appender);
                state.over = false;
                Ok(())
            }
            // Nothing has changed: there may be space later, or a handle.
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => state.guard(Err(error)),
        }
    }

    pub(super) fn advance_if_there_is_space(&self, state: &mut State<F>) -> Result<()> {
        self.advance(state).or_else(|error| if is_passing(&error) { Ok(()) } else { Err(error) })
    }

    /// Gives the last segment the space of one, or of `end` bytes. Space first: a file that grows while it is written
    /// may be anything after a crash.
    pub(super) fn grow(&self, state: &mut State<F>, end: u64) -> Result<()> {
        let path = self.dir.join(state.tail().file_name());
        let bytes = end.max(self.segment_bytes);
        if let Err(error) = state.appender()?.grow(bytes) {
            let error = Error::io("allocate", error).at_path(&path);
            return if error.is_full() { Err(error) } else { state.guard(Err(error)) };
        }
        let synced = state.appender()?.file.sync_all();
        state.guard(synced.map_err(|error| broken("sync", error).at_path(&path)))
    }

    pub(super) fn truncate_front(&self, before: Position) -> Result<()> {
        let mut state = self.idle()?;
        state.open(&self.dir)?;
        let mut noted = true;
        loop {
            self.advance_if_there_is_space(&mut state)?;
            let goes =
                |pair: &[(SegmentName, Arc<F::File>)]| 2 * pair[1].0.index.saturating_sub(1) < before.0;
            let count = state.segments.windows(2).take_while(|pair| goes(pair)).count();
            let begins = state.segments[count].0.index.saturating_sub(1);
            if count > 0 || !noted {
                noted = self.note(&mut state, begins)?;
            }
            if count == 0 {
                return Ok(());
            }
            for (name, file) in state.segments.drain(..count).collect::<Vec<_>>() {
                let (path, temporary) = (self.dir.join(name.file_name()), self.dir.join(TEMPORARY));
                // One by one: an older segment that came back without a newer one would leave a hole. And who opens the log
                // after a failure is to see it.
                let removed = self.fs.rename(&path, &temporary).and_then(|()| {
                    self.fs.sync_dir(&self.dir).inspect_err(|_| drop(self.fs.rename(&temporary, &path)))
                });
                drop((file, self.fs.remove(&temporary)));
                state.guard(removed.map_err(|error| broken("remove", error).at_path(&path)))?;
            }
        }
    }

    /// Says that what is up to `index` is elsewhere: a real etcd opens the rest at this snapshot. Whether there was
    /// space to say it.
    fn note(&self, state: &mut State<F>, index: u64) -> Result<bool> {
        let appender = state.appender()?;
        let end = appender.end() + OVERHEAD_BYTES;
        if end > appender.allocated()
            && let Err(error) = self.grow(state, end)
        {
            return if error.is_full() { Ok(false) } else { Err(error) };
        }
        let record = SnapshotRecord::new(index, TERM).encode();
        state.appender()?.buffer(kind::SNAPSHOT, Head([]), [&record]);
        self.settle(state).map(|()| true)
    }
}

/// Begins a segment: allocated, or its head alone where there is no space for more; then its head durable, then its
/// name.
pub(super) fn begin<F: Fs>(
    fs: &F,
    dir: &Path,
    name: SegmentName,
    crc: u32,
    commit: u64,
    bytes: u64,
) -> Result<Appender<F::File>> {
    let temporary = dir.join(TEMPORARY);
    drop(fs.remove(&temporary));
    let file = fs.create_new(&temporary).map_err(|error| Error::io("create", error).at_path(&temporary))?;
    lock(&file, &temporary)?;
    let mut appender = Appender::new(Arc::new(file), 0, 0, crc);
    let allocated = match appender.grow(bytes) {
        Err(error) if is_full(&error) => appender.grow(HEAD_BYTES.min(bytes)),
        done => done,
    };
    let written = allocated.and_then(|()| {
        appender.head(Some(METADATA))?;
        if name.seq == 0 {
            appender.record(kind::SNAPSHOT, Some(&SnapshotRecord::default().encode()))?;
        }
        if commit > 0 {
            appender.state(&HardState { term: TERM, vote: TERM, commit })?;
        }
        appender.flush()
    });
    if let Err(error) = written {
        drop(fs.remove(&temporary));
        return Err(Error::io("write", error).at_path(&temporary));
    }
    let path = dir.join(name.file_name());
    if let Err(error) = recover::vacant(fs, &path) {
        drop(fs.remove(&temporary));
        return Err(error);
    }
    if let Err(error) = fs.publish(&appender.file, &temporary, &path) {
        // Whether the name is durable nobody would know, and who opens the log next would go on under it.
        drop(fs.remove(&path));
        return Err(broken("publish", error).at_path(&path));
    }
    Ok(appender)
}
