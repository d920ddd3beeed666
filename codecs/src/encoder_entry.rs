//! An encoder with its name.

use std::fmt;
use std::sync::Arc;

use crate::encoder::{BlockEncoder, DynEncoder};

/// An encoder of a table.
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

    /// An entry for the encoder that `make` creates. Each thread and file gets a new one.
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

    /// Keeps this encoder out of the matrix unless it is selected by name.
    #[must_use]
    pub fn outside_default_matrix(mut self) -> Self {
        self.in_default_matrix = false;
        self
    }

    /// The name of the encoder.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A description of one line.
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

    /// Whether the matrix runs this encoder by default.
    pub fn in_default_matrix(&self) -> bool {
        self.in_default_matrix
    }

    /// Creates an encoder.
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
