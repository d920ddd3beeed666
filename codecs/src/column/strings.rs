//! Strings of a column, end to end.

use std::ops::Range;

/// Strings end to end in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringColumn {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl StringColumn {
    /// How many strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Makes room for the ends of exactly this many more strings.
    pub fn reserve_exact(&mut self, additional: usize) {
        self.ends.reserve_exact(additional);
    }

    /// Adds one at the end.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    /// Adds all of `other` at the end.
    pub fn extend(&mut self, other: StringsRef<'_>) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(other.bytes());
        self.ends.extend(other.ends.iter().map(|end| base + (end - other.start)));
    }

    /// Removes all, and keeps the buffers.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    /// Keeps the first `len` strings.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Replaces the content by `bytes` cut at `ends`, which must ascend and end at the last byte.
    ///
    /// # Errors
    /// Gives the parts back when they do not fit together.
    pub fn from_parts(ends: Vec<usize>, bytes: Vec<u8>) -> Result<Self, (Vec<usize>, Vec<u8>)> {
        if ends.is_sorted() && ends.last().copied().unwrap_or(0) == bytes.len() {
            Ok(Self { ends, bytes })
        } else {
            Err((ends, bytes))
        }
    }

    /// The buffers, for a decoder that refills them through [`StringColumn::from_parts`].
    pub fn into_parts(self) -> (Vec<usize>, Vec<u8>) {
        (self.ends, self.bytes)
    }

    /// All of it, borrowed.
    pub fn as_ref(&self) -> StringsRef<'_> {
        StringsRef { ends: &self.ends, bytes: &self.bytes, start: 0 }
    }
}

/// A borrowed run of strings.
#[derive(Clone, Copy, Debug)]
pub struct StringsRef<'a> {
    ends: &'a [usize],
    bytes: &'a [u8],
    start: usize,
}

impl<'a> StringsRef<'a> {
    /// How many strings.
    pub fn len(self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`StringsRef::len`].
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

    /// All strings end to end.
    pub fn bytes(self) -> &'a [u8] {
        &self.bytes[self.start..self.ends.last().copied().unwrap_or(self.start)]
    }

    /// The strings of `range`.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        let start = if range.start == 0 { self.start } else { self.ends[range.start - 1] };
        Self { ends: &self.ends[range], bytes: self.bytes, start }
    }
}
