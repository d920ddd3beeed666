//! One file: what is wrong with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tsmith_codecs::name::to_text;
use tsmith_codecs::{AnyDecoder, BLOCK_VALUES_MAX, SeriesKey};
use tsmith_engine::files::TwoTypes;
use tsmith_engine::repair::{LogCheck, unfinished_delete};
use tsmith_engine::{Column, ErrorKind, FieldKey, FieldType, FieldTyping, Manifest, files};
use tsmith_tsm::{Deletions, ErrorKind as Tsm, Reader, TOMBSTONE_BYTES_MAX, TombstoneFile, Tombstones};
use tsmith_wal::NotReplayed;
use tsmith_wal::etcd::SNAPSHOT_BYTES_MAX;
use tsmith_wal::fs::OsFs;

use super::{Finding, log};
use crate::etcd::{self, Behind};
use crate::exit::Failure;
use crate::flaw::Flaw;
use crate::output::count;
use crate::place::{Member, Place, Skipped};
use crate::read;

/// Records of one log that are named before they are only counted.
const NAMED_MAX: usize = 10;

/// Measurement and field, with the type.
type Fields = HashMap<(Vec<u8>, Vec<u8>), FieldType>;

/// The types of all that was seen so far.
#[derive(Default)]
pub(super) struct Types {
    /// Of the fields of a measurement, where those of all its series are to agree.
    fields: Option<Fields>,
    pub(super) log: LogCheck,
    wal: Option<PathBuf>,
}

impl Types {
    pub(super) fn of(place: &Place) -> Self {
        let Place::Directory { data, wal, .. } = place else { return Self::default() };
        let log = LogCheck::with_files(&OsFs, data, wal.as_deref());
        // Without a manifest it is InfluxDB's.
        let manifest = Manifest::read(&OsFs, data).ok().flatten();
        let typing = manifest.map_or(FieldTyping::Measurement, |manifest| manifest.typing);
        let fields = (typing == FieldTyping::Measurement).then(HashMap::new);
        Self { fields, log, wal: wal.clone() }
    }

    /// Takes the type of a field; `Err` with the one that another series of the measurement has, where InfluxDB wants one.
    pub(super) fn claim(&mut self, key: FieldKey<'_>, field_type: FieldType) -> Result<(), FieldType> {
        let Some(fields) = &mut self.fields else { return Ok(()) };
        let measurement = SeriesKey(key.series).measurement().to_vec();
        let known = *fields.entry((measurement, key.field.to_vec())).or_insert(field_type);
        if known == field_type { Ok(()) } else { Err(known) }
    }
}

/// What it means that two series of a measurement disagree about a field.
pub(super) fn disagreement(key: FieldKey<'_>, field_type: FieldType, known: FieldType) -> Flaw {
    let reason = format!(
        "is of type {field_type} here, of type {known} in another series: InfluxDB 1.x does not open such a shard"
    );
    Flaw { key: Some(key.to_string()), ..Flaw::of_all(reason) }
}

/// Checks one file. Gives how many values it holds.
pub(super) fn check(member: &Member, types: &mut Types) -> (u64, Finding) {
    let mut finding = Finding::default();
    let mut values = 0;
    let (path, checked) = match member {
        Member::Manifest(path) => (path.clone(), manifest(path, &mut finding)),
        Member::Tsm(path) => (path.clone(), tsm(path, types, &mut values, &mut finding)),
        Member::Tombstone(path) => (path.clone(), tombstone(path, types.wal.as_deref(), &mut finding)),
        Member::Segment(path) => (path.clone(), log::segment(path, types, (&mut values, &mut finding))),
        Member::EtcdLog(path) => (path.clone(), etcd_log(path, types, &mut finding)),
        Member::EtcdSnapshot(path) => (path.clone(), etcd_snapshot(path)),
        Member::Unreadable(path, why) => {
            let is_unread = matches!(why, Failure::Io(_));
            (path.clone(), Err(Flaw { is_unread, ..whole(why.text()) }))
        }
        // They are told apart from files.
        Member::Skipped(Skipped { path, .. }) | Member::Leftover(Skipped { path, .. }) => {
            (path.clone(), Ok(String::new()))
        }
    };
    match checked {
        Ok(summary) => finding.summary = summary,
        Err(flaw) => finding.problems.push(flaw),
    }
    finding.path = path.display().to_string();
    finding.ok = finding.problems.is_empty() && finding.unknown.is_empty();
    (values, finding)
}

fn manifest(path: &Path, finding: &mut Finding) -> Result<String, Flaw> {
    let data = path.parent().unwrap_or(Path::new(""));
    match Manifest::read(&OsFs, data) {
        Ok(Some(manifest)) => {
            manifest.wal_directory(&OsFs, data).map_err(|error| Flaw::of_engine(&error))?;
            // No corruption: another build has the part.
            let unknown = tsmith_engine::driver::check(&manifest.parts).err();
            finding.unknown.extend(unknown.map(|error| whole(error.kind())));
            Ok(format!("{}, log in {}", manifest.parts, manifest.wal.display()))
        }
        Ok(None) => Err(whole(ErrorKind::NoManifest)),
        Err(error) => Err(Flaw::of_engine(&error)),
    }
}

/// A flaw of a file as a whole.
pub(super) fn whole(reason: impl std::fmt::Display) -> Flaw {
    Flaw::of_all(reason)
}

fn tsm(path: &Path, types: &mut Types, held: &mut u64, finding: &mut Finding) -> Result<String, Flaw> {
    let bytes = files::read_file(path).map_err(|error| Flaw::of_engine(&error))?;
    let reader = Reader::new(bytes).map_err(|error| Flaw::from(&error))?;
    // What is deleted whole takes any type when it is written again. Tombstones that cannot be read are told by themselves.
    // A pipe would be waited for.
    let tombstones = Some(files::tombstones_of(path)).filter(|path| path.is_file());
    let tombstones = tombstones.and_then(|path| read::within(&path, TOMBSTONE_BYTES_MAX).ok());
    let deleted = tombstones.and_then(|bytes| TombstoneFile::read(&bytes).ok());
    let none = Deletions::new();
    let deleted = deleted.as_ref().map_or(&none, TombstoneFile::deletions);
    for TwoTypes { key, incoming, older, existing, .. } in
        types.log.two_types().iter().filter(|found| found.file.as_deref() == Some(path))
    {
        let older = older.file_name().unwrap_or_default().display();
        let reason = format!("is of type {incoming} here, of type {existing} in the older {older}");
        let key = Some(to_text(key).into_owned());
        finding.problems.push(Flaw { key, ..Flaw::of_all(reason) });
    }
    finding.problems.extend(reader.keys_without_field().map(|error| Flaw::from(&error)));
    let mut decoder = AnyDecoder::new();
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
            match reader.read_any_block(key, entry, &mut decoder, BLOCK_VALUES_MAX, &mut column) {
                Ok(()) => values += column.len(),
                Err(error) if matches!(error.kind(), Tsm::UnknownEncoder { .. }) => {
                    // One reason for all blocks of the file.
                    if unknown == 0 {
                        finding.unknown.push(Flaw::from(&error));
                    }
                    unknown += 1;
                }
                Err(error) => finding.problems.push(Flaw::from(&error)),
            }
        }
    }
    if let (Some(first), Some(more @ 1..)) = (finding.unknown.last_mut(), unknown.checked_sub(1)) {
        first.reason = format!("{}; so are {} more", first.reason, count(more, "block"));
    }
    *held = values as u64;
    Ok(format!(
        "{}, {}, {}",
        count(reader.len(), "key"),
        count(reader.block_count(), "block"),
        count(values, "value")
    ))
}

fn tombstone(path: &Path, wal: Option<&Path>, finding: &mut Finding) -> Result<String, Flaw> {
    let bytes = read::within(path, TOMBSTONE_BYTES_MAX).map_err(|error| Flaw::io(&error))?;
    let mut sound = &bytes[..];
    if let Some((at, torn)) = unfinished_delete(&OsFs, path, wal) {
        sound = bytes.get(..at as usize).unwrap_or_default();
        let reason =
            format!("{torn} bytes torn by a crash, written again when it is opened: the log has the delete");
        finding.notes.push(Flaw::at(at, reason));
    }
    let tombstones = Tombstones::new(sound).map_err(|error| Flaw::from(&error))?;
    let version = tombstones.version();
    let mut records = 0_u64;
    for tombstone in tombstones {
        tombstone.map_err(|error| Flaw::from(&error))?;
        records += 1;
    }
    if records == 0 && finding.notes.is_empty() {
        // Sound, as InfluxDB reads it.
        finding.notes.push(whole("deletes nothing: it may have been emptied, or cut back to its head"));
    }
    // And that an engine has room for what they say.
    TombstoneFile::read(sound).map_err(|error| Flaw::from(&error))?;
    Ok(format!("version {version}, {}", count(records, "record")))
}

fn etcd_log(path: &Path, types: &mut Types, finding: &mut Finding) -> Result<String, Flaw> {
    let is_alone = !path.is_dir();
    let found = etcd::check(path)?;
    match etcd::behind(&found) {
        Some(Behind::Lost(flaw)) => return Err(flaw),
        Some(Behind::OfLastWrite(flaw)) => finding.notes.push(flaw),
        None => {}
    }
    if let Some(torn) = &found.torn {
        let reason = "torn by a crash, cut when it is opened";
        finding.notes.push(Flaw::at(torn.offset, reason).in_segment(&torn.path));
    }
    if let Some(remnant) = &found.remnant {
        let reason = "a snapshot beyond the end of the log: received when a crash came before its record, and passed over";
        finding.notes.push(whole(reason).in_segment(remnant));
    }
    if tsmith_wal::etcd::is_log(&OsFs, path) {
        // An engine's: its records hold points, and an engine must be able to replay them.
        let refused =
            std::mem::take(&mut types.log).refused_of(&OsFs, path).map_err(|error| whole(error.kind()))?;
        let flaw = |refused: &NotReplayed| {
            let reason = format!("the record cannot be replayed: {}", refused.reason);
            Flaw::at(refused.offset, reason).in_segment(&refused.path)
        };
        finding.problems.extend(refused.iter().take(NAMED_MAX).map(flaw));
        if let Some(more @ 1..) = refused.len().checked_sub(NAMED_MAX) {
            finding.problems.push(whole(format!("{} more that cannot be replayed", count(more, "record"))));
        }
    }
    let (segments, records) = (count(found.segments.len(), "segment"), count(found.records, "record"));
    let end = match found.start {
        _ if is_alone => ", checked without those before it".to_owned(),
        Some(start) => format!(", opens at index {}", start.index),
        None => String::new(),
    };
    Ok(format!("{segments}, {records}, {} entries, commit {}{end}", found.entries, found.state.commit))
}

fn etcd_snapshot(path: &Path) -> Result<String, Flaw> {
    let bytes = read::within(path, SNAPSHOT_BYTES_MAX).map_err(|error| Flaw::io(&error))?;
    let snapshot = tsmith_wal::etcd::snap::decode(&bytes).map_err(whole)?;
    let named = tsmith_wal::etcd::snap::file_name(&snapshot.record());
    if path.file_name().is_some_and(|name| *name != *named) {
        let (index, term) = (snapshot.index, snapshot.term);
        return Err(whole(format!(
            "holds the snapshot at index {index}, term {term}, whose name is {named}: one file stands in another's place"
        )));
    }
    Ok(format!("snapshot at index {}, term {}", snapshot.index, snapshot.term))
}
