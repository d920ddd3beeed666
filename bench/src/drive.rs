//! One layer at a time, as the driver of the peer times its own.

pub(crate) mod codec;
