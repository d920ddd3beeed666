//! Merges two columns of one field.

use super::{Column, ColumnRef, StringColumn, TypeConflict, Values, ValuesRef};

/// Consecutive points of the result that come from the same column.
#[derive(Clone, Copy)]
struct Run {
    newer: bool,
    from: usize,
    to: usize,
}

impl Column {
    /// Merges the points of `newer` into this column. At equal times the value of `newer` wins. The times of both
    /// columns must strictly ascend.
    ///
    /// `scratch` is a buffer. Its content does not matter.
    ///
    /// # Errors
    /// The columns have different types, and this one is not empty. It is unchanged.
    pub fn merge(&mut self, newer: ColumnRef<'_>, scratch: &mut Self) -> Result<(), TypeConflict> {
        let (Some(&first), Some(&last)) = (newer.times.first(), self.times.last()) else {
            return self.extend(newer);
        };
        if last < first {
            return self.extend(newer);
        }
        if self.field_type() != newer.field_type() {
            return Err(TypeConflict { existing: self.field_type(), incoming: newer.field_type() });
        }
        // The points before the first one of `newer` stay in place.
        let kept = self.times.partition_point(|&time| time < first);
        let runs = runs(&self.times[kept..], newer.times);
        scratch.reset(newer.field_type());
        scratch.extend_runs(self.as_ref().slice(kept..self.len()), newer, &runs);
        self.truncate(kept);
        self.extend(scratch.as_ref())
    }

    fn extend_runs(&mut self, older: ColumnRef<'_>, newer: ColumnRef<'_>, runs: &[Run]) {
        fn copy<T: Copy>(out: &mut Vec<T>, older: &[T], newer: &[T], runs: &[Run]) {
            for run in runs {
                let from = if run.newer { newer } else { older };
                out.extend_from_slice(&from[run.from..run.to]);
            }
        }
        copy(&mut self.times, older.times, newer.times, runs);
        match (&mut self.values, older.values, newer.values) {
            (Values::Float(out), ValuesRef::Float(a), ValuesRef::Float(b)) => copy(out, a, b, runs),
            (Values::Integer(out), ValuesRef::Integer(a), ValuesRef::Integer(b)) => copy(out, a, b, runs),
            (Values::Unsigned(out), ValuesRef::Unsigned(a), ValuesRef::Unsigned(b)) => copy(out, a, b, runs),
            (Values::Boolean(out), ValuesRef::Boolean(a), ValuesRef::Boolean(b)) => copy(out, a, b, runs),
            (Values::String(out), ValuesRef::String(a), ValuesRef::String(b)) => {
                for run in runs {
                    let from = if run.newer { b } else { a };
                    StringColumn::extend(out, from.slice(run.from..run.to));
                }
            }
            _ => unreachable!("`merge` checked that all three columns have one type"),
        }
    }
}

/// Splits the merged order of two ascending columns into runs.
fn runs(older: &[i64], newer: &[i64]) -> Vec<Run> {
    let mut runs = Vec::new();
    let (mut a, mut b) = (0, 0);
    while let Some(&time) = newer.get(b) {
        let from = a;
        while older.get(a).is_some_and(|&old| old < time) {
            a += 1;
        }
        if from < a {
            runs.push(Run { newer: false, from, to: a });
        }
        let from = b;
        let until = older.get(a).copied();
        while newer.get(b).is_some_and(|&new| until.is_none_or(|old| new <= old)) {
            b += 1;
        }
        if from < b {
            runs.push(Run { newer: true, from, to: b });
        }
        // The last point of this run may have the time of the next older point. It replaces that point.
        if until.is_some() && b > from && newer.get(b - 1).copied() == until {
            a += 1;
        }
    }
    if a < older.len() {
        runs.push(Run { newer: false, from: a, to: older.len() });
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::column::{FieldType, Value};

    fn column(field_type: FieldType, points: &BTreeMap<i64, u8>) -> Column {
        let mut column = Column::new(field_type);
        for (&time, &v) in points {
            let value = match field_type {
                FieldType::Float => Value::Float(f64::from(v)),
                FieldType::Integer => Value::Integer(i64::from(v)),
                FieldType::Unsigned => Value::Unsigned(u64::from(v)),
                FieldType::Boolean => Value::Boolean(v % 2 == 0),
                FieldType::String => Value::String(&[b'x'; 255][..usize::from(v)]),
            };
            column.push(time, value).expect("one type");
        }
        column
    }

    proptest! {
        #[test]
        fn merge_agrees_with_a_map(
            older in prop::collection::btree_map(0_i64..40, any::<u8>(), 0..30),
            newer in prop::collection::btree_map(0_i64..40, any::<u8>(), 0..30),
        ) {
            for field_type in FieldType::ALL {
                let mut merged = column(field_type, &older);
                let mut scratch = Column::new(FieldType::Boolean);
                prop_assert_eq!(merged.merge(column(field_type, &newer).as_ref(), &mut scratch), Ok(()));
                let mut model = older.clone();
                model.extend(&newer);
                prop_assert_eq!(merged, column(field_type, &model));
            }
        }
    }

    #[test]
    fn columns_of_different_types_do_not_merge() {
        let one = BTreeMap::from([(1, 1)]);
        let mut scratch = Column::new(FieldType::Float);
        let mut floats = column(FieldType::Float, &one);
        let conflict = TypeConflict { existing: FieldType::Float, incoming: FieldType::Integer };
        assert_eq!(floats.merge(column(FieldType::Integer, &one).as_ref(), &mut scratch), Err(conflict));
        assert_eq!(floats, column(FieldType::Float, &one));
        let mut empty = Column::new(FieldType::Float);
        assert_eq!(empty.merge(column(FieldType::Integer, &one).as_ref(), &mut scratch), Ok(()));
        assert_eq!(empty, column(FieldType::Integer, &one));
    }
}
