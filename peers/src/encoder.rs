//! Encoders of other crates as encoders of Tsmith.

mod alp;
mod block;
mod pco;

pub use alp::Alp;
pub use pco::Pco;
