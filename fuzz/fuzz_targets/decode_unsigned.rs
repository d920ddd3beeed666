//! Decodes the input as the unsigned values of a block.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_codecs::testing::fuzz::decode_unsigned(data));
