//! DNS as a whole: messages, what belongs together, streams (`protocols.md` P-N1, P-N2, P-D6), and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

#[path = "../commands/mod.rs"]
#[allow(dead_code, reason = "only its lossy traffic is of use here")]
mod commands;
mod detect;
#[path = "../../fuzz/bodies/dns.rs"]
mod fuzz_body;
mod loss;
mod messages;
mod pairing;
mod properties;
mod stream;
mod support;
