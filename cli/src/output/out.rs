//! Buffered text output to stdout or to a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::file::OutputFile;
use crate::exit::{Failure, Result};

/// Text is written in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 18;

/// The output flags.
#[derive(Debug, Args)]
pub(crate) struct Destination {
    /// Write to this new file instead of stdout; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the --output file if it exists
    #[arg(long, requires = "output")]
    force: bool,
}

/// A buffer, and where its text is written to.
pub(crate) struct Out {
    buffer: Vec<u8>,
    to: To,
    name: PathBuf,
}

enum To {
    Stdout(io::StdoutLock<'static>),
    File(OutputFile),
}

impl Out {
    /// Stdout.
    pub(crate) fn stdout() -> Self {
        Self { buffer: Vec::new(), to: To::Stdout(io::stdout().lock()), name: "stdout".into() }
    }

    /// Opens the destination.
    pub(crate) fn open(destination: &Destination) -> Result<Self> {
        let Some(path) = destination.output.as_deref().filter(|path| *path != Path::new("-")) else {
            return Ok(Self::stdout());
        };
        let file = OutputFile::create(path, destination.force)?;
        Ok(Self { buffer: Vec::new(), to: To::File(file), name: path.to_owned() })
    }

    /// The buffer, to append text.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes the text if the buffer is full.
    pub(crate) fn spill(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Writes all text.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let to: &mut dyn Write = match &mut self.to {
            To::Stdout(stdout) => stdout,
            To::File(file) => file,
        };
        let written = to.write_all(&self.buffer).and_then(|()| to.flush());
        self.buffer.clear();
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::io(&self.name, &error),
        })
    }

    /// Writes all text, and renames an output file to its final name.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        match self.to {
            To::Stdout(_) => Ok(()),
            To::File(file) => file.finish(),
        }
    }
}
