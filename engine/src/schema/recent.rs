//! [`Recent`]: fields that need no second lookup.

use tsmith_codecs::FieldType;

/// Maximum number of remembered fields in one batch.
const REMEMBERED_MAX: usize = 64;

/// Recently accepted fields in order of arrival. Lines of one shape repeat the same fields in the same order.
#[derive(Debug, Default)]
pub(super) struct Recent {
    fields: Vec<(Vec<u8>, Vec<u8>, FieldType)>,
    expected: usize,
}

impl Recent {
    /// Whether this field follows the previous one, as it did before.
    pub(super) fn is_next(&mut self, measurement: &[u8], name: &[u8], field_type: FieldType) -> bool {
        let is_next = self
            .fields
            .get(self.expected)
            .is_some_and(|(m, n, t)| *t == field_type && *n == name && *m == measurement);
        if is_next {
            self.expected = (self.expected + 1) % self.fields.len();
        }
        is_next
    }

    pub(super) fn remember(&mut self, measurement: &[u8], name: &[u8], field_type: FieldType) {
        let is =
            |(m, n, t): &(Vec<u8>, Vec<u8>, FieldType)| *n == name && *m == measurement && *t == field_type;
        match self.fields.iter().position(is) {
            Some(at) => self.expected = (at + 1) % self.fields.len(),
            None if self.fields.len() < REMEMBERED_MAX => {
                self.fields.push((measurement.to_vec(), name.to_vec(), field_type));
                self.expected = 0;
            }
            None => {}
        }
    }
}
