//! The HTTP/2 parser against bytes of a small encoder of its own and of the `h2` crate.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is test code, and clippy knows only functions marked as tests"
)]

mod attach;
mod cases;
mod fuzz;
mod gaps;
mod genuine;
mod limits;
mod property;
mod streams;
mod wire;
