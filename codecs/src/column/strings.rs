//! The strings of a column in one buffer.

use std::ops::Range;

/// Strings, stored one after the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringColumn {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl StringColumn {
    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Reserves memory for the end offsets of exactly this many more strings.
    pub fn reserve_exact(&mut self, additional: usize) {
        self.ends.reserve_exact(additional);
    }

    /// Appends one string.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    /// Appends all strings of `other`.
    pub fn extend(&mut self, other: StringsRef<'_>) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(other.bytes());
        self.ends.extend(other.ends.iter().map(|end| base + (end - other.start)));
    }

    /// Removes all strings and keeps the buffers.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    /// Keeps the first `len` strings.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Builds a column from `bytes`, cut at the offsets `ends`. The offsets must ascend, and the last one must be
    /// the length of `bytes`.
    ///
    /// # Errors
    /// The parts do not fit together. The error returns them.
    pub fn from_parts(ends: Vec<usize>, bytes: Vec<u8>) -> Result<Self, (Vec<usize>, Vec<u8>)> {
        if ends.is_sorted() && ends.last().copied().unwrap_or(0) == bytes.len() {
            Ok(Self { ends, bytes })
        } else {
            Err((ends, bytes))
        }
    }

    /// Returns the buffers, so that a decoder can fill them again and call [`StringColumn::from_parts`].
    pub fn into_parts(self) -> (Vec<usize>, Vec<u8>) {
        (self.ends, self.bytes)
    }

    /// Borrows all strings.
    pub fn as_ref(&self) -> StringsRef<'_> {
        StringsRef { ends: &self.ends, bytes: &self.bytes, start: 0 }
    }
}

/// Borrowed consecutive strings of a [`StringColumn`].
#[derive(Clone, Copy, Debug)]
pub struct StringsRef<'a> {
    ends: &'a [usize],
    bytes: &'a [u8],
    start: usize,
}

impl<'a> StringsRef<'a> {
    /// The number of strings.
    pub fn len(self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    ///
    /// # Panics
    /// `index` is not below [`StringsRef::len`].
    pub fn get(self, index: usize) -> &'a [u8] {
        let from = if index == 0 { self.start } else { self.ends[index - 1] };
        &self.bytes[from..self.ends[index]]
    }

    /// The strings in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let mut from = self.start;
        self.ends.iter().map(move |&end| {
            let value = &self.bytes[from..end];
            from = end;
            value
        })
    }

    /// The bytes of all strings, one after the other.
    pub fn bytes(self) -> &'a [u8] {
        &self.bytes[self.start..self.ends.last().copied().unwrap_or(self.start)]
    }

    /// The strings at these indexes.
    ///
    /// # Panics
    /// The range ends beyond the last string.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        let start = if range.start == 0 { self.start } else { self.ends[range.start - 1] };
        Self { ends: &self.ends[range], bytes: self.bytes, start }
    }
}
