//! One payload: integer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_codecs::testing::fuzz::decode_integer(data));
