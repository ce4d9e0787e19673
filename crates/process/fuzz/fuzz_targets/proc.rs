//! Arbitrary text in the place of what /proc and files of observed processes say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qtap_process::check_parsers(data));
