//! The times of a block that was decoded in part.

use crate::ascending::is_strictly_ascending;

/// Describes all times of a block, even if only a part was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first time.
    pub first: i64,
    /// The last time.
    pub last: i64,
    /// Whether the times strictly ascend.
    pub ascends: bool,
}

impl Span {
    /// The span of these times, or `None` if there are none.
    pub fn of(times: &[i64]) -> Option<Self> {
        let (&first, &last) = (times.first()?, times.last()?);
        Some(Self { first, last, ascends: is_strictly_ascending(times) })
    }
}
