//! Events and artifacts as they leave the agent (`surface.md` §7, DESIGN §5 and §6).
//!
//! Every type here serialises to the documented JSON; first key of an event is `type`. Text that was bytes on the wire
//! and is not UTF-8 has U+FFFD where it was not. Optional keys are left out when there is nothing to say.

mod artifact;
mod connection;
mod database;
mod dns;
mod grpc;
mod headers;
mod health;
mod messages;
mod notes;
mod request;
mod tags;
mod time;
mod transaction;

pub use artifact::{Artifact, ArtifactKind, ArtifactRecord, Content, Digest};
pub use connection::{
    Address, ConnectionEvent, ConnectionMeta, ContainerRef, Endpoint, PodRef, Quic, System, Tls,
    cipher_suite_name, tls_version_name,
};
pub use database::{CommandNotes, DatabaseRequestEvent, ProcessRef};
pub use dns::{DnsAnswer, DnsEvent, DnsNotes, DnsQuery, DnsResponse};
pub use grpc::{
    GrpcNotes, GrpcRequestEvent, GrpcRequestPart, GrpcResponsePart, GrpcTransaction, MessageCounts,
    MessagePart, RpcFields, SideMessages, StatusPart,
};
pub use headers::{HeaderMap, HeaderValue};
pub use health::HealthRecord;
pub use messages::{
    Captured, CapturedEvent, CapturedMessage, EventCounts, MessageNotes, SocketCounts, SocketMessages,
    WebSocketNotes,
};
pub use notes::{BodyNotes, Notes, outcome_name, outcome_of, upgrade_name};
pub(crate) use notes::{is_headers_partial, write_milliseconds};
pub use request::RequestEvent;
pub use tags::Tags;
pub use time::Timestamp;
pub use transaction::{HttpTransaction, Metadata, RequestPart, ResponsePart};

use serde::Serialize;

/// What an event store takes. The variant's name is the value of `type`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// State of a connection.
    Connection(Box<ConnectionEvent>),
    /// One HTTP transaction.
    Request(Box<RequestEvent>),
    /// One call of gRPC.
    GrpcRequest(Box<GrpcRequestEvent>),
    /// One command of a database or queue.
    DatabaseRequest(Box<DatabaseRequestEvent>),
    /// One query of DNS.
    Dns(Box<DnsEvent>),
}

/// Whether a flag may be left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Whether a number may be left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
