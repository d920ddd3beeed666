//! Decodes the input as the payload of a record, in every layout. The first byte gives the kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_wal::testing::hostile::any_payload_is_an_entry_or_refused(data));
