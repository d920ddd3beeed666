//! The laws of every encoder, as tests for those who write one.
//!
//! An encoder of another crate is judged by one line in its tests:
//!
//! ```
//! # mod raw_again {
//! # use tsmith_codecs::{BlockDecoder, BlockEncoder, Column, ColumnRef, Raw, Result};
//! # #[derive(Default)]
//! # pub struct MyEncoder(Raw);
//! # impl BlockEncoder for MyEncoder {
//! #     fn tags(&self) -> &'static [u8] { &[0x10] }
//! #     fn encode(&mut self, column: ColumnRef<'_>, out: &mut Vec<u8>) -> Result<()> { self.0.encode(column, out) }
//! # }
//! # impl BlockDecoder for MyEncoder {
//! #     fn decode(&mut self, block: &[u8], limit: usize, out: &mut Column) -> Result<()> { self.0.decode(block, limit, out) }
//! # }
//! tsmith_codecs::encoder_suite!(MyEncoder);
//! # }
//! ```
//!
//! [`encoder_suite!`](crate::encoder_suite!) has what all promise; it lets an encoder refuse a value by an error that
//! names it. One that promises to hold every value adds [`exact_suite!`](crate::exact_suite!).

pub mod fuzz;
pub mod laws;
pub mod naive;
pub mod shapes;

mod scrambled;

pub use crate::{encoder_suite, exact_suite, influx_suite, streaming_suite};
pub use scrambled::Scrambled;

/// One `#[test]` for each law that every encoder keeps.
#[macro_export]
macro_rules! encoder_suite {
    ($Impl:ty) => {
        $crate::laws!($Impl;
            round_trip
            append_only
            equal_columns_equal_bytes
            a_cut_block_is_an_error
            a_flipped_bit_is_survived
            noise_is_survived
            the_limit_is_kept
            an_error_leaves_nothing
            the_first_byte_is_owned
            the_count_is_that_of_the_column
            the_string_bytes_are_those_of_the_column
            the_points_within_a_range_are_those_of_all
            never_much_larger_than_raw
            erased_it_is_the_same
        );
    };
}

/// One `#[test]` for each law of an encoder that holds every value of every type.
#[macro_export]
macro_rules! exact_suite {
    ($Impl:ty) => { $crate::laws!($Impl; every_value_is_held); };
}

/// One `#[test]` for each law of an encoder whose blocks InfluxDB reads.
#[macro_export]
macro_rules! influx_suite {
    ($Impl:ty) => {
        $crate::laws!($Impl; influx_tags nan_is_refused_by_its_place the_naive_decoder_agrees);
    };
}

/// One `#[test]` for each law of an encoder that writes what InfluxDB's snapshots hold, to the byte.
#[macro_export]
macro_rules! streaming_suite {
    ($Impl:ty) => { $crate::laws!($Impl; the_naive_encoder_agrees); };
}

/// Expands a list of laws to tests.
#[doc(hidden)]
#[macro_export]
macro_rules! laws {
    ($Impl:ty; $($law:ident)+) => {
        $(
            #[test]
            fn $law() {
                $crate::testing::laws::$law::<$Impl>();
            }
        )+
    };
}
