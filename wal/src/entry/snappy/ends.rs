//! Numbers that end alike: those with few decimals have few ends.

/// As many bytes are the end of a number of eight. What is before them says its size, and is another each time.
pub(super) const END_BYTES: usize = 6;
const SLOTS: usize = 1 << 10;

/// Where ends stand that were seen, one for each place of a small table.
#[derive(Debug)]
pub(super) struct Ends {
    slots: Box<[(u64, u32); SLOTS]>,
    /// Positions are counted over all payloads, so that nothing has to be cleared. This one begins here.
    base: u32,
    next: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self { slots: Box::new([(0, 0); SLOTS]), base: 1, next: 1 }
    }
}

impl Ends {
    /// Forgets what was before: a payload of `len` bytes, less than 4 GiB, begins.
    pub(super) fn begin(&mut self, len: usize) {
        if self.next.checked_add(len as u32).is_none() {
            *self = Self::default();
        }
        self.base = self.next;
        self.next += len as u32;
    }

    /// Where the end of `number` stands already; this one goes to `at`.
    #[inline]
    pub(super) fn find(&mut self, number: u64, at: usize) -> Option<usize> {
        let end = number << (64 - 8 * END_BYTES);
        let hash = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS.trailing_zeros());
        let slot = &mut self.slots[hash as usize];
        let position = self.base + at as u32;
        let (last, last_at) = std::mem::replace(slot, (end, position));
        (last == end && last_at >= self.base).then(|| (last_at - self.base) as usize)
    }
}
