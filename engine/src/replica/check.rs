//! Whether the files of a snapshot are as they were once written: a part at a time, for the replica has more to do.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tsmith_wal::fs::Fs;

use super::files::{List, Listed};
use super::{Error, Result};
use crate::error::Context;
use crate::files::TsmFile;

/// Files of which the first is being read.
pub(super) struct Check {
    files: VecDeque<(PathBuf, u32)>,
    open: Option<Open>,
}

/// A file, and the block of it that comes next.
struct Open {
    file: TsmFile,
    key: usize,
    entry: usize,
}

impl Check {
    /// Of the files of a list, in this directory.
    pub(super) fn begin(dir: &Path, list: &List) -> Self {
        let file = |file: &Listed| (dir.join(file.name.to_string()), file.frame);
        Self { files: list.files.iter().map(file).collect(), open: None }
    }

    /// The name of the one that is being read.
    pub(super) fn file(&self) -> Option<String> {
        let (path, _) = self.files.front()?;
        Some(path.file_name()?.to_string_lossy().into_owned())
    }

    /// Goes on for about so many bytes. True when all blocks are whole.
    pub(super) fn go_on<F: Fs>(&mut self, fs: &F, bytes: u64) -> Result<bool> {
        let mut left = bytes;
        while let Some((path, frame)) = self.files.front() {
            let open = match self.open.take() {
                Some(open) => open,
                // This walks its index, in one go.
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
            return Err(Error::Corrupt("header and index of a snapshot's file as they were listed"));
        }
        Ok(Self { file, key: 0, entry: 0 })
    }

    /// Reads blocks while there are bytes left to read. `None` at the end of the file.
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

    /// The files of a large snapshot were checked in one go, and the replica missed elections meanwhile.
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
        assert_eq!(parts(u64::MAX).expect("whole"), 1);
        // A block more each time, and once to see that there is none.
        assert_eq!(parts(1).expect("whole"), 20);
        // The last block of the second file.
        let last = engine.files().last().cloned().expect("two");
        let entry = last.reader().get(9).and_then(|key| key.entry(0)).expect("ten keys");
        let file = fs.open(last.path()).expect("opens");
        file.write_all_at(b"?", entry.offset + 5).expect("written");
        for bytes in [1, u64::MAX] {
            let error = parts(bytes).expect_err("corrupt").to_string();
            assert!(error.contains(&last.name().to_string()), "{error}");
        }
    }
}
