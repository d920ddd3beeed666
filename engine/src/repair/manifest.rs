//! Rebuilds the manifest from its readable lines and from the directory.
//!
//! Only values that cannot lose data are used:
//!
//! - `wal`: the line counts only if it names the directory `wal` inside the data directory and that exists.
//!   Without a line, that directory counts if it holds segments. Any other path in a corrupt manifest may be
//!   the log of another engine, so the caller must name it.
//! - `log`: must match the segments in the log directory.
//! - `storer` and `encoder`: every known name can open every directory. Without an encoder line, the encoder
//!   of the newest file is used.
//! - `types`: without a line, `measurement` as in InfluxDB, unless files or log have mixed types. At worst
//!   this refuses writes. The other choice could create a shard that InfluxDB refuses to open. If the log is
//!   ours and there is no point, the default of a new directory is used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsmith_codecs::Decoders;
use tsmith_tsm::{Reader, Version};
use tsmith_wal::LogEntry;
use tsmith_wal::fs::{Fs, TooLong, quarantine_name, replace_corrupt_by};

use super::live::Live;
use super::{OPERATION, Repaired};
use crate::Registry;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::TsmFile;
use crate::manifest::{BYTES_MAX, MANIFEST_NAME, Manifest, is_same_directory};
use crate::parts::Parts;
use crate::schema::FieldTyping;

/// The content of a manifest that was checked or rebuilt.
#[derive(Clone, Debug)]
pub struct ManifestSalvage {
    /// The complete manifest.
    pub manifest: Manifest,
    /// Names of the lines that were unreadable or untrusted. Their values were inferred from the directory.
    pub inferred: Vec<&'static str>,
    /// What was wrong. If the manifest was missing, this is [`ErrorKind::NoManifest`] and nothing is
    /// quarantined.
    pub error: Option<Error>,
}

/// Repairs the manifest of `data`. With `dry_run` nothing is changed and the result says what would happen.
/// `wal` is the log's directory if the caller knows it. A missing manifest is rebuilt if the log has segments
/// that only Tsmith writes. Returns `None` if there is no manifest and none is needed.
///
/// # Errors
/// The log's directory is unknown ([`ErrorKind::ManifestLog`], [`ErrorKind::LogElsewhere`]) or is not `wal`,
/// or a file cannot be read or written. The manifest is then unchanged.
pub fn manifest<F: Fs>(
    registry: &Registry<F>,
    fs: &F,
    data: &Path,
    wal: Option<&Path>,
    dry_run: bool,
) -> Result<Option<Repaired<ManifestSalvage>>> {
    let path = data.join(MANIFEST_NAME);
    let error = match Manifest::read(fs, data) {
        Ok(None) if is_lost(registry, fs, data, wal)? => Error::at(OPERATION, &path, ErrorKind::NoManifest),
        Ok(None) => return Ok(None),
        Ok(Some(found)) => {
            let salvage = with_its_log(fs, data, wal, found, dry_run)?;
            return Ok(Some(Repaired::whole(salvage)));
        }
        Err(error) if error.is_io() => return Err(error),
        Err(error) => error,
    };
    let is_gone = matches!(error.kind(), ErrorKind::NoManifest);
    // Nothing in a manifest that is too long is trusted.
    let bytes = match fs.read_within(&path, BYTES_MAX) {
        _ if is_gone => Vec::new(),
        Err(error) if TooLong::of(&error).is_some() => Vec::new(),
        bytes => bytes.on(OPERATION, &path)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Lines { text: &text, inferred: Vec::new() };
    let wal = find_log(registry, fs, data, wal, &mut lines)?;
    let live = Live::look(fs, data, Some(&registry.log_reader(fs, data, &wal)))?;
    let log = find_kind(registry, fs, &wal, &mut lines)?;
    let parts = Parts {
        storer: lines
            .known("storer", |name| registry.find_storer(name).is_ok())
            .unwrap_or(Parts::default().storer),
        log: log.name().to_owned(),
        encoder: lines
            .known("encoder", |name| registry.find_encoder(name).is_ok())
            .unwrap_or_else(|| encoder_of_newest(&live.files, &registry.encoders().decoders())),
    };
    let typing = lines.known("types", |name| FieldTyping::from_name(name).is_some());
    let typing = typing
        .as_deref()
        .and_then(FieldTyping::from_name)
        .unwrap_or_else(|| typing_of(&live, log.kind().is_influx()));
    let manifest = Manifest { parts, wal: PathBuf::new(), data: None, typing }.place_log(fs, data, &wal)?;
    let inferred = lines.inferred;
    let quarantined = match (is_gone, dry_run) {
        (true, true) => None,
        (true, false) => {
            manifest.write(fs, data)?;
            None
        }
        (false, true) => Some(quarantine_name(fs, &path).on(OPERATION, &path)?),
        (false, false) => {
            Some(replace_corrupt_by(fs, &path, manifest.text().as_bytes()).on(OPERATION, &path)?)
        }
    };
    let salvage = ManifestSalvage { manifest, inferred, error: Some(error) };
    Ok(Some(Repaired { quarantined, ..Repaired::whole(salvage) }))
}

/// A valid manifest. If its own log is gone or belongs to another directory, it gets the log that the caller
/// names.
fn with_its_log<F: Fs>(
    fs: &F,
    data: &Path,
    wal: Option<&Path>,
    found: Manifest,
    dry_run: bool,
) -> Result<ManifestSalvage> {
    let (error, wal) = match (found.wal_directory(data), wal) {
        (Err(error), Some(wal)) => (error, wal),
        (Err(error), None) => return Err(error),
        (Ok(log), Some(wal)) if !is_same_directory(&log, wal) => {
            (Error::at(OPERATION, &log, ErrorKind::NoLogDirectory), wal)
        }
        (Ok(_), _) => return Ok(ManifestSalvage { manifest: found, inferred: Vec::new(), error: None }),
    };
    fs.list(wal).on(OPERATION, wal)?;
    let manifest = found.with_log_in(fs, data, wal)?;
    if !dry_run {
        manifest.write(fs, data)?;
    }
    Ok(ManifestSalvage { manifest, inferred: Vec::new(), error: Some(error) })
}

/// Whether a directory without a manifest had one: its log has segments that only Tsmith writes.
fn is_lost<F: Fs>(registry: &Registry<F>, fs: &F, data: &Path, wal: Option<&Path>) -> Result<bool> {
    let inside = data.join("wal");
    registry.owns(fs, wal.unwrap_or(&inside)).during(OPERATION)
}

/// The lines of a corrupt manifest.
struct Lines<'t> {
    text: &'t str,
    inferred: Vec<&'static str>,
}

impl<'t> Lines<'t> {
    /// The value of the line with this name, if there is exactly one.
    fn value(&self, name: &str) -> Option<&'t str> {
        let value = |line: &'t str| line.strip_prefix(name)?.strip_prefix(' ');
        let mut values = self.text.lines().filter_map(value);
        values.next().filter(|_| values.next().is_none())
    }

    /// The value of the line, if `is_known` accepts it.
    fn known(&mut self, name: &'static str, is_known: impl Fn(&str) -> bool) -> Option<String> {
        let value = self.value(name).filter(|value| is_known(value));
        if value.is_none() {
            self.inferred.push(name);
        }
        value.map(str::to_owned)
    }
}

fn find_log<F: Fs>(
    registry: &Registry<F>,
    fs: &F,
    data: &Path,
    wal: Option<&Path>,
    lines: &mut Lines<'_>,
) -> Result<PathBuf> {
    if let Some(wal) = wal {
        fs.list(wal).on(OPERATION, wal)?;
        return Ok(wal.to_owned());
    }
    let said = lines.value("wal");
    let inside = data.join("wal");
    let has_segments = match fs.list(&inside) {
        Ok(names) => Some(names.iter().any(|name| registry.is_segment(name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).on(OPERATION, &inside),
    };
    match (said, has_segments) {
        (Some("wal"), Some(_)) => Ok(inside),
        (None, Some(true)) => {
            lines.inferred.push("wal");
            Ok(inside)
        }
        _ => {
            let said = said.unwrap_or("nothing readable").to_owned();
            Err(Error::at(OPERATION, &data.join(MANIFEST_NAME), ErrorKind::ManifestLog { said }))
        }
    }
}

/// The kind of log in `wal`, by the names of its segments.
fn find_kind<'r, F: Fs>(
    registry: &'r Registry<F>,
    fs: &F,
    wal: &Path,
    lines: &mut Lines<'_>,
) -> Result<&'r LogEntry<F>> {
    let names = fs.list(wal).on(OPERATION, wal)?;
    let has_segments = |log: &LogEntry<F>| names.iter().any(|name| log.kind().is_segment(name));
    let is_empty = !registry.logs().iter().any(has_segments);
    let mut candidates = registry.logs().iter().filter(|log| is_empty || has_segments(log));
    let said = lines.value("log");
    if let Some(named) = candidates.clone().find(|log| said == Some(log.name())) {
        return Ok(named);
    }
    if let Some(said) = said.filter(|_| is_empty && names.iter().any(|name| name != "wal.lock")) {
        // The unknown files may be segments of this log.
        let log = said.to_owned();
        return Err(Error::at(OPERATION, wal, ErrorKind::UnreadableLog { log }));
    }
    lines.inferred.push("log");
    Ok(candidates.next().expect("a registry has logs"))
}

fn encoder_of_newest(files: &[Arc<TsmFile>], decoders: &Decoders) -> String {
    let entry = |reader: &Reader| {
        let key = reader.get(0)?;
        decoders.entry_of(reader.block(key, key.entry(0)?).ok()?)
    };
    let newest = files.last().map(|file| file.reader()).filter(|reader| reader.version() == Version::Tagged);
    newest.and_then(entry).map_or_else(|| Parts::default().encoder, |entry| entry.name().to_owned())
}

fn typing_of(live: &Live, is_influx: bool) -> FieldTyping {
    // If the log is ours and there is no point, the directory was never InfluxDB's.
    let is_new = !is_influx && live.is_empty();
    if is_new {
        FieldTyping::default()
    } else if live.fields.has_mixed() {
        FieldTyping::Series
    } else {
        FieldTyping::Measurement
    }
}
