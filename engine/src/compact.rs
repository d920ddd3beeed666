//! Compaction: many small files become fewer, in which blocks are full and deleted points are gone.
//!
//! ```text
//! files ── plan: which to merge (pure) ──▶ schedule: what next, on which thread ──▶ merge ──▶ publish, then unlink inputs
//!   ▲                                            weights, limits, corruption                 pace: bytes a second, breaking off
//!   └──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The inputs stay until the output is durable and shown. An input that cannot be read stops the plans that need it, and
//! no other: it is kept, reported once, and left alone until the engine is opened again.

mod pace;
mod plan;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;

use tsmith_cache::Storer;
use tsmith_codecs::BlockEncoder;
use tsmith_tsm::{Filled, Merge, MergeInput, MergeMode, POINTS_PER_BLOCK, Version};
use tsmith_wal::Log;

use crate::error::{Error, ErrorKind, Result};
use crate::files::{FileName, TsmFile};
use crate::output::Output;
use crate::{Engine, Inner};

use pace::Pace;
use plan::Plan;
pub(crate) use schedule::Compactor;

const OPERATION: &str = "compact";

/// What to compact when somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compact {
    /// What a background thread would, one after the other until nothing is due.
    Due,
    /// All files, copying blocks that neither overlap nor have deleted points.
    Fast,
    /// All files, joining blocks that are not full.
    Full,
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Files that were merged, and are gone.
    pub files_in: u64,
    /// Their length together.
    pub bytes_in: u64,
    /// The new files, as far as they were not merged again.
    pub files: Vec<PathBuf>,
    /// Length of all files that were written.
    pub bytes_out: u64,
}

/// How compaction is getting on.
#[derive(Clone, Debug, Default)]
pub struct CompactStatus {
    /// Merges that run now.
    pub running: usize,
    /// Merges that were completed since the engine was opened.
    pub completed: u64,
    /// Files that were merged, and are gone.
    pub files_in: u64,
    /// Bytes that were read and written for it.
    pub bytes_in: u64,
    /// Likewise.
    pub bytes_out: u64,
    /// Why files are left alone, each reason once.
    pub failures: Vec<Error>,
}

/// Why a merge did not come to its end.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    /// The input that cannot be read.
    corrupt: Option<FileName>,
    stopped: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, corrupt: None, stopped: false }
    }
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Engine<S, L, E> {
    /// Compacts now, on this thread and as fast as it can; what runs in the background breaks off first.
    ///
    /// # Errors
    /// A file that cannot be read: it stays as it is, and what does not need it is compacted all the same. The disk is
    /// full: all files stay as they are. The engine was closed meanwhile.
    pub fn compact(&self, what: Compact) -> Result<CompactReport> {
        let mut report = CompactReport::default();
        self.compact_into(what, &mut report).map(|()| report)
    }

    /// The same, with what was done in `report`, also beside a file that cannot be read.
    ///
    /// # Errors
    /// Those of [`Engine::compact`].
    pub fn compact_into(&self, what: Compact, report: &mut CompactReport) -> Result<()> {
        self.inner.check_writable(OPERATION)?;
        self.inner.compact(what, report)
    }

    /// How compaction is getting on.
    pub fn compaction(&self) -> CompactStatus {
        self.inner.compactor.status()
    }
}

impl<S: Storer, L: Log + ?Sized, E: BlockEncoder> Inner<S, L, E> {
    fn compact(&self, what: Compact, report: &mut CompactReport) -> Result<()> {
        let turn = self.compactor.take_turn().ok_or_else(|| Error::new(OPERATION, ErrorKind::Closed))?;
        let (mut first, mut merged) = (None, Vec::new());
        let mode = if what == Compact::Fast { MergeMode::Fast } else { MergeMode::Full };
        loop {
            let facts = turn.facts(&self.files.load(), &self.options.decoders);
            let plans = if what == Compact::Due {
                plan::plans(&facts, false)
            } else {
                plan::everything(&facts, mode)
            };
            let mut done = plans.is_empty() || what != Compact::Due;
            for plan in plans {
                // What was merged beside a corrupt file is not merged again.
                if what != Compact::Due && merged.contains(&plan.files) {
                    continue;
                }
                if what != Compact::Due && self.is_final(&plan) {
                    continue;
                }
                match turn.merge(|pace| self.merge(&plan, pace)) {
                    Ok(done) => {
                        turn.count(&done);
                        merged.push(done.names());
                        report.add(done, &plan);
                    }
                    Err(failure) => {
                        let error = failure.error.clone();
                        let others_may_work = !failure.stopped && turn.fail(&plan, failure);
                        first.get_or_insert(error);
                        if !others_may_work {
                            return first.map_or(Ok(()), Err);
                        }
                        // The file at fault parts what is left into other plans.
                        done = false;
                    }
                }
            }
            if done {
                return first.map_or(Ok(()), Err);
            }
        }
    }

    /// Whether a plan would write one file again as it is: nothing of it is deleted, no blocks overlap, and each that could
    /// be joined with the next is full. Blocks are then copied one by one. (Corrupt ones are left to the merge to tell.)
    fn is_final(&self, plan: &Plan) -> bool {
        let [name] = plan.files[..] else { return false };
        let files = self.files.load();
        let Some(file) = files.iter().find(|file| file.name() == name) else { return false };
        let as_it_is = file.deletions().is_empty()
            && file.reader().is_disjoint()
            && file.reader().version() == Version::of(&(self.make_encoder)());
        as_it_is && file.has_final_blocks(&mut self.options.decoders.clone(), plan.mode == MergeMode::Full)
    }

    /// Carries out a plan. After a failure all files are as before.
    fn merge(&self, plan: &Plan, pace: &mut Pace<'_>) -> Result<CompactReport, Failure> {
        let (inputs, writing) = {
            let change = self.files.change();
            // The log names the files that lack it; under another name their points would be there for ever.
            change
                .finish_deletes(&self.fs)
                .map_err(|error| Error::new(OPERATION, ErrorKind::DeleteWaits(Box::new(error))))?;
            let files = change.files();
            let inputs = files.iter().filter(|file| plan.files.contains(&file.name())).cloned();
            (inputs.collect::<Vec<_>>(), change.begin_writing())
        };
        let (Some(newest), Some(sequence)) = (plan.files.last(), plan.files.iter().map(|f| f.sequence).max())
        else {
            return Ok(CompactReport::default());
        };
        // Above all of theirs, so that levels rise and the name is free.
        let first = FileName { generation: newest.generation, sequence: sequence + 1 };
        let mut output = Output::new(OPERATION, &self.fs, &self.dirs.data, (first, self.options.index_bytes));
        let mut failure = None;
        let from =
            inputs.iter().map(|file| MergeInput { reader: file.reader(), deletions: file.deletions() });
        let (encoder, decoders) = ((self.make_encoder)(), self.options.decoders.clone());
        let version = Version::of(&encoder);
        let merge = Merge::new(from.collect(), plan.mode, POINTS_PER_BLOCK, encoder, decoders);
        let written = write_merged(&inputs, merge, version, &mut output, pace).map_err(|failed| {
            let error = failed.error.clone();
            failure = Some(failed);
            error
        });
        match self.publish(output, written, &writing, &plan.files, |_| false) {
            Ok(files) => Ok(CompactReport {
                files_in: inputs.len() as u64,
                bytes_in: inputs.iter().map(|file| file.reader().file_bytes()).sum(),
                bytes_out: files.iter().map(|file| file.reader().file_bytes()).sum(),
                files: files.iter().map(|file| file.path().to_owned()).collect(),
            }),
            Err(error) => Err(failure.unwrap_or_else(|| error.into())),
        }
    }
}

fn write_merged<E: BlockEncoder, F: tsmith_wal::fs::Fs>(
    inputs: &[Arc<TsmFile>],
    mut merge: Merge<'_, E>,
    version: Version,
    output: &mut Output<'_, F>,
    pace: &mut Pace<'_>,
) -> Result<(), Failure> {
    loop {
        let mut writer = output.begin(version)?;
        let filled = merge.fill(&mut writer, &mut |bytes| pace.wrote(bytes)).map_err(|failed| {
            let input = failed.input.and_then(|input| inputs.get(input));
            let path = input.map_or_else(|| output.temporary(), |file| file.path().to_owned());
            let error = Error::at(OPERATION, &path, failed.error.into());
            Failure { error, corrupt: input.map(|file| file.name()), stopped: false }
        })?;
        match filled {
            Filled::File => output.finish(writer)?,
            Filled::All if writer.estimated_bytes() == 0 => return Ok(output.drop_empty(writer)?),
            Filled::All => return Ok(output.finish(writer)?),
            Filled::Stopped => {
                let error = Error::new(OPERATION, ErrorKind::Closed);
                return Err(Failure { error, corrupt: None, stopped: true });
            }
        }
    }
}

impl CompactReport {
    fn names(&self) -> Vec<FileName> {
        let name = |path: &PathBuf| FileName::parse(path.file_name()?.to_str()?);
        self.files.iter().filter_map(name).collect()
    }

    fn add(&mut self, merged: Self, plan: &Plan) {
        let names: Vec<String> = plan.files.iter().map(ToString::to_string).collect();
        let is_gone =
            |path: &PathBuf| path.file_name().is_some_and(|name| names.iter().any(|gone| name == &**gone));
        self.files.retain(|path| !is_gone(path));
        self.files.extend(merged.files);
        self.files_in += merged.files_in;
        self.bytes_in += merged.bytes_in;
        self.bytes_out += merged.bytes_out;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tsmith_codecs::{FieldKey, FieldType, TimeRange, Timestamp};
    use tsmith_wal::FileLog;
    use tsmith_wal::testing::SimFs;

    use super::*;
    use crate::{Dirs, LineOptions, Options, Selection};

    type Shard = Engine<tsmith_cache::Ring, FileLog<SimFs>, tsmith_codecs::Tsm1>;

    fn open(fs: &SimFs) -> Shard {
        let options = Options { background: false, encode_threads: 1, ..Options::default() };
        Shard::open_on(fs.clone(), Dirs::under(Path::new("/shard")), options).expect("opens")
    }

    fn write(shard: &Shard, text: &str) {
        let report = shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).expect("room");
        assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    }

    /// Story: two deletes took the points of a key, each from a file of its own, while a compaction joined the files. Then
    /// the key got another type; the new file still had the old one by its index, and the directory did not open.
    #[test]
    fn a_key_of_several_deletes_is_gone_from_the_merge() {
        let fs = SimFs::default();
        let shard = open(&fs);
        for text in ["m v=1 1\na v=1 1", "m v=1 100"] {
            write(&shard, text);
            shard.snapshot().expect("room");
        }
        let files = shard.files().iter().map(|file| file.name()).collect();
        let plan = Plan { kind: plan::PlanKind::Full, mode: MergeMode::Full, files };
        let is_deleted = AtomicBool::new(false);
        let delete_once = || {
            if !is_deleted.swap(true, Ordering::Relaxed) {
                for time in [1, 100] {
                    let range = TimeRange::new(time, time);
                    shard.delete(Selection::Measurement(b"m"), range).expect("deletes");
                }
                write(&shard, "m v=2i 50");
            }
            true
        };
        shard.inner.merge(&plan, &mut Pace::new(None, &delete_once)).expect("room");
        assert!(is_deleted.into_inner());
        assert!(shard.files()[0].reader().find(b"m#!~#v").is_some(), "the merge had read the key before");
        let shard = open(&fs.kill());
        let column = shard.read(FieldKey::new(b"m", b"v"), TimeRange::ALL).expect("readable");
        assert_eq!((column.times(), column.field_type()), (&[50][..], FieldType::Integer));
    }
}
