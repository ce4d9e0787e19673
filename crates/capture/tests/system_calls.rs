//! What sockets transfer, seen at the exit of system calls, as on kernels before 6.5: the tests of `bytes.rs` and `headers.rs`.
#![allow(clippy::duplicate_mod, reason = "each has its own")]
#[path = "bytes.rs"]
mod bytes;
#[path = "headers.rs"]
mod headers;
