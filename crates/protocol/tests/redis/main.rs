//! Redis as a whole: the rows of `protocols.md` §7 and §14, and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod cases;
#[path = "../commands/mod.rs"]
mod commands;
mod detect;
#[path = "../../fuzz/bodies/redis.rs"]
mod fuzz_body;
mod loss;
mod properties;
mod secrets;
mod support;
mod transactions;
mod values;
