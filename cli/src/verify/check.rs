//! Checks one file.

use std::path::Path;

use tsmith_codecs::name::to_text;
use tsmith_codecs::{BLOCK_VALUES_MAX, Decoders};
use tsmith_engine::files::TwoTypes;
use tsmith_engine::repair::unfinished_delete;
use tsmith_engine::{Column, ErrorKind, FieldKey, FieldType, Manifest, Registry, files};
use tsmith_tsm::{Deletions, ErrorKind as Tsm, Reader, TOMBSTONE_BYTES_MAX, TombstoneFile, Tombstones};
use tsmith_wal::NotReplayed;
use tsmith_wal::etcd::SNAPSHOT_BYTES_MAX;
use tsmith_wal::fs::OsFs;

use super::finding::Finding;
use super::log;
use super::types::{Types, disagreement};
use crate::etcd::{self, AfterEnd};
use crate::exit::Failure;
use crate::output::count;
use crate::place::{Member, Skipped};
use crate::problem::{Problem, missing_parts};
use crate::read;

/// Records of one log that are reported one by one. Further ones are only counted.
const NAMED_MAX: usize = 10;

/// Checks one file. Returns the number of its values, also of those that are deleted or replaced.
pub(super) fn check(member: &Member, types: &mut Types, registry: &Registry) -> (u64, Finding) {
    let mut finding = Finding::default();
    let mut values = 0;
    let (path, checked) = match member {
        Member::Manifest(path) => (path.clone(), manifest(path, &mut finding, registry)),
        Member::Tsm(path) => {
            (path.clone(), tsm(path, types, registry.encoders().decoders(), (&mut values, &mut finding)))
        }
        Member::Tombstone(path) => {
            (path.clone(), tombstone(path, types.wal.as_deref(), &mut finding, registry))
        }
        Member::Segment(path) => (path.clone(), log::segment(path, types, (&mut values, &mut finding))),
        Member::Log(path, name) => {
            (path.clone(), log::log(path, name, registry, types, (&mut values, &mut finding)))
        }
        Member::EtcdLog(path) => (path.clone(), etcd_log(path, types, &mut finding)),
        Member::EtcdSnapshot(path) => (path.clone(), etcd_snapshot(path)),
        Member::Unreadable(path, why) => {
            let is_unread = matches!(why, Failure::Io(_));
            (path.clone(), Err(Problem { is_unread, ..Problem::new(why.text()) }))
        }
        // The report lists these in lists of their own.
        Member::Skipped(Skipped { path, .. }) | Member::Leftover(Skipped { path, .. }) => {
            (path.clone(), Ok(String::new()))
        }
    };
    match checked {
        Ok(summary) => finding.summary = summary,
        Err(problem) => finding.problems.push(problem),
    }
    finding.needs_salvage = match member {
        Member::Log(..) => true,
        Member::EtcdLog(log) => tsmith_wal::etcd::is_log(&OsFs, log),
        _ => false,
    };
    finding.path = path.display().to_string();
    finding.ok = finding.problems.is_empty() && finding.unknown.is_empty();
    (values, finding)
}

fn manifest(path: &Path, finding: &mut Finding, registry: &Registry) -> Result<String, Problem> {
    let data = path.parent().unwrap_or(Path::new(""));
    match Manifest::read(&OsFs, data) {
        Ok(Some(manifest)) => {
            manifest.wal_directory(data).map_err(|error| Problem::of_engine(&error))?;
            // A part that only another build has is no corruption.
            finding.unknown.extend(missing_parts(&manifest.parts, registry).map(Problem::new));
            Ok(format!("{}, log in {}", manifest.parts, manifest.wal.display()))
        }
        Ok(None) => Err(Problem::new(ErrorKind::NoManifest)),
        Err(error) => Err(Problem::of_engine(&error)),
    }
}

fn tsm(
    path: &Path,
    types: &mut Types,
    mut decoder: Decoders,
    (held, finding): (&mut u64, &mut Finding),
) -> Result<String, Problem> {
    let bytes = files::read_file(path).map_err(|error| Problem::of_engine(&error))?;
    let reader = Reader::new(bytes).map_err(|error| Problem::from(&error))?;
    // A key whose points are all deleted may get any type. Corrupt tombstones are reported when their own file is checked.
    // The file must be regular: reading a pipe would block.
    let tombstones = Some(files::tombstones_of(path)).filter(|path| path.is_file());
    let tombstones = tombstones.and_then(|path| read::within(&path, TOMBSTONE_BYTES_MAX).ok());
    let deleted = tombstones.and_then(|bytes| TombstoneFile::read(&bytes).ok());
    let none = Deletions::new();
    let deleted = deleted.as_ref().map_or(&none, TombstoneFile::deletions);
    for TwoTypes { key, incoming, older, existing, .. } in
        types.log.two_types().iter().filter(|found| found.file.as_deref() == Some(path))
    {
        let older = older.file_name().unwrap_or_default().display();
        let reason = format!("has type {incoming} here, but type {existing} in the older file {older}");
        let key = Some(to_text(key).into_owned());
        finding.problems.push(Problem { key, ..Problem::new(reason) });
    }
    finding.problems.extend(reader.keys_without_field().map(|error| Problem::from(&error)));
    let mut column = Column::new(FieldType::Float);
    let (mut values, mut disagreements, mut unknown) = (0, 0_u64, 0_u64);
    for key in reader.keys() {
        if !deleted.covers_key(key)
            && let Some(parsed) = FieldKey::parse(key.key())
            && let Err(known) = types.claim(parsed, key.field_type())
        {
            disagreements += 1;
            if disagreements == 1 {
                finding.notes.push(disagreement(parsed, key.field_type(), known));
            }
        }
        for entry in key.entries() {
            match reader.read_block(key, entry, &mut decoder, BLOCK_VALUES_MAX, &mut column) {
                Ok(()) => values += column.len(),
                Err(error) if matches!(error.kind(), Tsm::UnknownEncoder { .. }) => {
                    // One reason for all blocks of the file.
                    if unknown == 0 {
                        finding.unknown.push(Problem::from(&error));
                    }
                    unknown += 1;
                }
                Err(error) => finding.problems.push(Problem::from(&error)),
            }
        }
    }
    if let (Some(first), Some(more @ 1..)) = (finding.unknown.last_mut(), unknown.checked_sub(1)) {
        first.reason = format!("{} (and {} more like this)", first.reason, count(more, "block"));
    }
    *held = values as u64;
    Ok(format!(
        "{}, {}, {}",
        count(reader.len(), "key"),
        count(reader.block_count(), "block"),
        count(values, "stored value")
    ))
}

fn tombstone(
    path: &Path,
    wal: Option<&Path>,
    finding: &mut Finding,
    registry: &Registry,
) -> Result<String, Problem> {
    let bytes = read::within(path, TOMBSTONE_BYTES_MAX).map_err(|error| Problem::io(&error))?;
    let mut valid = &bytes[..];
    let data = path.parent().unwrap_or(Path::new(""));
    let log = wal.map(|wal| registry.log_reader(&OsFs, data, wal));
    if let Some((at, torn)) = unfinished_delete(&OsFs, path, log.as_ref()) {
        valid = bytes.get(..at as usize).unwrap_or_default();
        let reason = format!(
            "torn tail of {}, left by a crash: the log has this delete, and the next opening completes it",
            count(torn, "byte")
        );
        finding.notes.push(Problem::at(at, reason));
    }
    let tombstones = Tombstones::new(valid).map_err(|error| Problem::from(&error))?;
    let version = tombstones.version();
    let mut records = 0_u64;
    for tombstone in tombstones {
        tombstone.map_err(|error| Problem::from(&error))?;
        records += 1;
    }
    if records == 0 && finding.notes.is_empty() {
        // InfluxDB accepts such a file.
        finding.notes.push(Problem::new("deletes nothing: the file may have been truncated to its header"));
    }
    // An engine must be able to hold the deletions in memory.
    TombstoneFile::read(valid).map_err(|error| Problem::from(&error))?;
    Ok(format!("version {version}, {}", count(records, "record")))
}

fn etcd_log(path: &Path, types: &mut Types, finding: &mut Finding) -> Result<String, Problem> {
    let is_alone = !path.is_dir();
    let found = etcd::check(path)?;
    match etcd::after_end(&found) {
        Some(AfterEnd::Lost(problem)) => return Err(problem),
        Some(AfterEnd::OfLastWrite(problem)) => finding.notes.push(problem),
        None => {}
    }
    if let Some(torn) = found.tail.as_ref().filter(|tail| tail.is_torn) {
        let reason = "torn tail, left by a crash: the next opening cuts it";
        finding.notes.push(Problem::at(torn.offset, reason).in_segment(&torn.path));
    }
    if let Some(remnant) = &found.remnant {
        let reason = "the snapshot is newer than the log: a crash came before its log record was written, so etcd ignores it";
        finding.notes.push(Problem::new(reason).in_segment(remnant));
    }
    if tsmith_wal::etcd::is_log(&OsFs, path) {
        // The log of an engine: its records hold points, and an engine must be able to replay them.
        let refused = std::mem::take(&mut types.log)
            .refused_of(&OsFs, path)
            .map_err(|error| Problem::new(error.kind()))?;
        let problem = |refused: &NotReplayed| {
            let reason = format!("the record cannot be replayed: {}", refused.reason);
            Problem::at(refused.offset, reason).in_segment(&refused.path)
        };
        finding.problems.extend(refused.iter().take(NAMED_MAX).map(problem));
        if let Some(more @ 1..) = refused.len().checked_sub(NAMED_MAX) {
            finding
                .problems
                .push(Problem::new(format!("{} more that cannot be replayed", count(more, "record"))));
        }
    }
    let (segments, records) = (count(found.segments, "segment"), count(found.records, "record"));
    let end = match found.start {
        _ if is_alone => ", checked without the segments before it".to_owned(),
        Some(start) => format!(", opens at index {}", start.index),
        None => String::new(),
    };
    let entries =
        if found.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", found.entries) };
    Ok(format!("{segments}, {records}, {entries}, commit {}{end}", found.state.commit))
}

fn etcd_snapshot(path: &Path) -> Result<String, Problem> {
    let bytes = read::within(path, SNAPSHOT_BYTES_MAX).map_err(|error| Problem::io(&error))?;
    let snapshot = tsmith_wal::etcd::Snapshot::from_file(&bytes).map_err(Problem::new)?;
    let named = snapshot.record().file_name();
    if path.file_name().is_some_and(|name| *name != *named) {
        let (index, term) = (snapshot.index, snapshot.term);
        return Err(Problem::new(format!(
            "the file contains the snapshot at index {index}, term {term}, and should be named {named}"
        )));
    }
    Ok(format!("snapshot at index {}, term {}", snapshot.index, snapshot.term))
}
