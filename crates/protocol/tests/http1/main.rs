//! HTTP/1 as a whole: the cases of `protocols.md` §3 and §14, and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod cases;
#[path = "../../fuzz/bodies/http1.rs"]
mod fuzz_body;
mod loss;
mod properties;
mod support;
mod upgrades;
