//! Arbitrary bytes, splits and gaps against the event stream decoder.
#![no_main]

#[path = "../bodies/sse.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
