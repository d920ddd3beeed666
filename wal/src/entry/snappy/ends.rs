//! Finds numbers with equal low bytes: numbers with few decimals have few different endings.

/// This many bytes count as the end of an eight-byte number. The bytes before them depend on its magnitude.
pub(super) const END_BYTES: usize = 6;
const SLOTS: usize = 1 << 10;

/// The places of the endings seen, in a small table with one slot per hash.
#[derive(Debug)]
pub(super) struct Ends {
    slots: Box<[(u64, u32); SLOTS]>,
    /// Positions increase across payloads, so that the table need not be cleared. The current payload starts
    /// here.
    base: u32,
    next: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self { slots: Box::new([(0, 0); SLOTS]), base: 1, next: 1 }
    }
}

impl Ends {
    /// Begins a payload of `len` bytes, less than 4 GiB. Earlier places no longer count.
    pub(super) fn begin(&mut self, len: usize) {
        if self.next.checked_add(len as u32).is_none() {
            *self = Self::default();
        }
        self.base = self.next;
        self.next += len as u32;
    }

    /// The place of an equal ending, if there is one. The ending of `number` is at `at`.
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
