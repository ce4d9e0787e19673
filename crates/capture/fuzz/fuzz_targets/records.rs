//! Arbitrary records against their decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qtap_capture::check_record(data));
