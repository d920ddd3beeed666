//! [`Empty`]: takes everything and keeps nothing.

use crate::{Batch, ColumnRef, FieldKey, FieldType, Position, Refused, Reserved, Storer, TimeRange};

/// The floor of every comparison: what a write costs when no value is kept.
///
/// Behind a [`Cache`](crate::Cache) its values count against the memory limit like any other's, so that the engine
/// above does all it would do otherwise.
#[derive(Debug, Default)]
pub struct Empty;

impl Storer for Empty {
    type Room = ();

    fn reserve(&self, _: &Batch<'_>) -> Result<Reserved<()>, Refused<()>> {
        Ok(Reserved { room: (), new_key_bytes: 0 })
    }

    fn write(&self, _: &Batch<'_>, (): (), _: Position) {}

    fn release(&self, _: &Batch<'_>, (): ()) -> u64 {
        0
    }

    fn with<R>(&self, _: FieldKey<'_>, _: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        None
    }

    fn keys(&self, _: &mut dyn FnMut(FieldKey<'_>, FieldType)) {}

    fn delete(&self, _: FieldKey<'_>, _: TimeRange) -> u64 {
        0
    }

    fn keeps_values(&self) -> bool {
        false
    }
}
