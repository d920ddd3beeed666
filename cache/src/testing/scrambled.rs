//! [`Scrambled`]: a storer that keeps everything under other names and at other times.

use tsmith_codecs::{Batch, Column, ColumnRef, FieldKey, FieldType, Position, RunBuilder, TimeRange};

use crate::{Error, Refused, Reserved, Storer};

/// Keeps keys spelled backwards and times counted backwards, and undoes both on the way out.
///
/// It obeys every law of what it wraps. Whoever goes round the seam, to an inner store or past one of its methods, meets
/// keys and times that nobody wrote.
#[derive(Debug, Default)]
pub struct Scrambled<S> {
    inner: S,
}

/// The reservation of a batch in a [`Scrambled`] storer.
#[derive(Debug)]
pub struct ScrambledRoom<R> {
    batch: Batch<'static>,
    room: R,
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

/// The key spelled backwards, for as long as `f` runs.
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
    type Room = ScrambledRoom<S::Room>;

    fn reserve(&self, batch: &Batch<'_>) -> Result<Reserved<Self::Room>, Refused<Self::Room>> {
        let batch = scrambled(batch);
        let outcome = self.inner.reserve(&batch);
        let with_batch = |Reserved { room, new_key_bytes }| Reserved {
            room: ScrambledRoom { batch, room },
            new_key_bytes,
        };
        match outcome {
            Ok(reserved) => Ok(with_batch(reserved)),
            Err(Refused { error, part }) => Err(Refused { error: readable(error), part: with_batch(part) }),
        }
    }

    fn write(&self, _: &Batch<'_>, ScrambledRoom { batch, room }: Self::Room, at: Position) {
        self.inner.write(&batch, room, at);
    }

    fn release(&self, _: &Batch<'_>, ScrambledRoom { batch, room }: Self::Room) -> u64 {
        self.inner.release(&batch, room)
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
    fn what_lies_inside_is_not_what_was_written() {
        let storer = Scrambled::<Ring>::default();
        crate::testing::put(&storer, &crate::testing::integers(&[("cpu,h=a", "us", &[(7, 1)])]), 1);
        assert!(crate::testing::all(&storer.inner, crate::testing::key("cpu,h=a", "us")).is_empty());
        assert_eq!(crate::testing::all(&storer.inner, crate::testing::key("a=h,upc", "su")).times(), [!7]);
    }
}
