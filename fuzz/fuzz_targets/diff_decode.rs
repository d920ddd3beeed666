//! Decodes a tsm1 block with the fast decoder and the bit-by-bit decoder, and compares the results.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_codecs::testing::fuzz::diff_decode(data));
