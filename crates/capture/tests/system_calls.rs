//! What sockets transfer, seen at the exit of system calls, as on kernels before 6.5: the tests of `bytes.rs`.

#[path = "bytes.rs"]
mod bytes;
