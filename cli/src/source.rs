//! Reads line protocol from files and cuts it into batches of complete lines. The first bytes show gzip and zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tsmith_engine::line;

use crate::context::{self, Section};
use crate::exit::{Failure, Result};

/// A batch ends with the line that brings it to this size.
const BATCH_BYTES: usize = 8 << 20;

/// A longer line is skipped and rejected. No record of the log can be longer.
pub(crate) const LINE_BYTES_MAX: usize = tsmith_wal::ENTRY_BYTES_MAX;

/// Length of the head that identifies a dump or a tar archive.
const HEAD_BYTES: usize = 512;

/// Size of a read.
const READ_BYTES: usize = 1 << 20;

/// Files that are not line protocol, by their first bytes.
const FOREIGN: &[(&[u8], &str)] = &[
    (&[0x16, 0xd1, 0x16, 0xd1], "a TSM file: `tsmith export` reads it"),
    (b"\xfd7zXZ\0", "an xz file: decompress it first"),
    (b"BZh", "a bzip2 file: decompress it first"),
    (b"PK\x03\x04", "a zip file: unpack it first"),
    (b"PAR1", "a Parquet file"),
    (b"\x7fELF", "a program"),
];

/// Complete lines of one file and one section.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The section that the lines belong to.
    pub(crate) section: Section,
    /// Whether this is a single line longer than [`LINE_BYTES_MAX`]. Then `text` is empty.
    pub(crate) is_too_long: bool,
    /// The lines.
    pub(crate) text: Vec<u8>,
    /// The beginnings of lines that were cut because they are longer than [`Limits::string_line_bytes_max`].
    pub(crate) cut: Vec<usize>,
    /// Number of the first line, counted from 1.
    pub(crate) first_line: u64,
    /// Number of line breaks, plus one if the last line has none.
    pub(crate) lines: u64,
}

/// Limits of lines and batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Lines per batch.
    pub(crate) lines_max: usize,
    /// See [`tsmith_engine::LineOptions`].
    pub(crate) string_line_bytes_max: usize,
}

/// One input.
pub(crate) struct Source {
    name: PathBuf,
    from: Box<dyn Read>,
    buffer: Vec<u8>,
    /// The beginning of the current batch.
    start: usize,
    /// The end of its lines so far.
    scanned: usize,
    /// See [`Batch::cut`].
    cut: Vec<usize>,
    ended: bool,
    /// The read error. It is returned after the lines that were read before it.
    broken: Option<io::Error>,
    line: u64,
    limits: Limits,
    section: Section,
    is_dump: bool,
    read: Arc<AtomicU64>,
    /// Length of the file, or 0 if it is unknown.
    length: u64,
}

impl Source {
    /// Opens a file, or stdin for `-`. Reads its first bytes.
    pub(crate) fn open(path: &Path, limits: Limits) -> Result<Self> {
        let failed = |error: io::Error| Failure::io(path, &error);
        let (raw, length): (Box<dyn Read>, u64) = if path == Path::new("-") {
            (Box::new(io::stdin().lock()), 0)
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(Failure::Usage(format!("{}: a directory; pass the files in it", path.display())));
            }
            (Box::new(file), metadata.len())
        };
        let read = Arc::new(AtomicU64::new(0));
        let mut raw = BufReader::with_capacity(READ_BYTES, Counted { from: raw, read: Arc::clone(&read) });
        let first = raw.fill_buf().map_err(failed)?;
        refuse_foreign(path, first)?;
        let mut is_dump = context::is_dump(&first[..first.len().min(HEAD_BYTES)]);
        let is_gzip = first.starts_with(&[0x1f, 0x8b]);
        let is_zstd = matches!(first, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        let mut from: Box<dyn Read> = if is_gzip {
            Box::new(flate2::bufread::MultiGzDecoder::new(raw))
        } else if is_zstd {
            Box::new(zstd::Decoder::with_buffer(raw).map_err(failed)?)
        } else {
            Box::new(raw)
        };
        let (mut buffer, mut broken) = (Vec::new(), None);
        if is_gzip || is_zstd {
            broken = from.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut buffer).err();
            refuse_foreign(path, &buffer)?;
            is_dump = context::is_dump(&buffer);
        }
        let (name, section) = (path.to_owned(), Section::default());
        let (start, scanned, ended, line) = (0, 0, false, 1);
        Ok(Self {
            name,
            from,
            buffer,
            start,
            scanned,
            cut: Vec::new(),
            ended,
            broken,
            line,
            limits,
            section,
            is_dump,
            read,
            length,
        })
    }

    /// Whether it begins like a dump.
    pub(crate) fn is_dump(&self) -> bool {
        self.is_dump
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> String {
        if self.is_stdin() { "stdin".to_owned() } else { self.name.display().to_string() }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.name
    }

    /// Whether it can be read only once.
    pub(crate) fn is_stdin(&self) -> bool {
        self.name == Path::new("-")
    }

    /// Bytes read so far, and the length of the file.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.length)
    }

    /// The next lines, or `None` at the end. A read error is returned after the last complete line before it.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut lines = 0;
        loop {
            let full = lines == self.limits.lines_max || self.scanned - self.start >= BATCH_BYTES;
            let rest = self.buffer.get(self.scanned..).unwrap_or_default();
            let string_line_bytes_max = self.limits.string_line_bytes_max;
            if !full && let Some(first) = line::first_line(rest, self.ended, string_line_bytes_max) {
                let len = first.len;
                let next = self.section.change(&rest[..len]);
                // A long line gets its own batch. Together with others it may not fit into a record of the log.
                if lines > 0 && (next.is_some() || len > BATCH_BYTES) {
                    return Ok(self.take());
                }
                if let Some(next) = next {
                    self.section = next;
                }
                if len > LINE_BYTES_MAX {
                    return Ok(Some(self.skip_line()));
                }
                if first.is_cut {
                    self.cut.push(self.scanned - self.start);
                }
                self.scanned += len;
                lines += 1;
                continue;
            }
            let endless = rest.len() > LINE_BYTES_MAX;
            if full || self.ended || (lines > 0 && (endless || self.broken.is_some())) {
                return Ok(self.take());
            }
            if endless {
                return Ok(Some(self.skip_line()));
            }
            if let Some(error) = &self.broken {
                return Err(self.explain(error));
            }
            self.fill();
        }
    }

    /// Takes the scanned lines as a batch.
    fn take(&mut self) -> Option<Batch> {
        let text = self.buffer.get(self.start..self.scanned).filter(|text| !text.is_empty())?.to_vec();
        self.start = self.scanned;
        let ends = newlines(&text);
        let first_line = self.line;
        self.line += ends;
        let lines = ends + u64::from(text.last() != Some(&b'\n'));
        let cut = std::mem::take(&mut self.cut);
        Some(Batch { section: self.section.clone(), is_too_long: false, lines, text, cut, first_line })
    }

    /// Skips to the end of a line.
    fn skip_line(&mut self) -> Batch {
        let first_line = self.line;
        loop {
            if let Some(len) = memchr::memchr(b'\n', &self.buffer[self.start..]) {
                self.start += len + 1;
                self.line += 1;
                break;
            }
            self.start = self.buffer.len();
            if self.ended || self.broken.is_some() {
                break;
            }
            self.scanned = self.start;
            self.fill();
        }
        self.scanned = self.start;
        let (section, text, cut) = (self.section.clone(), Vec::new(), Vec::new());
        Batch { section, is_too_long: true, text, cut, first_line, lines: 1 }
    }

    /// Reads at least as many bytes as are buffered, so that the scan of a long line takes linear time.
    fn fill(&mut self) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        let more = READ_BYTES.max(self.buffer.len() - self.scanned) as u64;
        let before = self.buffer.len();
        match self.from.by_ref().take(more).read_to_end(&mut self.buffer) {
            Ok(_) => self.ended = ((self.buffer.len() - before) as u64) < more,
            Err(error) => self.broken = Some(error),
        }
    }

    /// The read error, with the number of the first line that was not returned.
    fn explain(&self, error: &io::Error) -> Failure {
        let line = self.line;
        if error.raw_os_error().is_some() {
            return Failure::Io(format!("{}:{line}: {error}", self.name()));
        }
        let (read, _) = self.position();
        let what = if error.kind() == io::ErrorKind::UnexpectedEof { "incomplete" } else { "corrupt" };
        Failure::Problem(format!(
            "{}:{line}: the compressed file is {what} before offset {read}: {error}",
            self.name()
        ))
    }
}

/// Refuses files of known other kinds.
fn refuse_foreign(path: &Path, first: &[u8]) -> Result<()> {
    let is_tar = first.get(257..262) == Some(b"ustar");
    let tar = is_tar.then_some("a tar archive: unpack it first, and import the files in it");
    let known = || FOREIGN.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, what)| *what);
    match tar.or_else(known) {
        Some(what) => Err(Failure::Problem(format!("{}: not line protocol, but {what}", path.display()))),
        None => Ok(()),
    }
}

fn newlines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Counts the bytes that are read.
struct Counted {
    from: Box<dyn Read>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever batches are cut, lines keep their numbers, and strings keep their line breaks.
    #[test]
    fn batches_are_complete_lines() {
        let text = "m s=\"a\nb\" 1\n# c\nm v=1 2\n\nm v=2 3";
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("x.lp");
        std::fs::write(&path, text).expect("written");
        for lines_max in 1..6 {
            let limits = Limits { lines_max, string_line_bytes_max: 100 };
            let mut source = Source::open(&path, limits).expect("opens");
            let mut seen = Vec::new();
            let mut line = 1;
            while let Some(batch) = source.next_batch().expect("reads") {
                assert_eq!(batch.first_line, line);
                assert!(seen.is_empty() || seen.ends_with(b"\n"));
                line += batch.lines;
                seen.extend(batch.text);
            }
            assert_eq!((seen, line), (text.as_bytes().to_vec(), 7), "{lines_max} lines a batch");
        }
    }
}
