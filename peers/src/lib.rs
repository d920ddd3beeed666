//! Parts of other projects as parts of Tsmith: they run in the matrix beside ours, on the same data.
//!
//! Each part is one file and one line of [`registry`]. The files say which crate the part uses, what it promises, and
//! which promises of our own parts it does not give.

use tsmith_engine::Registry;

/// The parts of Tsmith and of other projects.
pub fn registry() -> Registry {
    Registry::standard()
}
