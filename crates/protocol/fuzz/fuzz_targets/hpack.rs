//! Arbitrary header blocks against the HPACK decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qtap_protocol::http2::check_hpack(data));
