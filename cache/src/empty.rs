//! [`Empty`]: accepts every batch and stores nothing.

use crate::{Batch, ColumnRef, FieldKey, FieldType, Position, Refused, Reserved, Storer, TimeRange};

/// A lower bound for comparisons: the cost of a write whose values are not stored.
///
/// In a [`Cache`](crate::Cache) its values count against the memory limit like those of any storer, so the engine
/// above does all its usual work.
#[derive(Debug, Default)]
pub struct Empty;

impl Storer for Empty {
    type Reservation = ();

    fn reserve(&self, _: &Batch<'_>) -> Result<Reserved<()>, Refused<()>> {
        Ok(Reserved { reservation: (), new_key_bytes: 0 })
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
