//! One named encoder.

use std::fmt;
use std::sync::Arc;

use crate::encoder::{BlockEncoder, DynEncoder};

/// One encoder of a table.
#[derive(Clone)]
pub struct EncoderEntry {
    name: &'static str,
    summary: &'static str,
    tags: &'static [u8],
    is_influx_readable: bool,
    same_blocks_as: Option<&'static str>,
    in_default_matrix: bool,
    make: Arc<dyn Fn() -> DynEncoder + Send + Sync>,
}

impl EncoderEntry {
    /// An entry for the encoder that `E::default()` makes.
    pub fn of<E: BlockEncoder + Default>(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, || Box::new(E::default()))
    }

    /// An entry for the encoder that `make` makes: a new one for each thread and file.
    pub fn new(
        name: &'static str,
        summary: &'static str,
        make: impl Fn() -> DynEncoder + Send + Sync + 'static,
    ) -> Self {
        let encoder = make();
        Self {
            name,
            summary,
            tags: encoder.tags(),
            is_influx_readable: encoder.is_influx_readable(),
            same_blocks_as: encoder.same_blocks_as(),
            in_default_matrix: true,
            make: Arc::new(make),
        }
    }

    /// The same encoder, which the matrix runs only when it is asked for by name.
    #[must_use]
    pub fn outside_default_matrix(mut self) -> Self {
        self.in_default_matrix = false;
        self
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, in one line.
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// See [`BlockEncoder::tags`].
    pub fn tags(&self) -> &'static [u8] {
        self.tags
    }

    /// See [`BlockEncoder::is_influx_readable`].
    pub fn is_influx_readable(&self) -> bool {
        self.is_influx_readable
    }

    /// See [`BlockEncoder::same_blocks_as`].
    pub fn same_blocks_as(&self) -> Option<&'static str> {
        self.same_blocks_as
    }

    /// Whether the matrix runs it without being asked for it.
    pub fn in_default_matrix(&self) -> bool {
        self.in_default_matrix
    }

    /// A new encoder.
    pub fn make(&self) -> DynEncoder {
        (self.make)()
    }
}

impl fmt::Debug for EncoderEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncoderEntry")
            .field("name", &self.name)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}
