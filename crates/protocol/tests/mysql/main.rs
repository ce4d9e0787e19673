//! MySQL as a whole: the rows of `protocols.md` §8 and §14, and properties.
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
mod compressed;
mod detect;
#[path = "../../fuzz/bodies/mysql.rs"]
mod fuzz_body;
mod login;
mod loss;
mod parameters;
mod prepared;
mod properties;
mod support;
mod values;
mod wire;
