//! The manifest: a small text file with the parts that a directory was created with.
//!
//! ```text
//! tsmith 1
//! storer ring
//! log file
//! encoder tsm1
//! wal ../../../../wal/db/rp/1
//! types measurement
//! data data/db/rp/1
//! crc 3bf954b3
//! ```
//!
//! `wal` is the path of the log's directory, relative to the data directory. So a copied or moved tree uses
//! its own log. If that path leaves the data directory, `data` holds the last components of the data
//! directory's own path, up to the common parent. If a directory's path ends differently, it was copied or
//! moved without its log, and `wal` could point to the log of another engine. A directory without a manifest
//! is InfluxDB's. `crc` is the CRC-32 of the lines before it, so a corrupt path never leads to another log.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use tsmith_wal::fs::{Fs, publish_new};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::parts::Parts;
use crate::schema::FieldTyping;

/// Name of the manifest in the data directory.
pub const MANIFEST_NAME: &str = "tsmith.manifest";

/// Maximum length of a manifest: short names, and two paths of at most 4 KiB each.
pub(crate) const BYTES_MAX: u64 = 64 << 10;

const FIRST_LINE: &str = "tsmith 1";

const PLACE: &str = "set the log's directory";

/// The content of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The parts the directory was created with.
    pub parts: Parts,
    /// The log's directory, as written in the manifest.
    pub wal: PathBuf,
    /// The last components of the data directory's path, if `wal` leaves the data directory.
    pub data: Option<PathBuf>,
    /// The scope in which a field keeps one type.
    pub typing: FieldTyping,
}

impl Manifest {
    /// Reads the manifest of `data`. `None` if there is none.
    pub fn read<F: Fs>(fs: &F, data: &Path) -> Result<Option<Self>> {
        const OPERATION: &str = "read manifest";
        let path = data.join(MANIFEST_NAME);
        let bytes = match fs.read_within(&path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).on(OPERATION, &path),
        };
        let bad = |(line, expected)| Error::at(OPERATION, &path, ErrorKind::Manifest { line, expected });
        let text = std::str::from_utf8(&bytes).map_err(|_| bad((1, "text in UTF-8")))?;
        Self::parse(text).map(Some).map_err(bad)
    }

    fn parse(text: &str) -> std::result::Result<Self, (usize, &'static str)> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err((1, "`tsmith 1`, the only version of the format that this build reads"));
        }
        let mut value = |line, name: &str, expected| {
            let value =
                lines.next().and_then(|text| text.strip_prefix(name)).and_then(|v| v.strip_prefix(' '));
            value.filter(|v| !v.is_empty()).map(str::to_owned).ok_or((line, expected))
        };
        let parts = Parts {
            storer: value(2, "storer", "`storer NAME`")?,
            log: value(3, "log", "`log NAME`")?,
            encoder: value(4, "encoder", "`encoder NAME`")?,
        };
        let wal = value(5, "wal", "`wal DIRECTORY`")?.into();
        let typing = value(6, "types", "`types series` or `types measurement`")?;
        let typing = FieldTyping::from_name(&typing).ok_or((6, "`types series` or `types measurement`"))?;
        let has_data = text.lines().nth(6).is_some_and(|line| line.starts_with("data "));
        let data = if has_data { Some(value(7, "data", "`data DIRECTORY`")?.into()) } else { None };
        let line = 7 + usize::from(has_data);
        let crc = value(line, "crc", "`crc` and eight hex digits")?;
        let (checked, after) = text.split_once("\ncrc ").unwrap_or((text, ""));
        if u32::from_str_radix(&crc, 16) != Ok(crc32fast::hash(format!("{checked}\n").as_bytes())) {
            return Err((line, "the checksum of the lines above"));
        }
        if after.trim_end_matches('\n') != crc {
            return Err((line + 1, "the end"));
        }
        Ok(Self { parts, wal, data, typing })
    }

    /// Durably writes the manifest into `data`.
    pub fn write<F: Fs>(&self, fs: &F, data: &Path) -> Result<()> {
        let text = self.text();
        let path = data.join(MANIFEST_NAME);
        publish_new(fs, &path, text.as_bytes()).on("write manifest", &path)
    }

    pub(crate) fn text(&self) -> String {
        let Parts { storer, log, encoder } = &self.parts;
        let (wal, types) = (self.wal.display(), self.typing.name());
        let data = self.data.as_ref().map_or_else(String::new, |data| format!("data {}\n", data.display()));
        let text = format!(
            "{FIRST_LINE}\nstorer {storer}\nlog {log}\nencoder {encoder}\nwal {wal}\ntypes {types}\n{data}"
        );
        let crc = crc32fast::hash(text.as_bytes());
        format!("{text}crc {crc:08x}\n")
    }

    /// The log's directory of the engine in `data`.
    ///
    /// # Errors
    /// The manifest was made for another directory and came here by a copy or a move. The log may still
    /// belong to that directory.
    pub fn wal_directory(&self, data: &Path) -> Result<PathBuf> {
        let here = resolved(data);
        let is_ours = match &self.data {
            Some(end) => here.ends_with(end),
            None if self.wal.components().all(|part| matches!(part, Component::Normal(_))) => {
                return Ok(data.join(&self.wal));
            }
            // A path that leaves the data directory needs the `data` line.
            None => false,
        };
        if !is_ours {
            let elsewhere = ErrorKind::LogElsewhere { wal: self.wal.clone(), end: self.data.clone() };
            return Err(Error::at("find the log", &data.join(MANIFEST_NAME), elsewhere));
        }
        let mut log = here;
        for part in self.wal.components() {
            match part {
                Component::ParentDir => drop(log.pop()),
                part => log.push(part),
            }
        }
        Ok(log)
    }

    /// This manifest with the log in `wal`, which the caller names. The caller's directory counts only if the
    /// manifest's log is gone or belongs to another directory.
    ///
    /// # Errors
    /// The log named by this manifest exists elsewhere, or [`Self::place_log`] fails.
    pub(crate) fn with_log_in<F: Fs>(&self, fs: &F, data: &Path, wal: &Path) -> Result<Self> {
        if let Ok(made_with) = self.wal_directory(data) {
            if is_same_directory(&made_with, wal) {
                // Keep the old path: the new one may be a temporary mount.
                return self.clone().place_log(fs, data, &made_with);
            }
            if !matches!(fs.list(&made_with), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
                return Err(Error::at(PLACE, data, ErrorKind::OtherLogDirectory { made_with }));
            }
        }
        self.clone().place_log(fs, data, wal)
    }

    /// Sets the log's directory of `data` to `wal`.
    ///
    /// # Errors
    /// The log belongs to another engine, or the path cannot be written to a manifest.
    pub(crate) fn place_log<F: Fs>(self, fs: &F, data: &Path, wal: &Path) -> Result<Self> {
        let refuse = |kind| Err(Error::at(PLACE, data, kind));
        let as_named = std::path::absolute(wal).unwrap_or_else(|_| wal.to_owned());
        let (data, wal) = (resolved(data), resolved(wal));
        // If a symbolic link is in the path, the owner may be found under either path.
        let owners = [&as_named, &wal]
            .map(|wal| [wal.parent().map(Path::to_owned), replaced(wal, "wal", "data")])
            .into_iter()
            .flatten()
            .flatten();
        for owner in owners.filter(|owner| !is_same_directory(owner, &data)) {
            let named = Self::read(fs, &owner)?.and_then(|manifest| manifest.wal_directory(&owner).ok());
            if named.is_some_and(|named| is_same_directory(&named, &wal)) {
                return refuse(ErrorKind::LogOfAnother { wal, owner });
            }
        }
        let common = data.components().zip(wal.components()).take_while(|(a, b)| a == b).count();
        let end: PathBuf = data.components().skip(common).collect();
        let up = end.components().map(|_| Component::ParentDir);
        let path: PathBuf = up.chain(wal.components().skip(common)).collect();
        let is_line = |path: &Path| path.to_str().is_some_and(|text| !text.contains(char::is_control));
        if path.as_os_str().is_empty() || !is_line(&path) || !is_line(&end) {
            return refuse(ErrorKind::UnwritableLogPath { path: wal });
        }
        Ok(Self { wal: path, data: Some(end).filter(|end| !end.as_os_str().is_empty()), ..self })
    }
}

/// The path with its last component `from` replaced by `to`, for example `.../data/db/rp/1` to
/// `.../wal/db/rp/1`.
pub fn replaced(path: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let parts: Vec<_> = path.components().collect();
    let at = parts.iter().rposition(|part| *part == Component::Normal(OsStr::new(from)))?;
    let name = |(i, part): (usize, &Component<'_>)| {
        if i == at { OsStr::new(to).to_owned() } else { part.as_os_str().to_owned() }
    };
    Some(parts.iter().enumerate().map(name).collect())
}

/// The absolute path, with links and dots resolved as far as it exists. The next process may run in another
/// directory.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut missing = Vec::new();
    let mut there = absolute.as_path();
    loop {
        if let Ok(resolved) = there.canonicalize() {
            return missing.iter().rev().fold(resolved, |path, name| path.join(name));
        }
        match (there.file_name(), there.parent()) {
            (Some(name), Some(above)) => {
                missing.push(name);
                there = above;
            }
            _ => return absolute,
        }
    }
}

/// Whether two paths lead to the same directory, through links or (on Unix) through two mounts.
pub fn is_same_directory(a: &Path, b: &Path) -> bool {
    resolved(a) == resolved(b) || identity(a).is_some_and(|of_a| identity(b) == Some(of_a))
}

/// Device and inode of an existing directory.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        let (wal, data) = ("../../wal/1".into(), Some("data/1".into()));
        Manifest { parts: Parts::default(), wal, data, typing: FieldTyping::Measurement }.text()
    }

    #[test]
    fn a_manifest_reads_back() {
        let manifest = Manifest::parse(&good()).expect("good");
        assert_eq!((manifest.parts, manifest.wal), (Parts::default(), "../../wal/1".into()));
        assert_eq!(manifest.data, Some("data/1".into()));
        assert_eq!(manifest.typing, FieldTyping::Measurement);
    }

    #[test]
    fn every_bit_flip_and_truncation_is_an_error() {
        let good = good().into_bytes();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // Hex digits in capitals give the same checksum.
                let same = good[at].is_ascii_alphabetic() && at + 9 >= good.len() && bit == 5;
                if let (Ok(text), false) = (std::str::from_utf8(&bad), same) {
                    assert!(Manifest::parse(text).is_err(), "byte {at}, bit {bit}: {text}");
                }
            }
        }
        for len in 0..good.len() - 1 {
            assert!(
                Manifest::parse(std::str::from_utf8(&good[..len]).expect("ASCII")).is_err(),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn a_corrupt_manifest_names_its_line() {
        for (bad, line) in [
            ("", 1),
            ("tsmith 2\n", 1),
            ("tsmith 1\nlog file\n", 2),
            ("tsmith 1\nstorer ring\nlog \n", 3),
            ("tsmith 1\nstorer ring\nlog file\nencoder tsm1\n", 5),
            ("tsmith 1\nstorer ring\nlog file\nencoder tsm1\nwal wal\ntypes none\n", 6),
            ("tsmith 1\nstorer ring\nlog file\nencoder tsm1\nwal wal\ntypes series\ncrc 00000000\n", 7),
        ] {
            assert_eq!(Manifest::parse(bad).expect_err(bad).0, line, "{bad}");
        }
        assert_eq!(Manifest::parse(&(good() + "more\n")).expect_err("more").0, 9);
    }

    #[test]
    fn replaced_finds_influxdbs_log_directory() {
        let beside = |path: &str| replaced(Path::new(path), "data", "wal");
        assert_eq!(beside("/var/data/x/data/db/rp/1"), Some("/var/data/x/wal/db/rp/1".into()));
        assert_eq!(beside("/var/x"), None);
    }
}
