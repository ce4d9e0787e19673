//! Application protocols as sans-I/O state machines.
//!
//! In: the bytes of one connection, in order, per [`Side`], with the kernel time of each piece, and the
//! lengths of the holes between them. Out: [`Event`]s that describe requests and responses as they pass.
//! A parser does no I/O, reads no clock, starts no thread, and depends on nothing else of this project.
//!
//! Rules every parser keeps (`protocols.md` P-M1 to P-M5): no allocation from a length field before that
//! many bytes have arrived, the same events however the bytes are split, every transaction ends exactly once
//! with an [`Outcome`], and no input whatever makes it panic.
#![forbid(unsafe_code)]

mod command;
mod detail;
pub mod detect;
pub mod dns;
pub mod encoding;
mod event;
pub mod grpc;
mod head;
pub mod http1;
pub mod http2;
pub mod kafka;
mod ledger;
pub mod mysql;
mod order;
mod parser;
pub mod postgres;
mod quality;
pub mod redis;
mod registry;
mod sql;
pub mod sse;
mod statement;
pub mod websocket;

pub use command::{Command, CommandError, CommandResult, CommandText, CommandTraffic, REDACTED, Session};
pub use detail::{Detail, HIDDEN, Values};
pub use event::{Counts, Event, Outcome, StreamKey, Upgrade};
pub use head::{Field, RequestHead, ResponseHead, Version};
pub use parser::{Limits, ParseError, Parser, Side, Time};
pub use registry::{DATABASES, Entry, SERVICES};
