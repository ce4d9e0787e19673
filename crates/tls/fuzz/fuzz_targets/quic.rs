//! Arbitrary datagrams against the reader of QUIC's first packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qtap_tls::quic::check(data));
