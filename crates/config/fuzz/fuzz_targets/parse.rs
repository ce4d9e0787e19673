//! Arbitrary text against the parser and the renderer.
#![no_main]

#[path = "../bodies/parse.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|text: &str| {
    body::run(text);
});
