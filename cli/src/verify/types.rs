//! Checks that each field has one type.

use std::collections::HashMap;
use std::path::PathBuf;

use tsmith_codecs::SeriesKey;
use tsmith_engine::repair::LogCheck;
use tsmith_engine::{FieldKey, FieldType, FieldTyping, Manifest, Registry};
use tsmith_wal::fs::OsFs;

use crate::place::Place;
use crate::problem::Problem;

/// Measurement and field, with the type.
type Fields = HashMap<(Vec<u8>, Vec<u8>), FieldType>;

/// The types of the fields that were read so far.
#[derive(Default)]
pub(super) struct Types {
    /// The type of each field of a measurement, if all series of the measurement must agree.
    fields: Option<Fields>,
    pub(super) log: LogCheck,
    pub(super) wal: Option<PathBuf>,
}

impl Types {
    pub(super) fn of(place: &Place, registry: &Registry) -> Self {
        let Place::Directory { data, wal, .. } = place else { return Self::default() };
        let log = LogCheck::with_files(
            &OsFs,
            data,
            wal.as_deref().map(|wal| registry.log_reader(&OsFs, data, wal)).as_ref(),
        );
        // A directory without a manifest is InfluxDB's.
        let manifest = Manifest::read(&OsFs, data).ok().flatten();
        let typing = manifest.map_or(FieldTyping::Measurement, |manifest| manifest.typing);
        let fields = (typing == FieldTyping::Measurement).then(HashMap::new);
        Self { fields, log, wal: wal.clone() }
    }

    /// Records the type of a field.
    ///
    /// # Errors
    /// Another series of the measurement has the returned type, and InfluxDB requires one type for all of them.
    pub(super) fn claim(&mut self, key: FieldKey<'_>, field_type: FieldType) -> Result<(), FieldType> {
        let Some(fields) = &mut self.fields else { return Ok(()) };
        let measurement = SeriesKey(key.series).measurement().to_vec();
        let known = *fields.entry((measurement, key.field.to_vec())).or_insert(field_type);
        if known == field_type { Ok(()) } else { Err(known) }
    }
}

/// The note that two series of a measurement have different types of one field.
pub(super) fn disagreement(key: FieldKey<'_>, field_type: FieldType, known: FieldType) -> Problem {
    let reason = format!(
        "has type {field_type} here, but type {known} in another series: InfluxDB 1.x cannot open such a shard"
    );
    Problem { key: Some(key.to_string()), ..Problem::new(reason) }
}
