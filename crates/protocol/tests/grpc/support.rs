//! Heads, messages, and the calls on a connection of HTTP/2.

use std::collections::BTreeMap;

use bytes::Bytes;
use qtap_protocol::grpc::{Call, Status, Tracker, status};
use qtap_protocol::{Event, Field, Outcome, RequestHead, ResponseHead, Side, StreamKey, Version};

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
    let field = |(name, value): &(&str, &str)| Field {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    pairs.iter().map(field).collect()
}

pub(crate) fn request(pairs: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: "POST".into(),
        target: "/pkg.Service/Method".into(),
        scheme: None,
        authority: None,
        protocol: None,
        version: Version::Http2,
        fields: fields(pairs),
        partial: false,
        truncated: false,
        framing_conflict: false,
    }
}

pub(crate) fn response(pairs: &[(&str, &str)]) -> ResponseHead {
    ResponseHead {
        status: 200,
        reason: Bytes::new(),
        version: Version::Http2,
        fields: fields(pairs),
        partial: false,
        truncated: false,
        framing_conflict: false,
    }
}

/// A message with its prefix.
pub(crate) fn message(flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[flags][..], &length, payload].concat()
}

/// A call as the events of its connection tell it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) path: String,
    pub(crate) call: Call,
    pub(crate) status: Option<Status>,
    pub(crate) outcome: Outcome,
}

struct Open {
    request: RequestHead,
    response: Option<ResponseHead>,
    trailers: Vec<Field>,
    ended: [bool; 2],
    tracker: Tracker,
}

/// The calls among the transactions, by stream, put together as the engine does.
pub(crate) fn calls(events: &[Event]) -> BTreeMap<u64, Told> {
    let mut open: BTreeMap<StreamKey, Open> = BTreeMap::new();
    let mut told = BTreeMap::new();
    for event in events {
        match event {
            Event::RequestHead { key, head, .. } => {
                if let Some(tracker) = Tracker::begin(head) {
                    let begun = Open {
                        request: (**head).clone(),
                        response: None,
                        trailers: Vec::new(),
                        ended: [false; 2],
                        tracker,
                    };
                    open.insert(*key, begun);
                }
            }
            Event::ResponseHead { key, head, .. } => {
                if let Some(one) = open.get_mut(key) {
                    one.response = Some((**head).clone());
                    if !one.tracker.response(head) {
                        open.remove(key);
                    }
                }
            }
            Event::Body { key, side, data, .. } => {
                if let Some(one) = open.get_mut(key) {
                    one.tracker.bytes(*side, data);
                }
            }
            Event::BodyGap {
                key, side, length, ..
            } => {
                if let Some(one) = open.get_mut(key) {
                    one.tracker.gap(*side, *length);
                }
            }
            Event::Trailers {
                key, side, fields, ..
            } => {
                if let (Some(one), Side::Server) = (open.get_mut(key), side) {
                    one.trailers.extend(fields.iter().cloned());
                }
            }
            Event::HalfEnd { key, side, .. } => {
                if let Some(one) = open.get_mut(key) {
                    one.ended[side.index()] = true;
                }
            }
            Event::End { key, outcome, .. } => {
                if let Some(one) = open.remove(key) {
                    let status = status(one.response.as_ref(), &one.trailers, *outcome, false);
                    if let Some(call) = one.tracker.finish(&one.trailers, *outcome, one.ended) {
                        let path = String::from_utf8_lossy(&one.request.target).into_owned();
                        let one = Told {
                            path,
                            call,
                            status,
                            outcome: *outcome,
                        };
                        told.insert(key.0, one);
                    }
                }
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "calls left open");
    told
}
