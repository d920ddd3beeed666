//! Shared by several tests: the vectors and a plain encoder.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};

use tsmith_tsm::codecs::{self, StringColumn, Value, Values, ValuesRef};
use tsmith_tsm::{
    BlockDecoder, BlockEncoder, Bytes, Column, ColumnRef, Deletions, FieldType, Reader, TimeRange,
    TombstoneFile, Version, Writer, format,
};

/// The directory of the vectors: that of the environment variable, or else the copy beside this file.
fn vectors() -> PathBuf {
    let copy = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1");
    std::env::var_os("TSMITH_VECTORS_TSM1").map_or_else(copy, PathBuf::from)
}

/// A file of the vectors.
pub(crate) fn vector(path: &str) -> Vec<u8> {
    let path = vectors().join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every vector file whose name has this ending, with its path.
pub(crate) fn vectors_ending_in(end: &str) -> Vec<(String, Vec<u8>)> {
    let (mut directories, mut found) = (vec![vectors()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push((path.to_string_lossy().into_owned(), fs::read(&path).expect("reads")));
            }
        }
    }
    found
}

/// The lines of `expected/<name>.jsonl`, or of its compressed copy.
pub(crate) fn expected(name: &str) -> Vec<serde_json::Value> {
    let plain = vectors().join("expected").join(format!("{name}.jsonl"));
    let text = fs::read(&plain).unwrap_or_else(|_| {
        let packed = plain.with_extension("jsonl.zst");
        let file = fs::File::open(&packed).unwrap_or_else(|error| panic!("{}: {error}", packed.display()));
        zstd::decode_all(file).expect("an intact zstd file")
    });
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a JSON line")).collect()
}

/// The vector files with this extension that have a list of expected content, and the lines of the list. The first line
/// holds facts about the file, among them its path.
pub(crate) fn listed(extension: &str) -> Vec<(String, Vec<serde_json::Value>)> {
    let names = fs::read_dir(vectors().join("expected")).expect("a directory");
    let names = names.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    let mut found = Vec::new();
    for name in names {
        let Some(name) = name.strip_suffix(".zst").unwrap_or(&name).strip_suffix(".jsonl") else { continue };
        let lines = expected(name);
        // Some lists describe a directory.
        let Some(path) = lines[0]["file"].as_str() else { continue };
        if path.ends_with(extension) {
            found.push((path.to_owned(), lines));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!found.is_empty(), "no list of a file that ends with {extension}");
    found
}

/// The paths of the TSM files in a directory of the vectors, by name.
pub(crate) fn files_of(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(vectors().join(directory)).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "tsm"));
    let names = paths.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let mut files: Vec<String> = names.map(|name| format!("{directory}/{name}")).collect();
    files.sort_unstable();
    files
}

/// The generations of a directory of the vectors, oldest first, with their tombstones.
pub(crate) fn generations(directory: &str) -> Vec<(Reader, Deletions)> {
    let open = |path: String| {
        let reader = Reader::new(Bytes::from(vector(&path))).expect("opens");
        let tombstones = path.replace(".tsm", ".tombstone");
        if !vectors().join(&tombstones).exists() {
            return (reader, Deletions::new());
        }
        let file = TombstoneFile::read(&vector(&tombstones)).expect("reads");
        assert_eq!(file.torn_bytes(), 0);
        (reader, file.deletions().clone())
    };
    files_of(directory).into_iter().map(open).collect()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A simple encoder whose blocks begin with InfluxDB's type bytes.
#[derive(Debug, Default)]
pub(crate) struct Plain;

impl BlockEncoder for Plain {
    fn tags(&self) -> &'static [u8] {
        &[0, 1, 2, 3, 4]
    }

    fn is_influx_readable(&self) -> bool {
        true
    }

    fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> codecs::Result<()> {
        out.push(format::type_byte(column.field_type()));
        out.extend((column.len() as u32).to_be_bytes());
        column.times().iter().for_each(|time| out.extend(time.to_be_bytes()));
        match column.values() {
            ValuesRef::Float(v) => v.iter().for_each(|v| out.extend(v.to_bits().to_be_bytes())),
            ValuesRef::Integer(v) => v.iter().for_each(|v| out.extend(v.to_be_bytes())),
            ValuesRef::Unsigned(v) => v.iter().for_each(|v| out.extend(v.to_be_bytes())),
            ValuesRef::Boolean(v) => out.extend(v.iter().map(|&v| u8::from(v))),
            ValuesRef::String(v) => v.iter().for_each(|v| {
                out.extend((v.len() as u32).to_be_bytes());
                out.extend(v);
            }),
        }
        Ok(())
    }
}

impl BlockDecoder for Plain {
    fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> codecs::Result<()> {
        let cut = || codecs::Error::corrupt(block.len(), "a longer block");
        let (tag, rest) = block.split_first().ok_or_else(cut)?;
        let field_type = format::field_type(*tag).ok_or(codecs::Error::unknown_tag(*tag))?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let count = u32::from_be_bytes(*count) as usize;
        if count > limit {
            return Err(codecs::Error::too_many(count as u64, limit));
        }
        let mut take = |len: usize| {
            let (taken, left) = rest.split_at_checked(len).ok_or_else(cut)?;
            rest = left;
            Ok(taken)
        };
        let word = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
        let times = take(count * 8)?.chunks(8).map(|time| word(time) as i64).collect();
        let values = match field_type {
            FieldType::Float => {
                Values::Float(take(count * 8)?.chunks(8).map(|v| f64::from_bits(word(v))).collect())
            }
            FieldType::Integer => {
                Values::Integer(take(count * 8)?.chunks(8).map(|v| word(v) as i64).collect())
            }
            FieldType::Unsigned => Values::Unsigned(take(count * 8)?.chunks(8).map(word).collect()),
            FieldType::Boolean => Values::Boolean(take(count)?.iter().map(|&v| v != 0).collect()),
            FieldType::String => {
                let mut strings = StringColumn::default();
                for _ in 0..count {
                    let len = u32::from_be_bytes(take(4)?.try_into().expect("four bytes"));
                    strings.push(take(len as usize)?);
                }
                Values::String(strings)
            }
        };
        *out = Column::from_parts(times, values).ok_or_else(cut)?;
        Ok(())
    }
}

/// A key with its columns, one per block.
pub(crate) type Keyed = (Vec<u8>, Vec<Column>);

/// The bytes of a file with these keys.
pub(crate) fn write<E: BlockEncoder + Default>(version: Version, keys: &[Keyed]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), version);
    for (key, columns) in keys {
        for column in columns {
            let mut block = Vec::new();
            E::default().encode(column.as_ref(), &mut block).expect("encodes");
            writer.write_block(key, column.field_type(), range_of(column), &block).expect("writes");
        }
    }
    let (file, summary) = writer.finish().expect("finishes");
    assert_eq!(summary.file_bytes, file.len() as u64);
    file
}

/// Every key and every column of a file.
pub(crate) fn read<E: BlockEncoder + Default>(file: &[u8]) -> tsmith_tsm::Result<Vec<Keyed>> {
    let reader = Reader::new(Bytes::copy_from_slice(file))?;
    let mut keys = Vec::new();
    for key in reader.keys() {
        let mut columns = Vec::new();
        for entry in key.entries() {
            let mut column = Column::new(FieldType::Float);
            reader.read_block(key, entry, &mut E::default(), 100_000, &mut column)?;
            columns.push(column);
        }
        keys.push((key.key().to_vec(), columns));
    }
    Ok(keys)
}

pub(crate) fn range_of(column: &Column) -> TimeRange {
    let times = column.times();
    TimeRange::new(times[0], times[times.len() - 1])
}

/// A column with these points.
pub(crate) fn column(field_type: FieldType, points: &[(i64, Value<'_>)]) -> Column {
    let mut column = Column::new(field_type);
    for (time, value) in points {
        column.push(*time, *value).expect("one type");
    }
    column
}

/// The bytes of a file with one key and these blocks, which may overlap. The writer would refuse them.
pub(crate) fn overlapping<E: BlockEncoder + Default>(key: &[u8], blocks: &[Column]) -> Vec<u8> {
    let mut file = [&format::MAGIC[..], &[Version::of(&E::default()).byte()]].concat();
    let mut index = [&(key.len() as u16).to_be_bytes()[..], key].concat();
    index.push(format::type_byte(blocks[0].field_type()));
    index.extend((blocks.len() as u16).to_be_bytes());
    for column in blocks {
        let mut block = Vec::new();
        E::default().encode(column.as_ref(), &mut block).expect("encodes");
        let range = range_of(column);
        index.extend([range.min.to_be_bytes(), range.max.to_be_bytes()].concat());
        index.extend((file.len() as u64).to_be_bytes());
        index.extend((block.len() as u32 + 4).to_be_bytes());
        file.extend(crc32fast::hash(&block).to_be_bytes());
        file.extend(block);
    }
    let offset = file.len() as u64;
    file.extend(index);
    file.extend(offset.to_be_bytes());
    file
}

/// The column of a line of an expected file: `type` and `values`.
pub(crate) fn expected_column(line: &serde_json::Value) -> Column {
    let name = line["type"].as_str().expect("a type");
    let field_type = FieldType::ALL.into_iter().find(|t| t.name() == name).expect("a type");
    let mut column = Column::new(field_type);
    for point in line["values"].as_array().expect("values") {
        let (time, value) = (point[0].as_i64().expect("a time"), &point[1]);
        let bytes = value.as_str().map(hex).unwrap_or_default();
        let value = match column.field_type() {
            FieldType::Float => Value::Float(f64::from_be_bytes(bytes[..].try_into().expect("16 digits"))),
            FieldType::Integer => Value::Integer(value.as_i64().expect("an integer")),
            FieldType::Unsigned => Value::Unsigned(value.as_u64().expect("an unsigned integer")),
            FieldType::Boolean => Value::Boolean(value.as_bool().expect("a boolean")),
            FieldType::String => Value::String(&bytes),
        };
        column.push(time, value).expect("one type");
    }
    column
}
