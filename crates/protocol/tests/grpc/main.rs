//! gRPC and gRPC-Web: messages of bodies, and whole connections of HTTP/2 that carry calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is test code, and clippy knows only functions marked as tests"
)]

mod cases;
mod connection;
mod properties;
mod support;
#[allow(dead_code, reason = "this uses a part of what the tests of HTTP/2 do")]
#[path = "../http2/wire.rs"]
mod wire;

#[path = "../../fuzz/bodies/grpc.rs"]
mod fuzz_body;
