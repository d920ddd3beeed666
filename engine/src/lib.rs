//! Under construction.
pub mod line;
