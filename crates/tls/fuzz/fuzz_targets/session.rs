//! `cargo fuzz run session`, or without cargo-fuzz as `fuzz/README.md` says.
#![no_main]

#[path = "../session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session::fuzz_session(data));
