//! One layer at a time, as the peer's benchmark times its own: the same inputs, flags and fields, so that one script
//! can join two runs.

pub(crate) mod cache;
pub(crate) mod codec;
pub(crate) mod engine;
pub(crate) mod parse;
pub(crate) mod read;
pub(crate) mod replay;
pub(crate) mod wal;
