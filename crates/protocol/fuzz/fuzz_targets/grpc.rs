//! Arbitrary bodies, splits and gaps against the messages of gRPC and gRPC-Web.
#![no_main]

#[path = "../bodies/grpc.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
