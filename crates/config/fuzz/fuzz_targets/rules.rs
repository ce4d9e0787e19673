//! Any pattern is a rule or is refused, and a rule matches what it says.

#![no_main]

#[path = "../bodies/rules.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|text: &str| {
    body::run(text);
});
