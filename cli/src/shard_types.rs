//! Fields that have one type in one shard, and another type in another one.

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

/// Fields that are named as text before they are only counted; JSON has all of them.
const FIELDS_NAMED_MAX: usize = 20;

/// Shards that are named for each type of a field as text.
const SHARDS_NAMED_MAX: usize = 5;

/// The types of fields, shard by shard. Shards of one directory, a retention policy, are compared with each other.
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

/// One of its types, and where the field has it.
#[derive(Serialize)]
struct TypeIn {
    #[serde(rename = "type")]
    name: &'static str,
    shards: Vec<String>,
}

impl ShardTypes {
    /// Takes the types of the fields in the shard at `path`.
    pub(crate) fn take(&mut self, path: &Path, place: &Place, view: &View) {
        let Place::Directory { data, wal, .. } = place else { return };
        // The log of a shard whose data are gone belongs to those beside it.
        let is_log = wal.as_ref() == Some(data);
        let of_data = if is_log { replaced(path, "wal", "data") } else { None };
        let above = of_data.as_deref().unwrap_or(path).parent().unwrap_or(Path::new("")).to_owned();
        let mut last: Option<(Field, &'static str)> = None;
        view.field_types(&mut |key, field_type| {
            let (measurement, of_type) = (SeriesKey(key.series).measurement(), field_type.name());
            // The same field comes again with every series.
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
    /// Writes a line for each of them, and what it means.
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
            _ => " (--format json names all)",
        };
        writeln!(
            out,
            "note: the type of {}{unnamed} differs between shards: InfluxDB opens them, but one `tsmith import` of all of \
             them rejects values of the later type",
            count(all.len(), "field")
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
