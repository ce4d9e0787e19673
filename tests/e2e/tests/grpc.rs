//! gRPC between real clients and servers, plain and TLS, as both ends see it; every count and every message is compared with what the
//! programs themselves saw.

#[path = "grpc/calls.rs"]
mod calls;
#[path = "grpc/expect.rs"]
mod expect;
#[path = "grpc/programs.rs"]
mod programs;
#[path = "grpc/stacks.rs"]
mod stacks;
#[path = "grpc/web.rs"]
mod web;
