//! stub
#[macro_export]
macro_rules! encoder_suite {
    ($Impl:ty) => {};
}
#[macro_export]
macro_rules! exact_suite {
    ($Impl:ty) => {};
}
#[macro_export]
macro_rules! influx_suite {
    ($Impl:ty) => {};
}
pub use crate::{encoder_suite, exact_suite, influx_suite};
