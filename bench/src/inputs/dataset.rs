//! Cuts a file of line protocol to a number of lines and parses it, once for a run.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use tsmith_codecs::{Batch, Timestamp, Value, ValuesRef};
use tsmith_engine::line::{AnySchema, LineOptions, first_line, parse};

use super::fnv1a;
use super::prepared::PointWriter;
use crate::failure::Failure;

/// How much of a dataset a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) lines: usize,
    pub(crate) series: usize,
    pub(crate) lines_of_all: usize,
    pub(crate) series_of_all: usize,
}

/// Prepares the line protocol in the file `from` and writes its points to `to`. Keeps complete series, in the order of a hash
/// of their keys, until there are `lines` lines; 0 keeps all.
///
/// The first lines of a file with many series would give each series few points, and so short blocks that no real directory
/// has. The series that appear first have more points than most. A hash takes series like those of the whole file.
pub(crate) fn prepare(from: &Path, lines: usize, to: &Path) -> Result<Used, Failure> {
    let text = read(from).map_err(|error| Failure::io(from, &error))?;
    let mut cut = Cut::new(&text, if lines == 0 { usize::MAX } else { lines });
    let options = LineOptions::new(Timestamp(0));
    let (mut writer, mut spare) = (PointWriter::default(), Batch::default());
    for (at, line) in points_of(&text) {
        if !cut.keeps(line) {
            continue;
        }
        let mut builder = spare.recycle();
        if let Some(rejected) = parse(line, &options, &mut AnySchema, &mut builder).first() {
            return Err(Failure::Usage(format!("{}: line {at}: {}", from.display(), rejected.reason)));
        }
        let batch = builder.finish();
        add(&batch, &mut writer);
        spare = batch.cleared();
    }
    if writer.point_count() == 0 {
        return Err(Failure::Usage(format!("{}: contains no point", from.display())));
    }
    writer.write_to(to).map_err(|error| Failure::io(to, &error))?;
    Ok(Used {
        lines: writer.point_count(),
        series: writer.series_count(),
        lines_of_all: cut.lines_of_all,
        series_of_all: cut.left.len(),
    })
}

/// Reads a file. The first bytes show whether it is compressed.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    File::open(path)?.read_to_end(&mut bytes)?;
    match bytes {
        _ if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => {
            zstd::Decoder::new(&bytes[..])?.read_to_end(&mut text)?
        }
        _ if bytes.starts_with(&[0x1f, 0x8b]) => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text)?
        }
        _ => return Ok(bytes),
    };
    Ok(text)
}

/// The lines that hold a point, each with the number of its first line.
fn points_of(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let (mut rest, mut number) = (text, 1);
    let next = move || {
        let first = first_line(rest, true, tsmith_engine::line::STRING_LINE_BYTES_MAX)?;
        let (line, tail) = rest.split_at(first.len);
        let at = number;
        number += line.split(|&byte| byte == b'\n').count() - 1;
        rest = tail;
        Some((at, line))
    };
    let holds_point = |line: &[u8]| line.trim_ascii_start().first().is_some_and(|&byte| byte != b'#');
    std::iter::from_fn(next).filter(move |(_, line)| holds_point(line))
}

/// The series of a line as it stands there: the text before its first blank without a backslash.
fn series_of(line: &[u8]) -> &[u8] {
    let is_end = |at: &usize| line[*at] == b' ' && (*at == 0 || line[at - 1] != b'\\');
    let end = (0..line.len()).find(is_end).unwrap_or(line.len());
    &line[..end]
}

/// Which lines a run uses.
#[derive(Debug)]
struct Cut<'a> {
    /// For each series of the file, how many of its lines are still to be used.
    left: HashMap<&'a [u8], usize>,
    lines_of_all: usize,
}

impl<'a> Cut<'a> {
    fn new(text: &'a [u8], lines: usize) -> Self {
        let mut counts: Vec<usize> = Vec::new();
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        for (_, line) in points_of(text) {
            let at = *places.entry(series_of(line.trim_ascii_start())).or_insert(counts.len());
            if at == counts.len() {
                counts.push(0);
            }
            counts[at] += 1;
        }
        let lines_of_all = counts.iter().sum();
        let mut by_hash: Vec<(u64, &[u8], usize)> =
            places.iter().map(|(series, &at)| (fnv1a(series), *series, at)).collect();
        by_hash.sort_unstable();
        let mut left = lines;
        for (_, _, at) in by_hash {
            counts[at] = counts[at].min(left);
            left -= counts[at];
        }
        Self { left: places.into_iter().map(|(series, at)| (series, counts[at])).collect(), lines_of_all }
    }

    /// Whether the run uses this line. Call it once for each line, in order.
    fn keeps(&mut self, line: &'a [u8]) -> bool {
        let left = self.left.get_mut(series_of(line.trim_ascii_start())).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// Adds the point of a batch of one line.
fn add(batch: &Batch<'_>, writer: &mut PointWriter) {
    let Some(series) = batch.series().next() else { return };
    let (mut fields, mut time) = (Vec::new(), 0);
    for column in series.columns() {
        let data = column.data();
        time = data.times()[0];
        let value = match data.values() {
            ValuesRef::Float(values) => Value::Float(values[0]),
            ValuesRef::Integer(values) => Value::Integer(values[0]),
            ValuesRef::Unsigned(values) => Value::Unsigned(values[0]),
            ValuesRef::Boolean(values) => Value::Boolean(values[0]),
            ValuesRef::String(values) => Value::String(values.get(0)),
        };
        fields.push((column.field(), value));
    }
    writer.point(series.key().0, time, &fields);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::super::prepared::Points;
    use super::*;

    const TEXT: &str =
        "# two series\nm,h=a f=1 1\nm,h=b f=2 1\n\nm,h=a f=3 2\nm,h=b s=\"x\ny\" 2\nm,h=a f=5 3\n";

    fn times(dir: &Path, file: &str, lines: usize) -> (Used, Vec<(String, Vec<i64>)>) {
        let to = dir.join("points");
        let used = prepare(&dir.join(file), lines, &to).expect("valid lines");
        let points = Points::read(&to).expect("reads");
        let batches = points.batches(100, 1).expect("complete");
        let of = |(key, column): (tsmith_codecs::FieldKey<'_>, tsmith_codecs::ColumnRef<'_>)| {
            (String::from_utf8_lossy(&key.to_composite()).into_owned(), column.times().to_vec())
        };
        (used, batches[0].columns().map(of).collect())
    }

    #[test]
    fn complete_series_are_kept_until_lines_are_reached() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("x.lp"), TEXT).expect("writes");
        let (used, all) = times(dir.path(), "x.lp", 0);
        assert_eq!(used, Used { lines: 5, series: 2, lines_of_all: 5, series_of_all: 2 });
        assert_eq!(all.len(), 3);
        // The hash of the second series is smaller.
        let [f, s] = ["f", "s"].map(|field| format!("m,h=b#!~#{field}"));
        let b = [(f, vec![1]), (s, vec![2])];
        let (used, cut) = times(dir.path(), "x.lp", 4);
        assert_eq!((used.lines, used.lines_of_all), (4, 5));
        assert_eq!(cut[0], ("m,h=a#!~#f".to_owned(), vec![1, 2]), "the last series is cut");
        assert_eq!(cut[1..], b);
        assert_eq!(times(dir.path(), "x.lp", 2).1, b);
    }

    #[test]
    fn compressed_files_are_recognised_by_content() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(TEXT.as_bytes()).expect("memory");
        fs::write(dir.path().join("x.lp.gz"), gzip.finish().expect("memory")).expect("writes");
        fs::write(dir.path().join("x.lp.zst"), zstd::encode_all(TEXT.as_bytes(), 0).expect("memory"))
            .expect("writes");
        assert_eq!(times(dir.path(), "x.lp.gz", 0), times(dir.path(), "x.lp.zst", 0));
    }

    #[test]
    fn a_bad_line_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().expect("a directory");
        let from = dir.path().join("x.lp");
        fs::write(&from, "m f=1 1\nm f= 2\n").expect("writes");
        let error = prepare(&from, 0, &dir.path().join("points")).expect_err("line 2").to_string();
        assert!(error.contains("x.lp: line 2: "), "{error}");
    }
}
