//! Arbitrary handshake messages against the readers of hellos.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qtap_tls::hello::check(data));
