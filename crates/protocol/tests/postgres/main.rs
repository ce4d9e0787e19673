//! PostgreSQL as a whole: the rows of `protocols.md` §9 and §14, and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod binary;
mod cases;
#[path = "../commands/mod.rs"]
mod commands;
mod detect;
mod encryption;
#[path = "../../fuzz/bodies/postgres.rs"]
mod fuzz_body;
mod loss;
mod properties;
mod support;
mod values;
mod wire;
