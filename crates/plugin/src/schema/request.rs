//! `request` events (`surface.md` §7.2).

use std::sync::Arc;

use serde::Serialize;

use super::tags::{Tags, no_tags};
use super::{HeaderMap, Notes, Timestamp, is_false, is_zero};

/// One HTTP transaction without headers and bodies.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestEvent {
    /// The connection.
    pub connection_id: Arc<str>,
    /// Domain, or address of the server end.
    pub endpoint_id: Arc<str>,
    /// The transaction.
    pub request_id: Arc<str>,
    /// TLS implementations in the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_probe_types_detected: Vec<&'static str>,
    /// Plaintext was read from TLS.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_probe_introspected: bool,
    /// `key:value`.
    #[serde(skip_serializing_if = "no_tags")]
    pub tags: Arc<Tags>,
    /// Time of completion.
    pub timestamp: Timestamp,
    /// Direction label.
    pub direction: &'static str,
    /// Scheme, authority and raw target, concatenated.
    pub url: String,
    /// Path and query exactly as sent.
    pub path: String,
    /// Method.
    pub method: String,
    /// Status; 422 when `status_unknown`.
    pub status: u16,
    /// First request byte → end of response head, in milliseconds rounded up, at least 1; absent without a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Content type of the response.
    pub content_type: String,
    /// Category of that, see [`crate::mime::category`].
    pub category: &'static str,
    /// User-Agent.
    pub agent: String,
    /// Bytes that the local process wrote for it: the request's when it dialled, the response's when it accepted.
    pub bytes_sent: u64,
    /// Bytes that it read.
    pub bytes_received: u64,
    /// Credential with all but its ends removed; empty without one.
    pub auth_token_mask: String,
    /// HMAC-SHA-256 of the header value under a key made anew at each start, 64 hex digits.
    pub auth_token_hash: String,
    /// Header it came in.
    pub auth_token_source: String,
    /// `bearer`, `jwt`, `basic`, `api_key`, `aws_sigv4` or `unknown`.
    pub auth_token_type: &'static str,
    /// Promoted headers: `req.<Name>` and `res.<Name>`.
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    pub headers: HeaderMap<'static>,
    /// Body bytes of the request, framing included, before decoding (P-T4).
    #[serde(rename = "request_body_bytes", skip_serializing_if = "is_zero")]
    pub request_body_bytes: u64,
    /// The same of the response.
    #[serde(rename = "response_body_bytes", skip_serializing_if = "is_zero")]
    pub response_body_bytes: u64,
    /// A body was longer than the limit.
    #[serde(rename = "body_truncated", skip_serializing_if = "is_false")]
    pub body_truncated: bool,
    /// How it ended.
    #[serde(flatten)]
    pub notes: Notes,
}
