//! Shows the manifest, which names the parts that a directory was created with.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::printable;
use tsmith_engine::{ErrorKind, Manifest};
use tsmith_wal::fs::OsFs;

use crate::exit::Result;
use crate::output::Out;

/// The content of a manifest.
#[derive(Default, Serialize)]
pub(super) struct Content {
    #[serde(skip_serializing_if = "String::is_empty")]
    storer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    log: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    encoder: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    wal: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    types: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Reads the manifest at `path`.
pub(super) fn inspect(path: &Path) -> Result<Content> {
    let data = path.parent().unwrap_or(Path::new(""));
    Ok(match Manifest::read(&OsFs, data) {
        Ok(Some(manifest)) => Content {
            storer: manifest.parts.storer,
            log: manifest.parts.log,
            encoder: manifest.parts.encoder,
            wal: manifest.wal.display().to_string(),
            types: manifest.typing.name().to_owned(),
            error: None,
        },
        Ok(None) => Content { error: Some(ErrorKind::NoManifest.to_string()), ..Content::default() },
        Err(error) if error.is_io() => return Err(error.into()),
        Err(error) => Content { error: Some(error.kind().to_string()), ..Content::default() },
    })
}

impl Content {
    pub(super) fn is_corrupt(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let Self { storer, log, encoder, wal, types, error } = self;
        let written = match error {
            Some(error) => writeln!(out.text(), "  ERROR {error}"),
            None => writeln!(
                out.text(),
                "  manifest: storer {storer}, log {log} in {}, encoder {encoder}, types {types}",
                printable(wal)
            ),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        out.spill()
    }
}
