//! Server-sent events beside sse-stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use anyhow::bail;
use bytes::Bytes;
use futures_core::Stream as _;
use qtap_protocol::Time;
use qtap_protocol::sse::Decoder;
use sse_stream::SseStream;

use crate::exchange::{Case, text};

const EVENTS: u64 = 400;
const KEEP: usize = 1 << 20;

pub(crate) fn case() -> Case {
    let events = (0..EVENTS).map(|number| {
        Bytes::from(format!(
            "event: delta\nid: {number}\ndata: {{\"index\":{number},\"delta\":{{\"text\":\"{}\"}}}}\n\n",
            text(60)
        ))
    });
    let ours: Vec<Bytes> = events.collect();
    let theirs = ours.clone();
    let mut found = Vec::new();
    Case {
        name: "sse",
        peer: "sse-stream 0.2",
        what: "events",
        bytes: ours.iter().map(Bytes::len).sum(),
        messages: EVENTS,
        ours: Box::new(move || {
            let mut decoder = Decoder::new(KEEP);
            let mut count = 0;
            for (piece, time) in ours.iter().zip(1..) {
                decoder.bytes(piece, Time(time), &mut found);
                count += found.drain(..).count() as u64;
            }
            Ok(count)
        }),
        theirs: Box::new(move || {
            let pieces = theirs.clone().into_iter().map(Ok::<_, Infallible>);
            let mut stream = SseStream::from_bytes_stream(futures_util::stream::iter(pieces));
            let mut context = Context::from_waker(Waker::noop());
            let mut count = 0;
            loop {
                match Pin::new(&mut stream).poll_next(&mut context) {
                    Poll::Ready(Some(Ok(_))) => count += 1,
                    Poll::Ready(Some(Err(error))) => bail!("{error}"),
                    Poll::Ready(None) => return Ok(count),
                    Poll::Pending => bail!("bytes that are there are waited for"),
                }
            }
        }),
    }
}
