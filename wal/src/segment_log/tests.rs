use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::fs::{FsFile, SimFile, SimFs};
use crate::segment::Influx;
use crate::testing::noise;

const DIR: &str = "/wal";

/// As a map is: beyond what was reserved there is nothing.
#[derive(Debug)]
struct Narrow {
    file: SimFile,
    capacity: u32,
}

impl SegmentFile for Narrow {
    type Fs = SimFs;

    fn begin(file: SimFile, capacity: u32, _: bool, head: &[u8]) -> io::Result<Self> {
        file.allocate(0..capacity.into())?;
        file.write_all_at(head, 0)?;
        file.sync_all()?;
        Ok(Self { file, capacity })
    }

    fn write(&mut self, bytes: &[u8], at: u32) -> io::Result<()> {
        assert!(at as usize + bytes.len() <= self.capacity as usize, "beyond the map");
        self.file.write_all_at(bytes, at.into())
    }

    fn sync(&mut self, _: u32, _: u32) -> io::Result<()> {
        self.file.sync_data()
    }

    fn end(self, len: u32) -> io::Result<SimFile> {
        self.file.set_len(len.into())?;
        Ok(self.file)
    }
}

fn open(fs: &SimFs) -> (SegmentLog<Narrow, Influx>, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let options = LogOptions::default().segment_bytes(8192);
    let opened = SegmentLog::open(fs.clone(), Path::new(DIR), options, |_, record| {
        seen.push(record.payload.to_vec());
        Ok(())
    });
    (opened.expect("opens").0, seen)
}

/// Story: on a nearly full disk a segment was begun shorter than the options say, but records were still placed by the
/// options: the map of the segment ended before the group did, and the thread that wrote panicked.
#[test]
fn a_segment_that_had_to_be_short_is_not_written_beyond_its_end() {
    for threads in [1, 4] {
        let fs = SimFs::default();
        fs.set_space(Some(6000));
        let (log, _) = open(&fs);
        let (kept, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let write = |thread: u64| {
            for number in 0..40 {
                let payload = noise(thread * 1000 + number, 60 + 7 * number as usize);
                let done = log.append(Record::write(&payload)).and_then(|at| log.sync(at));
                match done {
                    Ok(_) => kept.lock().expect("no panic").push(payload),
                    Err(error) => {
                        assert!(error.is_full(), "{error}");
                        refused.lock().expect("no panic").push(payload);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let write = &write;
                scope.spawn(move || write(thread));
            }
        });
        let (kept, refused) = (kept.into_inner().expect("no panic"), refused.into_inner().expect("no panic"));
        assert!(kept.len() > 3 && !refused.is_empty(), "{} kept, {} refused", kept.len(), refused.len());
        log.close().expect("closes");
        let (_log, seen) = open(&fs);
        assert_eq!(seen.len(), kept.len());
        assert!(kept.iter().all(|payload| seen.contains(payload)));
    }
}
