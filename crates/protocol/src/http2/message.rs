//! From decoded field lists to heads (RFC 9113 §8.3).

use bytes::Bytes;

use super::block::FieldList;
use crate::{Field, RequestHead, ResponseHead, Version};

/// The pseudo fields of a list, and the rest.
#[derive(Default)]
struct Parts {
    method: Option<Bytes>,
    path: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    protocol: Option<Bytes>,
    fields: Vec<Field>,
}

/// Whether the list has the mark of a request: a pseudo field other than `:status`.
pub(crate) fn has_request_pseudo(list: &FieldList) -> bool {
    list.fields
        .iter()
        .any(|field| field.name.starts_with(b":") && &field.name[..] != b":status")
}

/// The value of `:status`, if it is there and a number.
pub(crate) fn status(list: &FieldList) -> Option<u16> {
    let value = &list
        .fields
        .iter()
        .find(|field| &field.name[..] == b":status")?
        .value;
    std::str::from_utf8(value)
        .ok()?
        .parse()
        .ok()
        .filter(|status| (100..1000).contains(status))
}

/// The request head that `list` makes, with unknown parts as `protocols.md` 4.4 says.
pub(crate) fn request(list: FieldList) -> RequestHead {
    let framing_conflict = framing_conflict(&list.fields);
    let mut parts = Parts {
        fields: Vec::with_capacity(list.fields.len()),
        ..Parts::default()
    };
    for field in list.fields {
        let slot = match &field.name[..] {
            b":method" => &mut parts.method,
            b":path" => &mut parts.path,
            b":scheme" => &mut parts.scheme,
            b":authority" => &mut parts.authority,
            b":protocol" => &mut parts.protocol,
            _ => {
                parts.fields.push(field);
                continue;
            }
        };
        slot.get_or_insert(field.value);
    }
    let method = parts.method.unwrap_or_default();
    let host = || {
        parts
            .fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(b"host"))
    };
    let authority = parts
        .authority
        .or_else(|| host().map(|field| field.value.clone()));
    // CONNECT without :path names its target by authority alone (RFC 9113 §8.5).
    let connect_target = authority
        .clone()
        .filter(|_| &method[..] == b"CONNECT" && parts.protocol.is_none());
    RequestHead {
        target: parts.path.or(connect_target).unwrap_or(Bytes::from_static(b"*")),
        method,
        scheme: parts.scheme,
        authority,
        protocol: parts.protocol,
        version: Version::Http2,
        fields: parts.fields,
        partial: list.partial,
        truncated: list.truncated,
        framing_conflict,
    }
}

/// The response head that `list` makes; status 0 when it could not be learned.
pub(crate) fn response(list: FieldList) -> ResponseHead {
    ResponseHead {
        status: status(&list).unwrap_or(0),
        reason: Bytes::new(),
        version: Version::Http2,
        framing_conflict: framing_conflict(&list.fields),
        fields: list
            .fields
            .into_iter()
            .filter(|field| &field.name[..] != b":status")
            .collect(),
        partial: list.partial,
        truncated: list.truncated,
    }
}

/// The head of a response whose own was lost.
pub(crate) fn lost_response() -> ResponseHead {
    let mut list = FieldList::default();
    list.partial = true;
    response(list)
}

/// Content types of exchanges that may rest for long: event streams, and gRPC in all its forms.
pub(crate) fn is_streaming(fields: &[Field]) -> bool {
    let kind = fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(b"content-type"));
    kind.is_some_and(|field| {
        let starts = |prefix: &[u8]| {
            field
                .value
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        starts(b"text/event-stream") || starts(b"application/grpc")
    })
}

/// The one length that a head declares of its body, where no trailers are announced.
pub(crate) fn declared_length(fields: &[Field]) -> Option<u64> {
    let named = |name: &'static [u8]| fields.iter().filter(move |field| &field.name[..] == name);
    let length = &named(b"content-length").next()?.value;
    if framing_conflict(fields)
        || named(b"trailer").next().is_some()
        || !length.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(length).ok()?.parse().ok()
}

/// Content-Lengths that differ, or a Transfer-Encoding (which HTTP/2 forbids) beside one.
fn framing_conflict(fields: &[Field]) -> bool {
    let mut lengths = fields.iter().filter(|field| &field.name[..] == b"content-length");
    let Some(first) = lengths.next() else { return false };
    let coded = fields.iter().any(|field| &field.name[..] == b"transfer-encoding");
    coded || lengths.any(|other| other.value != first.value)
}
