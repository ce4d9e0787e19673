//! WebSockets as a whole: P-W1 and P-W2 of `protocols.md` §6, the recovery rule of §14, and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod cases;
mod deflate;
#[path = "../../fuzz/bodies/websocket.rs"]
mod fuzz_body;
mod loss;
mod properties;
mod support;
