//! A simulated network whose faults follow from a seed.

use std::collections::BTreeSet;

/// The faults of a simulated network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Percentage of lost messages.
    pub(crate) lost_percent: u64,
    /// Percentage of repeated messages.
    pub(crate) doubled_percent: u64,
    /// Maximum delay of a message in steps. Later messages may overtake it.
    pub(crate) delay_steps: u64,
}

/// Carries messages between replicas in one thread: [`Network::send`], then [`Network::step`], which returns
/// the messages that arrive. The result depends only on the calls and the seed.
#[derive(Debug)]
pub(crate) struct Network {
    dice: u64,
    now: u64,
    faults: Faults,
    /// Replicas that are partitioned from the others.
    cut_off: BTreeSet<u64>,
    flying: Vec<(u64, u64, Vec<u8>)>,
}

impl Network {
    /// A network with these faults.
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self { dice: seed, now: 0, faults, cut_off: BTreeSet::new(), flying: Vec::new() }
    }

    /// Changes the faults.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Partitions these replicas from all others, and ends any earlier partition.
    pub(crate) fn cut_off(&mut self, ids: &[u64]) {
        self.cut_off = ids.iter().copied().collect();
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, from: u64, to: u64, message: Vec<u8>) {
        let parted = self.cut_off.contains(&from) != self.cut_off.contains(&to);
        if parted || self.below(100) < self.faults.lost_percent {
            return;
        }
        if self.below(100) < self.faults.doubled_percent {
            let at = self.now + 1 + self.below(self.faults.delay_steps + 1);
            self.flying.push((at, to, message.clone()));
        }
        let at = self.now + 1 + self.below(self.faults.delay_steps + 1);
        self.flying.push((at, to, message));
    }

    /// Advances time by one step. Returns the messages that arrive, with their receivers.
    pub(crate) fn step(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.now += 1;
        let now = self.now;
        let mut arrived: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= now).collect();
        arrived.sort_by_key(|(at, ..)| *at);
        arrived.into_iter().map(|(_, to, message)| (to, message)).collect()
    }

    /// A number below `limit`, by `SplitMix64`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
