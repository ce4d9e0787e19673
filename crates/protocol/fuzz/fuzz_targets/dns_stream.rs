//! Arbitrary bytes, splits and gaps against the parser of DNS on a stream.
#![no_main]

#[path = "../bodies/dns.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
