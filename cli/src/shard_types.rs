//! Fields that have different types in different shards.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tsmith_codecs::SeriesKey;
use tsmith_codecs::name::{printable, to_text};
use tsmith_engine::manifest::replaced;
use tsmith_engine::view::View;

use crate::output::count;
use crate::place::Place;

/// How many fields the text report lists. JSON has all of them.
const FIELDS_NAMED_MAX: usize = 20;

/// How many shards the text report lists for each type of a field.
const SHARDS_NAMED_MAX: usize = 5;

/// The types of fields in each shard. Only shards in the same directory (one retention policy) are compared.
#[derive(Default)]
pub(crate) struct ShardTypes {
    fields: BTreeMap<Field, BTreeMap<&'static str, BTreeSet<PathBuf>>>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Field {
    above: PathBuf,
    measurement: Vec<u8>,
    name: Vec<u8>,
}

/// A field whose type differs between shards.
#[derive(Serialize)]
pub(crate) struct TypesDiffer {
    /// The directory of the shards.
    path: String,
    measurement: String,
    field: String,
    types: Vec<TypeIn>,
}

/// One of the types, and the shards in which the field has it.
#[derive(Serialize)]
struct TypeIn {
    #[serde(rename = "type")]
    name: &'static str,
    shards: Vec<String>,
}

impl ShardTypes {
    /// Adds the types of the fields in the shard at `path`.
    pub(crate) fn take(&mut self, path: &Path, place: &Place, view: &View) {
        let Place::Directory { data, wal, .. } = place else { return };
        // The log of a shard without a data directory is compared with the other shards of that directory.
        let is_log = wal.as_ref() == Some(data);
        let of_data = if is_log { replaced(path, "wal", "data") } else { None };
        let above = of_data.as_deref().unwrap_or(path).parent().unwrap_or(Path::new("")).to_owned();
        let mut last: Option<(Field, &'static str)> = None;
        view.field_types(&mut |key, field_type| {
            let (measurement, of_type) = (SeriesKey(key.series).measurement(), field_type.name());
            // The same field appears in every series.
            let is_last = |(field, name): &(Field, &str)| {
                *name == of_type && field.measurement == measurement && field.name == key.field
            };
            if last.as_ref().is_some_and(is_last) {
                return;
            }
            let (measurement, name) = (measurement.to_vec(), key.field.to_vec());
            let field = Field { above: above.clone(), measurement, name };
            let types = self.fields.entry(field.clone()).or_default();
            types.entry(of_type).or_default().insert(path.to_owned());
            last = Some((field, of_type));
        });
    }

    /// The fields whose types differ.
    pub(crate) fn differences(self) -> Vec<TypesDiffer> {
        let differ = |types: &BTreeMap<_, BTreeSet<PathBuf>>| {
            types.len() > 1 && types.values().flatten().collect::<BTreeSet<_>>().len() > 1
        };
        let text = |name: &[u8]| to_text(name).into_owned();
        let fields = self.fields.into_iter().filter(|(_, types)| differ(types));
        fields
            .map(|(Field { above, measurement, name }, types)| TypesDiffer {
                path: above.display().to_string(),
                measurement: text(&measurement),
                field: text(&name),
                types: types.into_iter().map(TypeIn::new).collect(),
            })
            .collect()
    }
}

impl TypeIn {
    fn new((name, shards): (&'static str, BTreeSet<PathBuf>)) -> Self {
        Self { name, shards: shards.iter().map(|shard| shard.display().to_string()).collect() }
    }
}

impl TypesDiffer {
    /// Writes a line for each field, then what the difference means.
    pub(crate) fn print_all(all: &[Self], out: &mut Vec<u8>) -> std::io::Result<()> {
        for Self { path, measurement, field, types } in all.iter().take(FIELDS_NAMED_MAX) {
            let (measurement, field) = (printable(measurement), printable(field));
            let types: Vec<_> = types.iter().map(TypeIn::text).collect();
            writeln!(out, "note {path}: {measurement} {field}: {}", types.join("; "))?;
        }
        if all.is_empty() {
            return Ok(());
        }
        let unnamed = match all.len().saturating_sub(FIELDS_NAMED_MAX) {
            0 => "",
            _ => " (--format json lists all)",
        };
        let fields = count(all.len(), "field");
        writeln!(
            out,
            "note: {fields}{unnamed} with types that differ between shards: InfluxDB opens such shards, but importing them \
             into one directory rejects the values of the later type"
        )
    }
}

impl TypeIn {
    /// `float in shard 1, 2 and 3 more`.
    fn text(&self) -> String {
        let Self { name, shards } = self;
        let named = shards.iter().take(SHARDS_NAMED_MAX).map(|shard| {
            Path::new(shard).file_name().map_or(shard.as_str().into(), OsStr::to_string_lossy).into_owned()
        });
        let named = named.collect::<Vec<_>>().join(", ");
        match shards.len().saturating_sub(SHARDS_NAMED_MAX) {
            0 => format!("{name} in shard {named}"),
            more => format!("{name} in shard {named} and {more} more"),
        }
    }
}
