//! The payload of a record, after the byte of its kind, in every layout.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tsmith_wal::testing::hostile::any_payload_is_an_entry_or_refused(data));
