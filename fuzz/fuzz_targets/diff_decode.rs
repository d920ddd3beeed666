//! A tsm1 block, against the decoder that goes bit by bit.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_codecs::testing::fuzz::diff_decode(data));
