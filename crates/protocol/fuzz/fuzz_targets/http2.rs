//! Arbitrary bytes, frames, splits and gaps against the HTTP/2 parser.
#![no_main]

#[path = "../bodies/http2.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
