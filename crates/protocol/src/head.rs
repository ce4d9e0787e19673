//! Request and response heads, the same for every HTTP version.

use bytes::Bytes;

/// One header field as it was sent: order, repetition and letter case are kept (P-X3). Bytes, since fields
/// need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Field name in the sender's spelling (lower case in HTTP/2).
    pub name: Bytes,
    /// Value without surrounding white space.
    pub value: Bytes,
}

/// Version on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// Request line (or pseudo fields) and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Method as sent; empty when it could not be learned (`partial`).
    pub method: Bytes,
    /// Request target exactly as sent, or `:path`; `*` when it could not be learned.
    pub target: Bytes,
    /// `:scheme`, or the scheme of an absolute target.
    pub scheme: Option<Bytes>,
    /// `:authority`, else the authority of the target, else the first `Host` field.
    pub authority: Option<Bytes>,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<Bytes>,
    /// Version.
    pub version: Version,
    /// Fields without pseudo fields.
    pub fields: Vec<Field>,
    /// Some fields could not be decoded (HPACK joined in the middle); those known are right.
    pub partial: bool,
    /// Fields or bytes beyond the limits were cut.
    pub truncated: bool,
    /// Transfer-Encoding beside Content-Length, or Content-Lengths that differ.
    pub framing_conflict: bool,
}

/// Status line (or `:status`) and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code; 0 when it could not be learned.
    pub status: u16,
    /// Reason phrase as sent; empty in HTTP/2.
    pub reason: Bytes,
    /// Version.
    pub version: Version,
    /// Fields without pseudo fields.
    pub fields: Vec<Field>,
    /// As in [`RequestHead::partial`].
    pub partial: bool,
    /// As in [`RequestHead::truncated`].
    pub truncated: bool,
    /// As in [`RequestHead::framing_conflict`].
    pub framing_conflict: bool,
}

/// First value of the field `name` (compared without case).
fn first<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| &field.value[..])
}

impl RequestHead {
    /// First value of the field `name`, compared without case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        first(&self.fields, name)
    }
}

impl ResponseHead {
    /// First value of the field `name`, compared without case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        first(&self.fields, name)
    }
}
