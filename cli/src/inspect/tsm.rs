//! Shows TSM files: header, keys, blocks.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use tsmith_codecs::name::{printable, to_text};
use tsmith_codecs::{BlockDecoder, Decoders};
use tsmith_engine::files;
use tsmith_tsm::{IndexEntry, KeyEntry, Reader, Version};

use super::encoding::Encoding;
use crate::clock::rfc3339_text;
use crate::exit::Result;
use crate::output::{Out, count};
use crate::problem::Problem;

/// The content of a TSM file.
#[derive(Serialize)]
pub(super) struct Content {
    bytes: u64,
    /// 1 is InfluxDB's, 84 is Tsmith's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index_offset: Option<u64>,
    keys: Vec<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
struct Key {
    #[serde(rename = "key")]
    name: String,
    #[serde(rename = "type")]
    field_type: &'static str,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
struct Block {
    offset: u64,
    size: u32,
    crc_ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    min: i64,
    max: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Reads a file.
pub(super) fn inspect(path: &Path, decoders: &Decoders) -> Result<Content> {
    let bytes = files::read_file(path)?;
    let length = bytes.len() as u64;
    let version = bytes.starts_with(&tsmith_tsm::format::MAGIC).then(|| bytes.get(4).copied()).flatten();
    // If the index is corrupt, the entries that can be read are shown.
    let (reader, error) = match tsmith_tsm::rescue(bytes, decoders) {
        Ok((reader, loss)) => (reader, loss.map(|loss| Problem::from(&loss.error))),
        Err(error) => {
            let error = Some(Problem::from(&error));
            return Ok(Content { bytes: length, version, index_offset: None, keys: Vec::new(), error });
        }
    };
    let error = error.or_else(|| reader.keys_without_field().next().map(|error| Problem::from(&error)));
    let mut decoders = decoders.clone();
    let key = |key: KeyEntry<'_>| Key {
        name: to_text(key.key()).into_owned(),
        field_type: key.field_type().name(),
        blocks: key.entries().map(|entry| block(&reader, &mut decoders, key, entry)).collect(),
    };
    let keys = reader.keys().map(key).collect();
    Ok(Content { bytes: length, version, index_offset: Some(reader.index_offset()), keys, error })
}

fn block(reader: &Reader, decoders: &mut Decoders, key: KeyEntry<'_>, entry: IndexEntry) -> Block {
    let IndexEntry { range, offset, size } = entry;
    let mut out = Block {
        offset,
        size,
        crc_ok: true,
        encoder: None,
        time_encoding: None,
        value_encoding: None,
        count: None,
        min: range.min,
        max: range.max,
        error: None,
    };
    match reader.block(key, entry) {
        Ok(block) => {
            let Encoding { encoder, times, values } = Encoding::of(block, decoders);
            out.encoder = Some(encoder);
            out.time_encoding = Some(times).filter(|name| *name != "-");
            out.value_encoding = Some(values).filter(|name| *name != "-");
            match decoders.count(block) {
                Ok((_, count)) => out.count = Some(count),
                Err(error) => out.error = Some(Problem::at(offset, tsmith_tsm::ErrorKind::from(error))),
            }
        }
        Err(error) => {
            out.crc_ok = !matches!(error.kind(), tsmith_tsm::ErrorKind::Checksum { .. });
            out.error = Some(Problem { key: None, ..Problem::from(&error) });
        }
    }
    out
}

impl Content {
    pub(super) fn is_corrupt(&self) -> bool {
        self.error.is_some()
            || self.keys.iter().flat_map(|key| &key.blocks).any(|block| block.error.is_some())
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<()> {
        let text = out.text();
        let version = match self.version {
            Some(version) if version == Version::Influx.byte() => "version 1, InfluxDB".to_owned(),
            Some(version) if version == Version::Tagged.byte() => "version T, Tsmith".to_owned(),
            Some(version) => format!("version {version}"),
            None => "no version".to_owned(),
        };
        let blocks: u64 = self.keys.iter().map(|key| key.blocks.len() as u64).sum();
        let index = self.index_offset.map_or_else(String::new, |at| format!(", index at {at}"));
        let mut written = writeln!(
            text,
            "  TSM {version}, {} bytes{index}, {}, {}",
            self.bytes,
            count(self.keys.len() as u64, "key"),
            count(blocks, "block")
        );
        if let Some(error) = &self.error {
            written = written.and_then(|()| writeln!(text, "  ERROR {error}"));
        }
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        for key in &self.keys {
            let written = writeln!(out.text(), "  {} ({})", printable(&key.name), key.field_type);
            debug_assert!(written.is_ok(), "writing to a vector cannot fail");
            for block in &key.blocks {
                block.print(out.text());
            }
            out.spill()?;
        }
        Ok(())
    }
}

impl Block {
    fn print(&self, text: &mut Vec<u8>) {
        let count = self.count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let names = [self.encoder, self.time_encoding, self.value_encoding];
        let encoding = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let crc = if self.crc_ok { "crc ok" } else { "CRC BAD" };
        let mut written = writeln!(
            text,
            "    offset {:>10}  size {:>7}  {crc}  {count:>5} values  {} to {}  {encoding}",
            self.offset,
            self.size,
            rfc3339_text(self.min),
            rfc3339_text(self.max),
        );
        if let Some(error) = &self.error {
            written = written.and_then(|()| writeln!(text, "    ERROR {error}"));
        }
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
    }
}
