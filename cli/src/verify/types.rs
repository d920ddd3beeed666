//! The types of fields, of which each has one.

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

/// The types of all that was seen so far.
#[derive(Default)]
pub(super) struct Types {
    /// Of the fields of a measurement, where those of all its series are to agree.
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
pub(super) fn disagreement(key: FieldKey<'_>, field_type: FieldType, known: FieldType) -> Problem {
    let reason = format!(
        "is of type {field_type} here, of type {known} in another series: InfluxDB 1.x does not open such a shard"
    );
    Problem { key: Some(key.to_string()), ..Problem::new(reason) }
}
