//! Compaction: many small files become fewer, in which blocks are full and deleted points are gone.

#[cfg_attr(not(test), expect(dead_code, reason = "nobody carries plans out yet"))]
mod plan;

pub use plan::{CompactMode, PlanKind};
