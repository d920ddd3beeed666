//! The state of a simulated disk. Each file and directory has a durable state, a current state, and the changes from
//! one to the other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::Range;

use super::fault::Fault;

/// A disk writes a sector atomically.
const SECTOR_BYTES: usize = 512;
/// A sync of a map makes complete pages durable.
const PAGE_BYTES: usize = 4096;

/// A change that becomes durable with the next sync.
pub(super) trait Change {
    /// The state that it changes.
    type State: Clone + Default;

    fn apply(&self, to: &mut Self::State);
}

/// The state that survives every crash, the state that readers see, and the changes from one to the other.
#[derive(Clone, Debug)]
pub(super) struct Stored<C: Change> {
    durable: C::State,
    current: C::State,
    pending: Vec<C>,
}

/// The content of a file.
pub(super) type Content = Stored<Edit>;

/// The entries of a directory.
pub(super) type Dir = Stored<Entry>;

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(usize),
    Dir(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Add(OsString, Node),
    Remove(OsString),
    Rename(OsString, OsString, Node),
}

impl<C: Change> Default for Stored<C> {
    fn default() -> Self {
        Self::durably(C::State::default())
    }
}

impl<C: Change> Stored<C> {
    fn durably(state: C::State) -> Self {
        Self { durable: state.clone(), current: state, pending: Vec::new() }
    }

    pub(super) fn current(&self) -> &C::State {
        &self.current
    }

    pub(super) fn change(&mut self, change: C) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    /// Makes all changes durable, unless `fault` prevents it.
    pub(super) fn sync(&mut self, fault: Option<Fault>) -> io::Result<()> {
        self.sync_by(fault, |stored| {
            for change in stored.pending.drain(..) {
                change.apply(&mut stored.durable);
            }
        })
    }

    /// Runs `sync` unless `fault` prevents it. After a failed sync the changes stay readable but never become durable.
    fn sync_by(&mut self, fault: Option<Fault>, sync: impl FnOnce(&mut Self)) -> io::Result<()> {
        match fault {
            None | Some(Fault::NoHandle | Fault::Short | Fault::Interrupted) => sync(self),
            Some(Fault::IgnoredSync) => {}
            Some(fault @ (Fault::Io | Fault::Full)) => {
                self.pending.clear();
                return Err(fault.error());
            }
        }
        Ok(())
    }
}

impl Content {
    /// Makes the pages of `range` durable up to the length of the durable file. Other writes stay unsynced.
    pub(super) fn sync_pages(&mut self, fault: Option<Fault>, range: Range<usize>) -> io::Result<()> {
        let pages = range.start / PAGE_BYTES * PAGE_BYTES..range.end.next_multiple_of(PAGE_BYTES);
        self.sync_by(fault, |content| content.apply_pages(&pages))
    }

    fn apply_pages(&mut self, pages: &Range<usize>) {
        let mut rest = Vec::new();
        for change in self.pending.drain(..) {
            match change {
                Edit::Write { at, bytes } if at < self.durable.len() => {
                    let end = at + bytes.len();
                    let (from, to) = (pages.start.clamp(at, end), pages.end.clamp(at, end));
                    let part = |range: Range<usize>| Edit::Write {
                        at: range.start,
                        bytes: bytes[range.start - at..range.end - at].to_vec(),
                    };
                    part(from..to).apply(&mut self.durable);
                    let left = [part(at..from), part(to..end)];
                    rest.extend(left.into_iter().filter(|part| !part.is_empty()));
                }
                other => rest.push(other),
            }
        }
        self.pending = rest;
    }

    pub(super) fn crash(&self, dice: &mut Dice) -> Self {
        let kept = match dice.below(4) {
            0 => self.durable.clone(),
            1 => self.crash_keeping(dice, |_, _| true),
            2 => {
                let (changes, sectors) = (dice.below(self.pending.len() as u64 + 1), dice.below(64));
                self.crash_keeping(dice, |change, sector| {
                    (change as u64) < changes || (change as u64 == changes && (sector as u64) < sectors)
                })
            }
            _ => {
                let seed = dice.next();
                self.crash_keeping(dice, |change, sector| {
                    Dice(seed ^ ((change as u64) << 32) ^ sector as u64).next() & 1 == 0
                })
            }
        };
        Self::durably(kept)
    }

    /// The content if only some sectors of the pending changes were written. `kept` takes the number of a change and of
    /// a sector within it.
    fn crash_keeping(&self, dice: &mut Dice, kept: impl Fn(usize, usize) -> bool) -> Vec<u8> {
        let mut lens = vec![self.durable.len()];
        for (at, change) in self.pending.iter().enumerate() {
            let before = *lens.last().unwrap_or(&0);
            if kept(at, 0) {
                lens.push(match change {
                    Edit::Write { at, bytes } => before.max(at + bytes.len()),
                    Edit::SetLen(len) => *len,
                });
            }
        }
        let len = lens.last().copied().unwrap_or(0);
        let mut out = self.durable.clone();
        out.truncate(len);
        let junk = dice.below(4) == 0;
        out.resize_with(len, || if junk { dice.next() as u8 } else { 0 });
        for (at, change) in self.pending.iter().enumerate() {
            match change {
                Edit::SetLen(shorter) if kept(at, 0) => {
                    // If the file grows again, the truncated bytes are zeros.
                    out.iter_mut().skip(*shorter).for_each(|byte| *byte = 0);
                }
                Edit::SetLen(_) => {}
                Edit::Write { at: from, bytes } => {
                    for (sector, range) in sectors(*from, bytes.len()).enumerate() {
                        if kept(at, sector) && range.start < len {
                            let end = range.end.min(len);
                            out[range.start..end].copy_from_slice(&bytes[range.start - from..end - from]);
                        }
                    }
                }
            }
        }
        out
    }
}

/// Divides `len` bytes from `from` at the boundaries of sectors.
fn sectors(from: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = from + len;
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        at = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        (start < end).then_some(start..at)
    })
}

impl Edit {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Write { bytes, .. } if bytes.is_empty())
    }
}

impl Change for Edit {
    type State = Vec<u8>;

    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => to.resize(*len, 0),
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Change for Entry {
    type State = BTreeMap<OsString, Node>;

    fn apply(&self, to: &mut Self::State) {
        match self {
            Self::Add(name, node) => drop(to.insert(name.clone(), *node)),
            Self::Remove(name) => drop(to.remove(name)),
            Self::Rename(from, name, node) => {
                to.remove(from);
                to.insert(name.clone(), *node);
            }
        }
    }
}

impl Dir {
    pub(super) fn crash(&self, dice: &mut Dice) -> Self {
        let mut entries = self.durable.clone();
        let mood = dice.below(3);
        for entry in &self.pending {
            if mood == 1 || (mood == 2 && dice.below(2) == 0) {
                entry.apply(&mut entries);
            }
        }
        Self::durably(entries)
    }
}

/// `SplitMix64`: on every machine, a seed gives the same numbers.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
