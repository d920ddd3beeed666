//! The storers of this crate by name.

use std::fmt;
use std::sync::Arc;

use crate::{DynStorer, Empty, OneMap, Ring, Storer};

tsmith_codecs::registry! {
    /// An entry for each storer of this crate.
    pub trait Storer => StorerEntry, suite = storer_suite;
    "ring" => Ring: "16 partitions by the hash of the series, each with its own lock", also readable_suite;
    "hashmap" => OneMap: "one map with one lock", also readable_suite;
    "empty" => Empty: "accepts every batch and stores nothing";
}

/// A storer with its name.
#[derive(Clone)]
pub struct StorerEntry {
    name: &'static str,
    summary: &'static str,
    keeps_values: bool,
    in_default_matrix: bool,
    make: Arc<dyn Fn() -> DynStorer + Send + Sync>,
}

impl StorerEntry {
    /// An entry for each storer of this crate.
    pub fn standard() -> Vec<Self> {
        standard()
    }

    /// An entry for the storer that `S::default()` makes.
    pub fn of<S: Storer + Default>(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, DynStorer::of::<S>)
    }

    /// An entry for the storer that `make` creates. Each snapshot gets a new one.
    pub fn new(
        name: &'static str,
        summary: &'static str,
        make: impl Fn() -> DynStorer + Send + Sync + 'static,
    ) -> Self {
        let keeps_values = make().keeps_values();
        Self { name, summary, keeps_values, in_default_matrix: true, make: Arc::new(make) }
    }

    /// Keeps this storer out of the matrix unless it is selected by name.
    #[must_use]
    pub fn outside_default_matrix(self) -> Self {
        Self { in_default_matrix: false, ..self }
    }

    /// The name of the storer.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A description of one line.
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// See [`Storer::keeps_values`].
    pub fn keeps_values(&self) -> bool {
        self.keeps_values
    }

    /// Whether the matrix runs this storer by default.
    pub fn in_default_matrix(&self) -> bool {
        self.in_default_matrix
    }

    /// Creates an empty storer.
    pub fn make(&self) -> DynStorer {
        (self.make)()
    }
}

impl fmt::Debug for StorerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorerEntry").field("name", &self.name).finish_non_exhaustive()
    }
}
