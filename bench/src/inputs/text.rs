//! The text of a dataset: line protocol, in batches of complete lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::error::Result;

/// Lines of one write.
const BATCH_LINES: usize = 5000;

/// The text of a dataset, in batches of complete lines.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) Vec<Vec<u8>>);

impl Text {
    /// Reads the first `lines` lines of a file, or all if `lines` is 0.
    pub(crate) fn read(path: &Path, lines: usize) -> Result<Self> {
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut input = open(path).map_err(named)?;
        let mut left = if lines == 0 { usize::MAX } else { lines };
        let (mut batches, mut batch, mut in_batch) = (Vec::new(), Vec::new(), 0);
        while left > 0 && input.read_until(b'\n', &mut batch).map_err(named)? > 0 {
            (left, in_batch) = (left - 1, in_batch + 1);
            if in_batch == BATCH_LINES {
                batches.push(std::mem::take(&mut batch));
                in_batch = 0;
            }
        }
        batches.extend((!batch.is_empty()).then_some(batch));
        if batches.is_empty() {
            return Err(format!("{}: contains no line", path.display()).into());
        }
        Ok(Self(batches))
    }
}

fn open(path: &Path) -> std::io::Result<impl BufRead> {
    let file = File::open(path)?;
    let input: Box<dyn Read> = if path.extension().is_some_and(|ext| ext == "zst") {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        Box::new(file)
    };
    Ok(BufReader::with_capacity(1 << 18, input))
}

/// How many lines a file has, as [`Text::read`] counts them.
pub(crate) fn count_lines(path: &Path) -> Result<usize> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let (mut input, mut line, mut count) = (open(path).map_err(named)?, Vec::new(), 0);
    while input.read_until(b'\n', &mut line).map_err(named)? > 0 {
        count += 1;
        line.clear();
    }
    Ok(count)
}

/// Counts the field values in line protocol. A line has one value more than it has unquoted commas between its first and second
/// blank.
pub(crate) fn count_values(text: &[u8]) -> u64 {
    let (mut count, mut blanks, mut quoted, mut escaped) = (0, 0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if blanks == 1 => quoted = !quoted,
            b'\n' if !quoted => {
                count += u64::from(blanks > 0);
                blanks = 0;
            }
            b' ' if !quoted => blanks += 1,
            b',' if !quoted && blanks == 1 => count += 1,
            _ => {}
        }
    }
    count + u64::from(blanks > 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn values_are_counted() {
        let text = b"m,t=a\\ b,u=c f=1,g=\"x, \\\"y\",h=2i 10\nm f=1 20\n\nm f=1";
        assert_eq!(count_values(text), 5);
    }

    #[test]
    fn batches_hold_complete_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.lp");
        let text: Vec<String> = (0..12_000).map(|at| format!("m f={at}i {at}")).collect();
        fs::write(&path, text.join("\n")).expect("writes");
        let lines = |limit| -> Vec<usize> {
            let Text(batches) = Text::read(&path, limit).expect("reads");
            batches
                .iter()
                .map(|batch| batch.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count())
                .collect()
        };
        assert_eq!(lines(0), [5000, 5000, 2000]);
        assert_eq!(lines(5001), [5000, 1]);
        assert_eq!(lines(5000), [5000]);
    }
}
