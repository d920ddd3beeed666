//! Decodes the input as a block of any encoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_codecs::testing::fuzz::decode_block(data));
