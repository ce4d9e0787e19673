//! `grpc_request` events and the JSON of a `grpc_transaction` artifact (`surface.md` §7.3 and §4.3, `protocols.md` §5).

use bytes::Bytes;
use serde::Serialize;

use super::transaction::base64;
use super::{Metadata, Notes, RequestEvent, RequestPart, ResponsePart, Timestamp, is_false, is_zero};

/// One call of gRPC: everything that a `request` event says of its HTTP transaction, and what is gRPC's own.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcRequestEvent {
    /// Its HTTP transaction. The status is that which stands for the status of the call.
    #[serde(flatten)]
    pub request: RequestEvent,
    /// Service and method, and how the call ended.
    #[serde(flatten)]
    pub rpc: RpcFields,
    /// What our events say beyond the original's.
    #[serde(flatten)]
    pub notes: GrpcNotes,
}

/// Fields of the call in the event.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RpcFields {
    /// `package.Service`; `*` when the path is not known.
    pub grpc_service: String,
    /// Method; likewise.
    pub grpc_method: String,
    /// Code as sent, in decimal; empty when none is known.
    pub grpc_status: String,
    /// Canonical name; empty when none is known.
    pub grpc_status_name: &'static str,
    /// `grpc-message`, decoded; empty without one.
    pub grpc_message: String,
}

/// Additions to `grpc_request` events, artifacts and JSON access logs.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcNotes {
    /// By the counts of messages: `unary`, `client_streaming`, `server_streaming` or `bidi_streaming`.
    pub call_type: &'static str,
    /// `binary` or `text`: it is gRPC-Web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_web: Option<&'static str>,
    /// Status of HTTP as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// What the status of the call is known from, see [`qtap_protocol::grpc::Source`]; absent when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status_source: Option<&'static str>,
    /// No status was seen and none can be concluded.
    #[serde(skip_serializing_if = "is_false")]
    pub grpc_status_unknown: bool,
    /// `grpc-status-details-bin` came with the status.
    #[serde(skip_serializing_if = "is_false")]
    pub grpc_status_details: bool,
    /// Declared by the client (`grpc-timeout`), milliseconds with microseconds as decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<f64>,
    /// Counts and sizes.
    pub messages: MessageCounts,
}

/// Messages of both sides.
#[derive(Clone, Debug, Serialize)]
pub struct MessageCounts {
    /// The client's.
    pub request: SideMessages,
    /// The server's.
    pub response: SideMessages,
}

/// Messages of one side.
#[derive(Clone, Debug, Serialize)]
pub struct SideMessages {
    /// Whole ones.
    pub count: u64,
    /// Their bytes as sent, prefixes left out.
    pub bytes: u64,
    /// Bytes of the largest.
    #[serde(skip_serializing_if = "is_zero")]
    pub largest: u64,
    /// Those that are compressed.
    #[serde(skip_serializing_if = "is_zero")]
    pub compressed: u64,
    /// `grpc-encoding`, if not identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// One more began and did not come to its end.
    #[serde(skip_serializing_if = "is_false")]
    pub unfinished: bool,
    /// There may be more than `count`.
    #[serde(skip_serializing_if = "is_false")]
    pub incomplete: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_reason: Option<&'static str>,
}

/// A whole call.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcTransaction<'a> {
    /// Who and how much.
    pub metadata: Metadata<'a>,
    /// `package.Service`.
    pub service: String,
    /// Method.
    pub method: String,
    /// Status of the call.
    #[serde(flatten)]
    pub status: StatusPart,
    /// The request.
    pub request: GrpcRequestPart<'a>,
    /// The response.
    pub response: GrpcResponsePart<'a>,
    /// Time of its first byte.
    pub transaction_time: Timestamp,
    /// As `duration` of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Direction label.
    pub direction: &'static str,
    /// Of the call.
    #[serde(flatten)]
    pub grpc_notes: GrpcNotes,
    /// How its HTTP transaction ended.
    #[serde(flatten)]
    pub notes: Notes,
}

/// Status of a call in artifacts.
#[derive(Clone, Debug, Serialize)]
pub struct StatusPart {
    /// Code in decimal; empty when none is known.
    pub grpc_status: String,
    /// Canonical name; likewise.
    pub grpc_status_name: &'static str,
    /// `grpc-message`, decoded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grpc_message: String,
}

/// `request`.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcRequestPart<'a> {
    /// As of any HTTP request; the body is as sent, prefixes included.
    #[serde(flatten)]
    pub http: RequestPart<'a>,
    /// The messages of the body; level `full` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessagePart>,
}

/// `response`.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcResponsePart<'a> {
    /// Status of the call.
    #[serde(flatten)]
    pub status: StatusPart,
    /// As of any HTTP response; its status is that which stands for the status of the call.
    #[serde(flatten)]
    pub http: ResponsePart<'a>,
    /// The messages of the body; level `full` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessagePart>,
}

/// One message.
#[derive(Clone, Debug, Serialize)]
pub struct MessagePart {
    /// Length as sent, without its prefix.
    pub size: u64,
    /// It was compressed.
    #[serde(skip_serializing_if = "is_false")]
    pub compressed: bool,
    /// Base64; compression removed unless `decode_error` is there.
    #[serde(serialize_with = "base64")]
    pub data: Bytes,
    /// `data` is not all of it: a limit was reached, or bytes are missing.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Why the compression could not be removed; `data` is as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_error: Option<String>,
}
