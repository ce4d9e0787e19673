//! Arbitrary bytes, splits and gaps against the Redis parser.
#![no_main]

#[path = "../bodies/redis.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
