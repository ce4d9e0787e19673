//! Arbitrary bytes, splits and gaps against the PostgreSQL parser.
#![no_main]

#[path = "../bodies/postgres.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
