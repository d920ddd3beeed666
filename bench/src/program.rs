//! A program of benchmarks: the parts and stores that it compares.

use std::process::ExitCode;

use tsmith_engine::Registry;

use crate::peer::StorePeer;

/// What a program compares. [`main`](Self::main) runs it.
#[derive(Debug)]
pub struct Bench {
    pub(crate) registry: Registry,
    pub(crate) stores: Vec<Box<dyn StorePeer>>,
    /// Axes and the values that vary if no flag names any. Empty: all parts of the registry.
    pub(crate) selection: Vec<(&'static str, Vec<&'static str>)>,
}

impl Bench {
    /// Compares the parts of `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry, stores: Vec::new(), selection: Vec::new() }
    }

    /// Adds a whole store, which `--store` names.
    ///
    /// # Panics
    /// If two stores have one name.
    #[must_use]
    pub fn store(mut self, store: impl StorePeer + 'static) -> Self {
        assert!(self.find_store(store.name()).is_none(), "two stores are named {}", store.name());
        self.stores.push(Box::new(store));
        self
    }

    /// Makes the default run compare these values of an axis, such as `encoder`, and of no axis that is not selected.
    #[must_use]
    pub fn select(mut self, axis: &'static str, values: &[&'static str]) -> Self {
        self.selection.push((axis, values.to_vec()));
        self
    }

    pub(crate) fn find_store(&self, name: &str) -> Option<&dyn StorePeer> {
        self.stores.iter().find(|store| store.name() == name).map(AsRef::as_ref)
    }

    /// The values of an axis in the default run. `all` are those of a program without a selection.
    pub(crate) fn selected(&self, axis: &str, all: Vec<&'static str>) -> Vec<&'static str> {
        if self.selection.is_empty() {
            return all;
        }
        let selected = self.selection.iter().filter(|(selected, _)| *selected == axis);
        selected.flat_map(|(_, values)| values.iter().copied()).collect()
    }

    /// Runs the program `tsmith-bench` on the arguments of this process.
    pub fn main(self) -> ExitCode {
        crate::run(&self)
    }
}
