//! Checks the received files of a snapshot, a few blocks at a time, because the replica has other work.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tsmith_wal::fs::Fs;

use super::files::{List, Listed};
use super::{Error, Result};
use crate::error::Context;
use crate::files::TsmFile;

/// The files still to be checked. The first one is being read.
pub(super) struct Check {
    files: VecDeque<(PathBuf, u32)>,
    open: Option<Open>,
}

/// An open file and its next block.
struct Open {
    file: TsmFile,
    key: usize,
    entry: usize,
}

impl Check {
    /// Checks the files of a list in `dir`.
    pub(super) fn begin(dir: &Path, list: &List) -> Self {
        let file = |file: &Listed| (dir.join(file.name.to_string()), file.frame);
        Self { files: list.files.iter().map(file).collect(), open: None }
    }

    /// The name of the file being read.
    pub(super) fn file(&self) -> Option<String> {
        let (path, _) = self.files.front()?;
        Some(path.file_name()?.to_string_lossy().into_owned())
    }

    /// Reads about `bytes` more. Returns true when all blocks are valid.
    pub(super) fn go_on<F: Fs>(&mut self, fs: &F, bytes: u64) -> Result<bool> {
        let mut left = bytes;
        while let Some((path, frame)) = self.files.front() {
            let open = match self.open.take() {
                Some(open) => open,
                // This reads the complete index at once.
                None => Open::new(fs, path, *frame)?,
            };
            let Some(open) = open.go_on(path, &mut left)? else {
                self.files.pop_front();
                continue;
            };
            self.open = Some(open);
            return Ok(false);
        }
        Ok(true)
    }
}

impl Open {
    fn new<F: Fs>(fs: &F, path: &Path, frame: u32) -> Result<Self> {
        let file = TsmFile::open_path(fs, path)?;
        file.check_keys()?;
        if file.reader().frame_checksum() != frame {
            return Err(Error::Corrupt("a snapshot file whose header and index match the list"));
        }
        Ok(Self { file, key: 0, entry: 0 })
    }

    /// Reads blocks up to `left` bytes. Returns `None` at the end of the file.
    fn go_on(mut self, path: &Path, left: &mut u64) -> Result<Option<Self>> {
        let reader = self.file.reader();
        while let Some(key) = reader.get(self.key) {
            while let Some(entry) = key.entry(self.entry) {
                if *left == 0 {
                    return Ok(Some(self));
                }
                let block = reader.block(key, entry).on("check", path)?;
                *left = left.saturating_sub(block.len() as u64);
                self.entry += 1;
            }
            (self.key, self.entry) = (self.key + 1, 0);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use tsmith_codecs::Timestamp;
    use tsmith_wal::FileLog;
    use tsmith_wal::fs::FsFile;
    use tsmith_wal::testing::SimFs;

    use super::*;
    use crate::parts::{Ring, Tsm1};
    use crate::{Dirs, Engine, LineOptions, Options};

    /// Story: all files of a large snapshot were checked in one call, and the replica did not react to
    /// elections meanwhile.
    #[test]
    fn files_are_checked_block_by_block() {
        let (fs, dir) = (SimFs::default(), Path::new("/files"));
        let options = Options { background: false, ..Options::default() };
        let engine: Engine<Ring, FileLog<SimFs>, Tsm1> =
            Engine::open_on(fs.clone(), Dirs::under(Path::new("/d")), options).expect("opens");
        fs.create_dir_all(dir).expect("made");
        for file in 0..2 {
            let lines: String = (0..10).map(|key| format!("m,k={key} v={file} {file}\n")).collect();
            let written = engine.write_lines(lines.as_bytes(), &LineOptions::new(Timestamp(0)));
            assert_eq!(written.expect("writes").points, 10);
            engine.snapshot().expect("writes a file");
        }
        for file in engine.files().iter() {
            fs.link(file.path(), &dir.join(file.name().to_string())).expect("links");
        }
        let list = List::of(0, &engine.files());
        let parts = |bytes: u64| {
            let mut check = Check::begin(dir, &list);
            let mut parts = 1;
            while !check.go_on(&fs, bytes)? {
                parts += 1;
            }
            Ok::<u32, Error>(parts)
        };
        assert_eq!(parts(u64::MAX).expect("valid"), 1);
        // One block per call, and a last call that finds no more.
        assert_eq!(parts(1).expect("valid"), 20);
        // Corrupt the last block of the second file.
        let last = engine.files().last().cloned().expect("two");
        let entry = last.reader().get(9).and_then(|key| key.entry(0)).expect("ten keys");
        let file = fs.open(last.path()).expect("opens");
        file.write_all_at(b"?", entry.offset + 5).expect("written");
        for bytes in [1, u64::MAX] {
            let error = parts(bytes).expect_err("corrupt");
            let Error::Engine(error) = error else { panic!("{error}") };
            assert_eq!(error.path(), Some(&*dir.join(last.name().to_string())));
        }
    }
}
