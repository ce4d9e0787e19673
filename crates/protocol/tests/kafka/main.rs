//! Kafka as a whole: the rows of `protocols.md` §10 and §14, and properties. Messages are written by the crate kafka-protocol.
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
#[path = "../../fuzz/bodies/kafka.rs"]
mod fuzz_body;
mod loss;
mod messages;
mod properties;
mod recorded;
mod records;
mod sasl;
mod support;
mod waiting;
