//! The JSON of an `http_transaction` artifact (`surface.md` §4.3).

use serde::{Serialize, Serializer};

use bytes::Bytes;

use super::{BodyNotes, HeaderMap, Notes, Timestamp, is_zero};

/// A whole transaction.
#[derive(Clone, Debug, Serialize)]
pub struct HttpTransaction {
    /// Who and how much.
    pub metadata: Metadata,
    /// The request.
    pub request: RequestPart,
    /// The response; its status is 422 when `status_unknown`.
    pub response: ResponsePart,
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
}

/// `metadata`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Metadata {
    /// Pid in decimal (a string, as in the original).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub process_id: String,
    /// Path of the executable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub process_exe: String,
    /// Bytes written for it by the local process.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_sent: u64,
    /// Bytes read for it by the local process.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_received: u64,
    /// The transaction.
    pub request_id: String,
    /// The connection.
    pub connection_id: String,
    /// Domain, or address of the server end.
    pub endpoint_id: String,
    /// `key:value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// `request`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RequestPart {
    /// Method.
    pub method: String,
    /// Scheme, authority and raw target, concatenated.
    pub url: String,
    /// Scheme.
    pub scheme: String,
    /// Path and query exactly as sent.
    pub path: String,
    /// Host and port as sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authority: String,
    /// `http1` or `http2`.
    pub protocol: &'static str,
    /// The transaction.
    pub request_id: String,
    /// User-Agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Content-Type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// Fields, pseudo fields first; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub headers: HeaderMap,
    /// Trailer fields; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub trailers: HeaderMap,
    /// Base64; level `full` only.
    #[serde(skip_serializing_if = "Bytes::is_empty", serialize_with = "base64")]
    pub body: Bytes,
    /// What is to be known of the body.
    #[serde(flatten)]
    pub body_notes: BodyNotes,
}

/// `response`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ResponsePart {
    /// Status.
    pub status: u16,
    /// Content-Type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// Fields, pseudo fields first; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub headers: HeaderMap,
    /// Trailer fields; from level `headers`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub trailers: HeaderMap,
    /// Base64; level `full` only.
    #[serde(skip_serializing_if = "Bytes::is_empty", serialize_with = "base64")]
    pub body: Bytes,
    /// What is to be known of the body.
    #[serde(flatten)]
    pub body_notes: BodyNotes,
}

/// Standard alphabet with padding, without a copy of the whole.
fn base64<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    use base64::{display::Base64Display, engine::general_purpose::STANDARD};
    serializer.collect_str(&Base64Display::new(body, &STANDARD))
}
