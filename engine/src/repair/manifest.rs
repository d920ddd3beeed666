//! The manifest: rewritten from what of it can be read, and from what the directory holds.
//!
//! What may be put there is what cannot lose anything:
//!
//! - the log's directory is taken from its line only when that names the one inside the data directory, which is then there;
//!   without a line it is that one if it holds segments. Any other path in a corrupt file may be another engine's: the
//!   caller has to name it;
//! - the log must be of the kind that its segments have;
//! - of storer and encoder every known name opens every directory. Without a line the encoder is that of the newest file;
//! - without a line fields are typed as InfluxDB has it, unless files or log do otherwise: that refuses writes at worst,
//!   where the other could make a directory one that InfluxDB does not open. With a log of our own and no points they are
//!   typed as in a new directory.

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

/// What a manifest says, or is to say.
#[derive(Clone, Debug)]
pub struct ManifestSalvage {
    /// All of it.
    pub manifest: Manifest,
    /// The lines that could not be read, or not be believed, and were made up for from the directory.
    pub made_up: Vec<&'static str>,
    /// What was wrong; [`ErrorKind::NoManifest`] of one that was gone, of which nothing is quarantined.
    pub error: Option<Error>,
}

/// Repairs the manifest of `data`; with `dry_run` changes nothing, and tells what it would. `wal` is the log's directory if
/// the caller knows it. A directory whose log has segments of our own, or is ours in etcd's, had a manifest: one that is gone is rewritten.
/// `None` when there is none, and none is missed.
///
/// # Errors
/// Nobody knows where the log is ([`ErrorKind::ManifestLog`], [`ErrorKind::LogElsewhere`]), or it is not in `wal`; a file
/// cannot be read or written. The manifest is as before.
pub fn manifest<F: Fs>(
    registry: &Registry<F>,
    fs: &F,
    data: &Path,
    wal: Option<&Path>,
    dry_run: bool,
) -> Result<Option<Repaired<ManifestSalvage>>> {
    let path = data.join(MANIFEST_NAME);
    let error = match Manifest::read(fs, data) {
        Ok(None) if is_missed(registry, fs, data, wal)? => Error::at(OPERATION, &path, ErrorKind::NoManifest),
        Ok(None) => return Ok(None),
        Ok(Some(found)) => {
            let salvage = led_to_its_log(fs, data, wal, found, dry_run)?;
            return Ok(Some(Repaired::whole(salvage)));
        }
        Err(error) if error.is_io() => return Err(error),
        Err(error) => error,
    };
    let is_gone = matches!(error.kind(), ErrorKind::NoManifest);
    // Of one that is too long nothing is believed.
    let bytes = match fs.read_within(&path, BYTES_MAX) {
        _ if is_gone => Vec::new(),
        Err(error) if TooLong::of(&error).is_some() => Vec::new(),
        bytes => bytes.on(OPERATION, &path)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Lines { text: &text, made_up: Vec::new() };
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
    let made_up = lines.made_up;
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
    let salvage = ManifestSalvage { manifest, made_up, error: Some(error) };
    Ok(Some(Repaired { quarantined, ..Repaired::whole(salvage) }))
}

/// A manifest that is whole, made to lead to the log that the caller names where its own is gone, or another directory's.
fn led_to_its_log<F: Fs>(
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
        (Ok(_), _) => return Ok(ManifestSalvage { manifest: found, made_up: Vec::new(), error: None }),
    };
    fs.list(wal).on(OPERATION, wal)?;
    let manifest = found.with_log_in(fs, data, wal)?;
    if !dry_run {
        manifest.write(fs, data)?;
    }
    Ok(ManifestSalvage { manifest, made_up: Vec::new(), error: Some(error) })
}

/// Whether a directory without a manifest had one: its log is in segments of our own, or is one of ours in etcd's.
fn is_missed<F: Fs>(registry: &Registry<F>, fs: &F, data: &Path, wal: Option<&Path>) -> Result<bool> {
    let inside = data.join("wal");
    registry.owns(fs, wal.unwrap_or(&inside)).during(OPERATION)
}

/// The lines of a corrupt manifest.
struct Lines<'t> {
    text: &'t str,
    made_up: Vec<&'static str>,
}

impl<'t> Lines<'t> {
    /// What the one line of this name says.
    fn value(&self, name: &str) -> Option<&'t str> {
        let value = |line: &'t str| line.strip_prefix(name)?.strip_prefix(' ');
        let mut values = self.text.lines().filter_map(value);
        values.next().filter(|_| values.next().is_none())
    }

    /// What the line says, if it is a name that `is_known`.
    fn known(&mut self, name: &'static str, is_known: impl Fn(&str) -> bool) -> Option<String> {
        let value = self.value(name).filter(|value| is_known(value));
        if value.is_none() {
            self.made_up.push(name);
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
            lines.made_up.push("wal");
            Ok(inside)
        }
        _ => {
            let said = said.unwrap_or("nothing that can be read").to_owned();
            Err(Error::at(OPERATION, &data.join(MANIFEST_NAME), ErrorKind::ManifestLog { said }))
        }
    }
}

/// The log that is in `wal`, by the names of its segments.
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
        // What is there may be the segments of this log.
        let log = said.to_owned();
        return Err(Error::at(OPERATION, wal, ErrorKind::UnreadableLog { log }));
    }
    lines.made_up.push("log");
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
    // A log of our own without any point beside it: the directory was never InfluxDB's, so it is as a new one.
    let is_new = !is_influx && live.is_empty();
    if is_new {
        FieldTyping::default()
    } else if live.fields.has_mixed() {
        FieldTyping::Series
    } else {
        FieldTyping::Measurement
    }
}
