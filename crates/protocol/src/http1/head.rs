//! From collected lines to request and response heads.

use bytes::Bytes;

use super::{
    collect::RawHead,
    fields::{self, Fields, Framing},
    grammar,
};
use crate::{RequestHead, ResponseHead};

/// Reads a request head. `None` when its start line is not one.
pub(super) fn request(raw: RawHead, max_fields: usize) -> Option<(RequestHead, Framing)> {
    let (line, mut found) = split(&raw, max_fields);
    let read = grammar::request_line(grammar::strip_line_end(&line))?;
    let (method, target) = (line.slice_ref(read.method), line.slice_ref(read.target));
    let version = read.version;
    found.framing.merge(raw.late);
    let (scheme, authority) = target_parts(&method, &target);
    let head = RequestHead {
        method,
        target,
        scheme,
        authority: authority.or_else(|| host(&found)),
        protocol: None,
        version,
        partial: found.malformed,
        truncated: raw.truncated || found.truncated,
        framing_conflict: found.framing.conflict(),
        fields: found.fields,
    };
    Some((head, found.framing))
}

/// Reads a response head. `None` when its start line is not one.
pub(super) fn response(raw: RawHead, max_fields: usize) -> Option<(ResponseHead, Framing)> {
    let (line, mut found) = split(&raw, max_fields);
    let read = grammar::status_line(grammar::strip_line_end(&line))?;
    found.framing.merge(raw.late);
    let head = ResponseHead {
        status: read.status,
        reason: line.slice_ref(read.reason),
        version: read.version,
        partial: found.malformed,
        truncated: raw.truncated || found.truncated,
        framing_conflict: found.framing.conflict(),
        fields: found.fields,
    };
    Some((head, found.framing))
}

fn split(raw: &RawHead, max_fields: usize) -> (Bytes, Fields) {
    let end = memchr::memchr(b'\n', &raw.bytes).map_or(raw.bytes.len(), |at| at + 1);
    (
        raw.bytes.slice(..end),
        fields::read(&raw.bytes.slice(end..), max_fields),
    )
}

fn host(found: &Fields) -> Option<Bytes> {
    found
        .fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(b"host"))
        .map(|field| field.value.clone())
}

/// Scheme and authority of a target in absolute form, authority of one in authority form (RFC 9112 §3.2).
fn target_parts(method: &[u8], target: &Bytes) -> (Option<Bytes>, Option<Bytes>) {
    if method.eq_ignore_ascii_case(b"CONNECT") {
        return (None, Some(target.clone()));
    }
    let Some(at) = memchr::memmem::find(target, b"://") else {
        return (None, None);
    };
    let (scheme, rest) = (target.slice(..at), target.slice(at + 3..));
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_scheme {
        return (None, None);
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let authority = rest.slice(..end);
    (Some(scheme), (!authority.is_empty()).then_some(authority))
}
