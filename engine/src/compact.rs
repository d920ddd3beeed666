//! Compaction: merges many small files into fewer files with full blocks, and drops deleted points.
//!
//! ```text
//! files ── plan: what to merge ──▶ schedule: what next, on which thread ──▶ merge ──▶ publish, unlink inputs
//!   ▲      (pure functions)          weights, limits, corrupt files           pace: bytes per second, stop   │
//!   └────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The inputs stay until the output is durable and visible to readers. If an input cannot be read, only the
//! plans that need it stop. The file is kept, reported once, and skipped until the engine is opened again.

mod pace;
mod plan;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;

use tsmith_cache::Storer;
use tsmith_codecs::BlockEncoder;
use tsmith_tsm::{Filled, Merge, MergeInput, MergeMode, Version};
use tsmith_wal::Log;

use crate::error::{Error, ErrorKind, Result};
use crate::files::{FileName, TsmFile};
use crate::output::Output;
use crate::{Engine, Inner};

use pace::Pace;
use plan::Plan;
pub(crate) use schedule::Compactor;

const OPERATION: &str = "compact";

/// What [`Engine::compact`] merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compact {
    /// What the background threads would merge, one plan after the other until nothing is due.
    Due,
    /// All files. Blocks that do not overlap and have no deleted points are copied.
    Fast,
    /// All files. Blocks that are not full are joined.
    Full,
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Input files that were merged and then removed.
    pub files_in: u64,
    /// Total length of the input files.
    pub bytes_in: u64,
    /// The new files that are still live at the end.
    pub files: Vec<PathBuf>,
    /// Total length of all files written.
    pub bytes_out: u64,
}

/// The state of compaction since the engine was opened.
#[derive(Clone, Debug, Default)]
pub struct CompactStatus {
    /// Merges running now.
    pub running: usize,
    /// Merges completed.
    pub completed: u64,
    /// Input files that were merged and then removed.
    pub files_in: u64,
    /// Bytes read by completed merges.
    pub bytes_in: u64,
    /// Bytes written by completed merges.
    pub bytes_out: u64,
    /// Why files are skipped. Each reason is listed once.
    pub failures: Vec<Error>,
}

/// Why a merge did not complete.
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
    /// Compacts now, on this thread and without a speed limit. Background merges stop first.
    ///
    /// # Errors
    /// - A file cannot be read. It stays unchanged; plans that do not need it still run.
    /// - The disk is full. All files stay unchanged.
    /// - The engine is closed.
    pub fn compact(&self, what: Compact) -> Result<CompactReport> {
        let mut report = CompactReport::default();
        self.compact_into(what, &mut report).map(|()| report)
    }

    /// Like [`Engine::compact`], but also fills in `report` when some file cannot be read.
    ///
    /// # Errors
    /// Those of [`Engine::compact`].
    pub fn compact_into(&self, what: Compact, report: &mut CompactReport) -> Result<()> {
        self.inner.check_writable(OPERATION)?;
        self.inner.compact(what, report)
    }

    /// The state of compaction.
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
            let facts = turn.facts(&self.files.load(), &self.options);
            let plans = if what == Compact::Due {
                plan::plans(&facts, false)
            } else {
                plan::everything(&facts, mode)
            };
            let mut done = plans.is_empty() || what != Compact::Due;
            for plan in plans {
                // Runs beside a corrupt file that were merged in this call are not merged again.
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
                        // The failed file splits the remaining files into other plans.
                        done = false;
                    }
                }
            }
            if done {
                return first.map_or(Ok(()), Err);
            }
        }
    }

    /// Whether a merge would copy one file block by block: nothing is deleted, no blocks overlap, and every
    /// block is as full as it can be. If a block is corrupt, the answer is false and the merge reports it.
    fn is_final(&self, plan: &Plan) -> bool {
        let [name] = plan.files[..] else { return false };
        let files = self.files.load();
        let Some(file) = files.iter().find(|file| file.name() == name) else { return false };
        let is_unchanged = file.deletions().is_empty()
            && file.reader().is_disjoint()
            && file.reader().version() == Version::of(&(self.make_encoder)());
        is_unchanged
            && file.has_final_blocks(
                &mut self.options.decoders.clone(),
                (plan.mode == MergeMode::Full).then_some(self.options.points_per_block),
            )
    }

    /// Carries out a plan. After a failure all files are as before.
    fn merge(&self, plan: &Plan, pace: &mut Pace<'_>) -> Result<CompactReport, Failure> {
        let _span = tracing::debug_span!("compaction").entered();
        let (inputs, writing) = {
            let change = self.files.change();
            // The log names the files of an unfinished delete. Under a new name the points would never be
            // deleted.
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
        // Higher than the sequence of every input, so levels rise and the name is free.
        let first = FileName { generation: newest.generation, sequence: sequence + 1 };
        let mut output = Output::new(OPERATION, &self.fs, &self.dirs.data, (first, self.options.index_bytes));
        let mut failure = None;
        let from =
            inputs.iter().map(|file| MergeInput { reader: file.reader(), deletions: file.deletions() });
        let (encoder, decoders) = ((self.make_encoder)(), self.options.decoders.clone());
        let version = Version::of(&encoder);
        let merge = Merge::new(from.collect(), plan.mode, self.options.points_per_block, encoder, decoders);
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
        let report =
            shard.write_lines(text.as_bytes(), &LineOptions::new(Timestamp(0))).expect("enough space");
        assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    }

    /// Story: two deletes ran while a compaction merged two files. Together they deleted all points of one
    /// key. The key then got another type. The new file's index still had the old type, so the directory did
    /// not open.
    #[test]
    fn a_key_of_several_deletes_is_gone_from_the_merge() {
        let fs = SimFs::default();
        let shard = open(&fs);
        for text in ["m v=1 1\na v=1 1", "m v=1 100"] {
            write(&shard, text);
            shard.snapshot().expect("enough space");
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
        shard.inner.merge(&plan, &mut Pace::new(None, &delete_once)).expect("enough space");
        assert!(is_deleted.into_inner());
        assert!(shard.files()[0].reader().find(b"m#!~#v").is_some(), "the merge had read the key before");
        let shard = open(&fs.kill());
        let column = shard.read(FieldKey::new(b"m", b"v"), TimeRange::ALL).expect("readable");
        assert_eq!((column.times(), column.field_type()), (&[50][..], FieldType::Integer));
    }

    /// Story: when publishing failed after a merge, the error named the operation `snapshot`.
    #[test]
    fn a_failed_publish_names_the_compaction() {
        let shard = open(&SimFs::default());
        for text in ["m v=1 1", "m v=1 100"] {
            write(&shard, text);
            shard.snapshot().expect("enough space");
        }
        let files = shard.files().iter().map(|file| file.name()).collect();
        let plan = Plan { kind: plan::PlanKind::Full, mode: MergeMode::Full, files };
        let become_read_only = || {
            shard.inner.worker.make_read_only();
            true
        };
        let failed =
            shard.inner.merge(&plan, &mut Pace::new(None, &become_read_only)).expect_err("read-only");
        assert_eq!(failed.error.operation(), OPERATION);
        assert!(matches!(failed.error.kind(), ErrorKind::ReadOnly), "{}", failed.error);
    }
}
