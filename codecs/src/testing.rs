//! Test suites for encoders.
//!
//! To test an encoder of another crate, add one line to its tests:
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
//! [`encoder_suite!`](crate::encoder_suite!) tests what every encoder must do. An encoder may refuse a value with an
//! error that names the value. If an encoder holds every value, add [`exact_suite!`](crate::exact_suite!).

pub mod fuzz;
pub mod laws;
pub mod naive;
pub mod shapes;

mod scrambled;

pub use crate::{encoder_suite, exact_suite, influx_suite, streaming_suite};
pub use scrambled::Scrambled;

/// One `#[test]` for each law of every encoder.
#[macro_export]
macro_rules! encoder_suite {
    ($Impl:ty) => {
        $crate::laws!($Impl;
            round_trip
            append_only
            equal_columns_equal_bytes
            a_cut_block_is_an_error
            a_flipped_bit_never_panics
            noise_never_panics
            the_limit_is_kept
            an_error_leaves_the_column_empty
            the_first_byte_is_a_tag
            count_agrees_with_the_column
            string_bytes_agree_with_the_column
            a_range_has_the_same_points
            never_much_larger_than_raw
            type_erasure_changes_nothing
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
        $crate::laws!($Impl; influx_tags nan_is_refused_with_its_index the_naive_decoder_agrees);
    };
}

/// One `#[test]` for each law of an encoder that writes the same bytes as snapshots of InfluxDB.
#[macro_export]
macro_rules! streaming_suite {
    ($Impl:ty) => { $crate::laws!($Impl; the_naive_encoder_agrees); };
}

/// Expands a list of laws into tests.
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
