//! [`Scrambled`]: a storer that stores everything under other keys and at other times.

use tsmith_codecs::{Batch, Column, ColumnRef, FieldKey, FieldType, Position, RunBuilder, TimeRange};

use crate::{Error, Refused, Reserved, Storer};

/// Stores keys with their bytes reversed and times inverted, and converts both back on the way out.
///
/// It keeps every law of the storer that it wraps. Code that bypasses a method of the trait, or reads the inner
/// store, sees keys and times that were never written.
#[derive(Debug, Default)]
pub struct Scrambled<S> {
    inner: S,
}

/// The reservation of a batch in a [`Scrambled`] storer.
#[derive(Debug)]
pub struct ScrambledReservation<R> {
    batch: Batch<'static>,
    reservation: R,
}

fn reversed(text: &[u8]) -> Vec<u8> {
    text.iter().rev().copied().collect()
}

fn mirrored(column: ColumnRef<'_>) -> Column {
    let mut out = Column::new(column.field_type());
    for (at, time) in column.times().iter().enumerate() {
        out.push(!time, column.values().get(at)).expect("one column has one type");
    }
    out
}

/// Reverses the key while `f` runs.
fn with_reversed<R>(key: FieldKey<'_>, f: impl FnOnce(FieldKey<'_>) -> R) -> R {
    f(FieldKey::new(&reversed(key.series), &reversed(key.field)))
}

fn scrambled(batch: &Batch<'_>) -> Batch<'static> {
    let mut builder = RunBuilder::new();
    for (key, column) in batch.columns() {
        builder.begin(reversed(key.series).into(), reversed(key.field).into(), column.field_type());
        for (at, time) in column.times().iter().enumerate() {
            assert!(builder.push(!time, column.values().get(at)), "one column has one type");
        }
    }
    builder.finish()
}

fn readable(error: Error) -> Error {
    match error {
        Error::TypeConflict { key, existing, incoming } => {
            let key = FieldKey::parse(&key).expect("a composite key");
            with_reversed(key, |key| Error::type_conflict(key, existing, incoming))
        }
        other => other,
    }
}

impl<S: Storer> Storer for Scrambled<S> {
    type Reservation = ScrambledReservation<S::Reservation>;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<Self::Reservation>, Refused<Self::Reservation>> {
        let batch = scrambled(batch);
        let outcome = self.inner.reserve(&batch);
        let with_batch = |Reserved { reservation, new_key_bytes }| Reserved {
            reservation: ScrambledReservation { batch, reservation },
            new_key_bytes,
        };
        match outcome {
            Ok(reserved) => Ok(with_batch(reserved)),
            Err(Refused { error, part }) => Err(Refused { error: readable(error), part: with_batch(part) }),
        }
    }

    fn write(
        &self,
        _: &Batch<'_>,
        ScrambledReservation { batch, reservation }: Self::Reservation,
        at: Position,
    ) {
        self.inner.write(&batch, reservation, at);
    }

    fn release(&self, _: &Batch<'_>, ScrambledReservation { batch, reservation }: Self::Reservation) -> u64 {
        self.inner.release(&batch, reservation)
    }

    fn with<R>(&self, key: FieldKey<'_>, f: impl FnOnce(ColumnRef<'_>) -> R) -> Option<R> {
        with_reversed(key, |key| self.inner.with(key, |column| f(mirrored(column).as_ref())))
    }

    fn keys(&self, f: &mut dyn FnMut(FieldKey<'_>, FieldType)) {
        self.inner.keys(&mut |key, field_type| with_reversed(key, |key| f(key, field_type)));
    }

    fn delete(&self, key: FieldKey<'_>, range: TimeRange) -> u64 {
        with_reversed(key, |key| self.inner.delete(key, TimeRange::new(!range.max, !range.min)))
    }

    fn keeps_values(&self) -> bool {
        self.inner.keeps_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OneMap, Ring};

    mod over_a_ring {
        use super::*;
        crate::storer_suite!(Scrambled<Ring>);
        crate::readable_suite!(Scrambled<Ring>);
    }

    mod over_one_map {
        use super::*;
        crate::storer_suite!(Scrambled<OneMap>);
    }

    #[test]
    fn the_inner_store_holds_other_keys_and_times() {
        let storer = Scrambled::<Ring>::default();
        crate::testing::put(&storer, &crate::testing::integers(&[("cpu,h=a", "us", &[(7, 1)])]), 1);
        assert!(crate::testing::all(&storer.inner, crate::testing::key("cpu,h=a", "us")).is_empty());
        assert_eq!(crate::testing::all(&storer.inner, crate::testing::key("a=h,upc", "su")).times(), [!7]);
    }
}
