//! Messages of gRPC in bodies beside tonic's: what tells messages apart, without HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream as _;
use http_body_util::Full;
use qtap_protocol::grpc::{Dialect, Tracker, split};
use qtap_protocol::{Field, Outcome, RequestHead, ResponseHead, Side, Version};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder, Streaming};

use crate::exchange::{Case, text};

/// Calls, each with one message there and eight back.
const CALLS: usize = 50;
const BACK: usize = 8;
const LIMIT: usize = 1 << 20;

fn body(messages: usize, length: usize) -> Bytes {
    let mut body = BytesMut::new();
    for _ in 0..messages {
        body.extend_from_slice(&[0]);
        body.extend_from_slice(&u32::try_from(length).unwrap_or_default().to_be_bytes());
        body.extend_from_slice(text(length).as_bytes());
    }
    body.freeze()
}

pub(crate) fn case() -> Case {
    let (request, response) = (body(1, 120), body(BACK, 300));
    let bodies = [request, response];
    let per_call: usize = bodies.iter().map(Bytes::len).sum();
    let theirs = bodies.clone();
    Case {
        name: "grpc",
        peer: "tonic 0.14 (Streaming)",
        what: "messages",
        bytes: CALLS * per_call,
        messages: (CALLS * (1 + BACK)) as u64,
        ours: Box::new(move || {
            let mut count = 0;
            for _ in 0..CALLS {
                count += call(&bodies)?;
            }
            Ok(count)
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for _ in 0..CALLS {
                for body in &theirs {
                    count += stream(body)?;
                }
            }
            Ok(count)
        }),
    }
}

fn content_type() -> Vec<Field> {
    vec![Field {
        name: "content-type".into(),
        value: "application/grpc".into(),
    }]
}

/// Counted as it passes, and split at its end, as at level `full`.
fn call([request, response]: &[Bytes; 2]) -> anyhow::Result<u64> {
    let head = RequestHead {
        method: Bytes::from_static(b"POST"),
        target: Bytes::from_static(b"/shop.Orders/List"),
        scheme: None,
        authority: None,
        protocol: None,
        version: Version::Http2,
        fields: content_type(),
        partial: false,
        truncated: false,
        framing_conflict: false,
    };
    let mut tracker = Tracker::begin(&head).context("no call")?;
    tracker.bytes(Side::Client, request);
    tracker.response(&ResponseHead {
        status: 200,
        reason: Bytes::new(),
        version: Version::Http2,
        fields: content_type(),
        partial: false,
        truncated: false,
        framing_conflict: false,
    });
    tracker.bytes(Side::Server, response);
    let call = tracker
        .finish(&[], Outcome::Complete, [true; 2])
        .context("no call")?;
    let mut count = 0;
    for (body, messages) in [request, response].into_iter().zip(&call.messages) {
        count += split(body, messages, Dialect::Native, None, LIMIT).len();
    }
    Ok(count as u64)
}

struct Whole;

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

fn stream(body: &Bytes) -> anyhow::Result<u64> {
    let mut stream = Streaming::new_request(Whole, Full::new(body.clone()), None, None);
    let mut context = Context::from_waker(Waker::noop());
    let mut count = 0;
    loop {
        match Pin::new(&mut stream).poll_next(&mut context) {
            Poll::Ready(Some(Ok(_))) => count += 1,
            Poll::Ready(Some(Err(status))) => bail!("{status}"),
            Poll::Ready(None) => return Ok(count),
            Poll::Pending => bail!("bytes that are there are waited for"),
        }
    }
}
