//! The JSON of an `http_transaction` artifact (`surface.md` §4.3).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::tags::{Tags, no_tags};
use super::{BodyNotes, Captured, HeaderMap, Notes, Timestamp, is_zero};

/// A whole transaction.
#[derive(Clone, Debug, Serialize)]
pub struct HttpTransaction<'a> {
    /// Who and how much.
    pub metadata: Metadata<'a>,
    /// The request.
    pub request: RequestPart<'a>,
    /// The response; its status is 422 when `status_unknown`.
    pub response: ResponsePart<'a>,
    /// Time of its first byte.
    pub transaction_time: Timestamp,
    /// As `duration` of the `request` event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Direction label.
    pub direction: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub notes: Notes,
    /// Messages of WebSockets and event streams; level `full` only.
    #[serde(flatten)]
    pub captured: Captured<'a>,
}

/// `metadata`.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata<'a> {
    /// Pid in decimal (a string, as in the original).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub process_id: String,
    /// Path of the executable.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub process_exe: &'a str,
    /// Bytes written for it by the local process.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_sent: u64,
    /// Bytes read for it by the local process.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_received: u64,
    /// The transaction.
    pub request_id: &'a Arc<str>,
    /// The connection.
    pub connection_id: &'a Arc<str>,
    /// Domain, or address of the server end.
    pub endpoint_id: &'a Arc<str>,
    /// `key:value`.
    #[serde(skip_serializing_if = "no_tags")]
    pub tags: &'a Tags,
}

/// `request`.
#[derive(Clone, Debug, Serialize)]
pub struct RequestPart<'a> {
    /// Method.
    pub method: Cow<'a, str>,
    /// Scheme, authority and raw target, concatenated.
    pub url: Cow<'a, str>,
    /// Scheme.
    pub scheme: Cow<'a, str>,
    /// Path and query exactly as sent.
    pub path: Cow<'a, str>,
    /// Host and port as sent.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub authority: Cow<'a, str>,
    /// `http1` or `http2`.
    pub protocol: &'static str,
    /// The transaction.
    pub request_id: &'a Arc<str>,
    /// User-Agent.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_agent: Cow<'a, str>,
    /// Content-Type.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub content_type: Cow<'a, str>,
    /// Fields, pseudo fields first; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub headers: HeaderMap<'a>,
    /// Trailer fields; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub trailers: HeaderMap<'a>,
    /// Base64; level `full` only.
    #[serde(skip_serializing_if = "Bytes::is_empty", serialize_with = "base64")]
    pub body: Bytes,
    /// What is to be known of the body.
    #[serde(flatten)]
    pub body_notes: BodyNotes,
}

/// `response`.
#[derive(Clone, Debug, Serialize)]
pub struct ResponsePart<'a> {
    /// Status.
    pub status: u16,
    /// Content-Type.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub content_type: Cow<'a, str>,
    /// Fields, pseudo fields first; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub headers: HeaderMap<'a>,
    /// Trailer fields; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub trailers: HeaderMap<'a>,
    /// Base64; level `full` only.
    #[serde(skip_serializing_if = "Bytes::is_empty", serialize_with = "base64")]
    pub body: Bytes,
    /// What is to be known of the body.
    #[serde(flatten)]
    pub body_notes: BodyNotes,
}

/// Standard alphabet with padding.
pub(super) fn base64<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    serializer.serialize_str(&STANDARD.encode(body))
}
