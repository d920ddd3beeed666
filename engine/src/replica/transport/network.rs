//! A network in memory, with a seed for its faults.

use std::collections::BTreeSet;

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Of so many messages out of 100 nothing comes.
    pub lost_percent: u64,
    /// So many out of 100 come twice.
    pub doubled_percent: u64,
    /// A message waits for up to so many steps; later ones may overtake it.
    pub delay_steps: u64,
}

/// Carries messages between replicas that are called by turns: [`Network::send`], then [`Network::step`], which gives
/// what arrives. Everything is a function of the calls and the seed.
#[derive(Debug)]
pub struct Network {
    dice: u64,
    now: u64,
    faults: Faults,
    /// Those who cannot reach the others, nor be reached.
    cut_off: BTreeSet<u64>,
    flying: Vec<(u64, u64, Vec<u8>)>,
}

impl Network {
    /// A network with these faults.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self { dice: seed, now: 0, faults, cut_off: BTreeSet::new(), flying: Vec::new() }
    }

    /// Other faults from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Parts these from all others, and heals every other cut.
    pub fn cut_off(&mut self, ids: &[u64]) {
        self.cut_off = ids.iter().copied().collect();
    }

    /// Takes a message on its way.
    pub fn send(&mut self, from: u64, to: u64, message: Vec<u8>) {
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

    /// A moment passes. Gives who gets what.
    pub fn step(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.now += 1;
        let now = self.now;
        let mut arrived: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= now).collect();
        arrived.sort_by_key(|(at, ..)| *at);
        arrived.into_iter().map(|(_, to, message)| (to, message)).collect()
    }

    /// What was on the way to or from nobody knows whom is lost.
    pub fn lose_all(&mut self) {
        self.flying.clear();
    }

    /// A number below `limit`, by `SplitMix64`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
