//! The script that the tests run, and the check of the records that the log recovers afterwards.

use std::path::Path;

use tsmith_wal::testing::{SimFs, open_keeping};
use tsmith_wal::{Durability, EtcdLog, FileLog, Log, LogOptions, MmapLog, NativeLog, Position, Record};

pub(crate) use crate::support::mixed_payload as payload;

pub(crate) type File = FileLog<SimFs>;
pub(crate) type Mmap = MmapLog<SimFs>;
pub(crate) type Native = NativeLog<SimFs>;
pub(crate) type Etcd = EtcdLog<SimFs>;

pub(crate) const DIR: &str = "/data/wal";
pub(crate) const SEEDS: u64 = 8;

pub(crate) fn options(durability: Durability) -> LogOptions {
    LogOptions { segment_bytes: 2048, durability, ..LogOptions::default() }
}

pub(crate) fn number_of(payload: &[u8]) -> Result<u32, String> {
    let (head, _) = payload.split_first_chunk().ok_or("a payload without a number")?;
    let number = u32::from_be_bytes(*head);
    if payload == self::payload(number) {
        Ok(number)
    } else {
        Err(format!("payload {number} has other bytes"))
    }
}

/// The outcome of a script up to its first error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Numbers of the records whose append succeeded, in order, and whether each is known to be durable.
    pub(crate) appended: Vec<(u32, bool)>,
    /// Numbers of the records that a full disk refused. The log must not recover them.
    pub(crate) taken_back: Vec<u32>,
    /// The number of records that may be truncated, and the number that must be.
    pub(crate) may_truncate: usize,
    pub(crate) truncated: usize,
    /// Operations before the log was dropped.
    pub(crate) operations: u64,
}

impl Run {
    pub(crate) fn acknowledge_all(&mut self) {
        self.appended.iter_mut().for_each(|(_, durable)| *durable = true);
    }

    /// P1, P2, P3.
    pub(crate) fn check(&self, recovered: &[u32]) -> Result<(), String> {
        let all: Vec<u32> = self.appended.iter().map(|(number, _)| *number).collect();
        let first = match recovered.first() {
            Some(first) => {
                all.iter().position(|number| number == first).ok_or(format!("{first} was never appended"))?
            }
            None => self.may_truncate.min(all.len()),
        };
        let end = first + recovered.len();
        if all.get(first..end) != Some(recovered) {
            return Err(format!("recovered {recovered:?} is no contiguous part of {all:?}"));
        }
        if first > self.may_truncate || first < self.truncated {
            return Err(format!("begins at {first}, not in {}..={}", self.truncated, self.may_truncate));
        }
        match self.appended[end..].iter().find(|(_, durable)| *durable) {
            Some((number, _)) => Err(format!("{number} was acknowledged and is lost")),
            None => Ok(()),
        }
    }
}

/// Appends, syncs, rolls and truncates, until something fails.
pub(crate) fn script<L: Log<Fs = SimFs>>(fs: &SimFs, durability: Durability) -> Run {
    let synced = matches!(durability, Durability::Each | Durability::Group);
    script_of::<L>(fs, options(durability), synced)
}

pub(crate) fn script_of<L: Log<Fs = SimFs>>(fs: &SimFs, options: LogOptions, synced: bool) -> Run {
    let mut run = Run::default();
    let Ok((log, _)) = L::open(fs.clone(), Path::new(DIR), options, |_, _| Ok(())) else {
        return run;
    };
    let mut go = || -> tsmith_wal::Result<()> {
        let mut cut = (Position::ZERO, 0);
        for number in 0..26 {
            let at = log.append(Record::write(&payload(number)))?;
            run.appended.push((number, false));
            if number % 3 != 1 {
                let _ = log.sync(at)?;
                if synced {
                    run.acknowledge_all();
                }
            }
            if number % 8 == 5 {
                cut = (log.cut()?, run.appended.len());
                run.acknowledge_all();
            }
            if number % 8 == 7 {
                run.may_truncate = cut.1;
                log.truncate_front(cut.0)?;
                run.truncated = cut.1;
            }
        }
        Ok(())
    };
    drop(go());
    run.operations = fs.operations();
    // The drop of the log is part of the script.
    drop(log);
    run
}

pub(crate) fn recover<L: Log<Fs = SimFs>>(fs: &SimFs) -> Result<(L, Vec<u32>), String> {
    let opened = open_keeping::<L>(fs.clone(), Path::new(DIR), options(Durability::Group));
    let (log, seen, recovery) = opened.map_err(|error| format!("does not open: {error}"))?;
    if recovery.gaps.len() > 1 {
        return Err(format!("more than one gap: {recovery:?}"));
    }
    if !seen.is_sorted_by(|a, b| a.0 < b.0) {
        return Err("positions do not increase".into());
    }
    let numbers = seen.iter().map(|(_, _, payload)| number_of(payload)).collect::<Result<_, _>>()?;
    Ok((log, numbers))
}

/// Recovers the log and appends further records, until something fails. Returns the numbers that the next recovery must find.
pub(crate) fn append_more<L: Log<Fs = SimFs>>(fs: &SimFs, numbers: std::ops::Range<u32>) -> Vec<u32> {
    let Ok((log, mut acknowledged)) = recover::<L>(fs) else { return Vec::new() };
    for number in numbers {
        let put = log.append(Record::write(&payload(number))).and_then(|at| log.sync(at));
        if put.is_err() {
            break;
        }
        acknowledged.push(number);
    }
    acknowledged
}
