//! The manifest: a small text file that tells with which parts a directory was made.
//!
//! ```text
//! tsmith 1
//! storer ring
//! log file
//! encoder tsm1
//! wal wal
//! types series
//! crc 0f5ee1b7
//! ```
//!
//! `wal` is the log's directory: relative when it lies in the data directory, which may then be moved, else from the root. A directory without a
//! manifest is InfluxDB's. `crc` is the CRC-32 of the lines before it: a damaged name must not lead to another log.

use std::path::{Path, PathBuf};

use tsmith_wal::fs::{Fs, publish_new};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::parts::Parts;
use crate::schema::FieldTyping;

/// Name of the manifest in the data directory.
pub const MANIFEST_NAME: &str = "tsmith.manifest";

/// The longest manifest: six short names, and a path, of which the system takes 4 KiB.
pub(crate) const BYTES_MAX: u64 = 64 << 10;

const FIRST_LINE: &str = "tsmith 1";

/// What the manifest of a directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The parts it was made with.
    pub parts: Parts,
    /// The log's directory, as written.
    pub wal: PathBuf,
    /// Among what a field keeps its type.
    pub typing: FieldTyping,
}

impl Manifest {
    /// Reads the manifest of `data`; `None` when there is none.
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
            return Err((1, "`tsmith 1`: this version of the format"));
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
        let crc = value(7, "crc", "`crc` and eight hex digits")?;
        let (checked, after) = text.split_once("crc ").unwrap_or((text, ""));
        if u32::from_str_radix(&crc, 16) != Ok(crc32fast::hash(checked.as_bytes())) {
            return Err((7, "the checksum of the lines above: one of them was changed"));
        }
        if after.trim_end_matches('\n') != crc {
            return Err((8, "the end"));
        }
        Ok(Self { parts, wal, typing })
    }

    /// Writes the manifest into `data`, durably.
    pub fn write<F: Fs>(&self, fs: &F, data: &Path) -> Result<()> {
        let text = self.text();
        let path = data.join(MANIFEST_NAME);
        publish_new(fs, &path, text.as_bytes()).on("write manifest", &path)
    }

    pub(crate) fn text(&self) -> String {
        let Parts { storer, log, encoder } = &self.parts;
        let (wal, types) = (self.wal.display(), self.typing.name());
        let text = format!(
            "{FIRST_LINE}\nstorer {storer}\nlog {log}\nencoder {encoder}\nwal {wal}\ntypes {types}\n"
        );
        let crc = crc32fast::hash(text.as_bytes());
        format!("{text}crc {crc:08x}\n")
    }

    /// The log's directory of an engine whose data directory is `data`.
    pub fn wal_directory(&self, data: &Path) -> PathBuf {
        data.join(&self.wal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        Manifest { parts: Parts::default(), wal: "wal".into(), typing: FieldTyping::Measurement }.text()
    }

    #[test]
    fn a_manifest_reads_as_it_is_written() {
        let manifest = Manifest::parse(&good()).expect("good");
        assert_eq!((manifest.parts, manifest.wal), (Parts::default(), "wal".into()));
        assert_eq!(manifest.typing, FieldTyping::Measurement);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error() {
        let good = good().into_bytes();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // The same digits in capitals are the same checksum.
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
    fn a_damaged_manifest_names_its_line() {
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
        assert_eq!(Manifest::parse(&(good() + "more\n")).expect_err("more").0, 8);
    }
}
