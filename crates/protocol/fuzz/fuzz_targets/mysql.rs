//! Arbitrary bytes, splits and gaps against the MySQL parser.
#![no_main]

#[path = "../bodies/mysql.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
