//! [`DynStorer`]: a storer whose type is chosen at run time.

use std::any::Any;
use std::fmt;

use crate::{Batch, Column, ColumnRef, FieldKey, FieldType, Position, Refused, Reserved, Storer, TimeRange};

/// A storer of any type. Each call for a batch or a key is one virtual call.
///
/// One engine with this type serves every storer. So the size of the code grows with the number of storers, not with
/// the number of combinations.
pub struct DynStorer(Box<dyn ErasedStorer>);

impl DynStorer {
    /// An empty storer of type `S`.
    pub fn of<S: Storer + Default>() -> Self {
        Self(Box::new(S::default()))
    }
}

impl fmt::Debug for DynStorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynStorer").finish_non_exhaustive()
    }
}

/// The reservation of a batch in a [`DynStorer`].
pub struct DynReservation(Box<dyn Any + Send>);

impl fmt::Debug for DynReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynReservation")
    }
}

/// [`Storer`] with its type parameters erased. Each method calls the method with the same name.
trait ErasedStorer: Send + Sync {
    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<DynReservation>, Refused<DynReservation>>;
    fn write(&self, batch: &Batch<'_>, reservation: DynReservation, at: Position);
    fn release(&self, batch: &Batch<'_>, reservation: DynReservation) -> u64;
    /// Runs `f` at most once. Returns false if it did not run.
    fn with(&self, key: FieldKey<'_>, f: &mut dyn FnMut(ColumnRef<'_>)) -> bool;
    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType));
    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64;
    fn keeps_values(&self) -> bool;
    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType>;
    fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool;
}

/// Boxes a reservation.
fn boxed<R: Send + 'static>(
    Reserved { reservation, new_key_bytes }: Reserved<R>,
) -> Reserved<DynReservation> {
    Reserved { reservation: DynReservation(Box::new(reservation)), new_key_bytes }
}

/// Unboxes a reservation.
///
/// # Panics
/// A storer of another type made the reservation.
fn unboxed<R: 'static>(DynReservation(reservation): DynReservation) -> R {
    *reservation.downcast().expect("the storer that reserved a batch writes or releases it")
}

impl<S: Storer> ErasedStorer for S {
    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<DynReservation>, Refused<DynReservation>> {
        match Storer::reserve(self, batch) {
            Ok(reserved) => Ok(boxed(reserved)),
            Err(Refused { error, part }) => Err(Refused { error, part: boxed(part) }),
        }
    }

    fn write(&self, batch: &Batch<'_>, reservation: DynReservation, at: Position) {
        Storer::write(self, batch, unboxed(reservation), at);
    }

    fn release(&self, batch: &Batch<'_>, reservation: DynReservation) -> u64 {
        Storer::release(self, batch, unboxed(reservation))
    }

    fn with(&self, key: FieldKey<'_>, f: &mut dyn FnMut(ColumnRef<'_>)) -> bool {
        Storer::with(self, key, f).is_some()
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        Storer::keys(self, f);
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        Storer::delete(self, key, range)
    }

    fn keeps_values(&self) -> bool {
        Storer::keeps_values(self)
    }

    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        Storer::field_type(self, key)
    }

    fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool {
        Storer::read(self, key, range, out)
    }
}

impl Storer for DynStorer {
    type Reservation = DynReservation;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<DynReservation>, Refused<DynReservation>> {
        self.0.reserve(batch)
    }

    fn write(&self, batch: &Batch<'_>, reservation: DynReservation, at: Position) {
        self.0.write(batch, reservation, at);
    }

    fn release(&self, batch: &Batch<'_>, reservation: DynReservation) -> u64 {
        self.0.release(batch, reservation)
    }

    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        let (mut f, mut result) = (Some(f), None);
        self.0.with(key, &mut |column| result = f.take().map(|f| f(column)));
        result
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        self.0.keys(f);
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        self.0.delete(key, range)
    }

    fn keeps_values(&self) -> bool {
        self.0.keeps_values()
    }

    fn field_type(&self, key: FieldKey<'_>) -> Option<FieldType> {
        self.0.field_type(key)
    }

    fn read(&self, key: FieldKey<'_>, range: TimeRange, out: &mut Column) -> bool {
        self.0.read(key, range, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ring;

    /// The test suites create storers by `Default`.
    impl Default for DynStorer {
        fn default() -> Self {
            Self::of::<Ring>()
        }
    }

    crate::testing::storer_suite!(DynStorer);
    crate::testing::readable_suite!(DynStorer);
}
