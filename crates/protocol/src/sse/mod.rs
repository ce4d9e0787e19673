//! Server-sent events: `text/event-stream` (WHATWG HTML, "Server-sent events"; `protocols.md` P-S1).
//!
//! In: the body of the response, content coding removed, and the holes in it. Out: whole [`ServerEvent`]s as they end, and counts.
//! Bounded: `keep` bytes of the data of an event, 256 bytes of its name and id.
//!
//! Recovery: an event that a hole touches is counted as incomplete and not handed out; the next one begins behind the next blank
//! line, since the hole may have ended in the middle of a line.
//!
//! ```
//! use qtap_protocol::{Time, sse::Decoder};
//!
//! let mut decoder = Decoder::new(1024);
//! let mut events = Vec::new();
//! decoder.bytes(b"event: tick\ndata: 1\n\n", Time(1), &mut events);
//! assert_eq!((&events[0].name[..], &events[0].data[..]), ("tick", &b"1"[..]));
//! ```

mod decoder;

pub use decoder::{Decoder, ServerEvent, Traffic};

/// Whether a Content-Type is that of an event stream.
#[must_use]
pub fn is_event_stream(content_type: &[u8]) -> bool {
    let kind = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
