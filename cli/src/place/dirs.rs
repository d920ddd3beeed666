//! The directories of an engine that a verb writes to.

use std::path::Path;

use tsmith_engine::manifest::MANIFEST_NAME;
use tsmith_engine::{Dirs, Manifest, Registry};
use tsmith_wal::fs::OsFs;

use super::log;
use super::owner::Owner;
use super::tree::Tree;
use crate::exit::{Failure, Result};
use crate::problem::missing_parts;

/// The directories of the engine at `data`, for `verb`, which writes to a single shard.
pub(crate) fn dirs(verb: &str, data: &Path, wal: Option<&Path>, registry: &Registry) -> Result<Dirs> {
    for dir in [Some(data), wal].into_iter().flatten() {
        if let Some(owner) = Owner::of(dir) {
            return Err(owner.refuse(verb, dir));
        }
        if let Some(dangling) = Failure::dangling(dir) {
            return Err(dangling);
        }
    }
    if data.is_file() {
        return Err(Failure::Usage(format!(
            "{}: a file, but `tsmith {verb}` needs a shard or engine directory",
            data.display()
        )));
    }
    if data.is_dir() {
        Tree::refuse_above(verb, data, wal, registry)?;
        let manifest = Manifest::read(&OsFs, data).ok().flatten();
        if let Some(missing) = manifest.and_then(|manifest| missing_parts(&manifest.parts, registry)) {
            return Err(Failure::Usage(format!("{}: {missing}", data.join(MANIFEST_NAME).display())));
        }
    }
    let wal = match wal {
        Some(wal) => Some(log::named_for_writing(data, wal, registry)?),
        None => log::find_for_writing(data)?,
    };
    Ok(wal.map_or_else(|| Dirs::under(data), |wal| Dirs { data: data.to_owned(), wal }))
}
