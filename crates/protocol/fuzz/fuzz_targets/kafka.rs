//! Arbitrary bytes, splits and gaps against the Kafka parser.
#![no_main]

#[path = "../bodies/kafka.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
