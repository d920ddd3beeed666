//! What there is to know of the times of a block of which only a part was decoded.

use crate::ascending::is_strictly_ascending;

/// The times of a whole block, of which a part was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first time.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// Whether each is later than the one before it.
    pub ascends: bool,
}

impl Span {
    /// That of these times; `None` when there is none.
    pub fn of(times: &[i64]) -> Option<Self> {
        let (&first, &last) = (times.first()?, times.last()?);
        Some(Self { first, last, ascends: is_strictly_ascending(times) })
    }
}
