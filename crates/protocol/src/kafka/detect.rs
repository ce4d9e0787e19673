//! Whether a connection speaks Kafka's protocol.

use super::correlation_of;
use super::lane::{FRAME_BYTES, Head};
use super::schema::{API_VERSIONS, Role};
use super::sink::{Sink, Start, Step};
use super::topics::Id;
use super::walker::Walker;
use crate::detect::{Evidence, Fit};

/// Length, key, version, correlation id, length of the client's name.
const HEADER_BYTES: usize = 14;
/// Longest name of a client.
const NAME_BYTES: i16 = 255;
/// Longest `ApiVersions` of a version that is not known here.
const NEWER_BYTES: u32 = 512;
/// Bytes of one message that prove it though its end is not there.
const ENOUGH_BYTES: usize = 4000;

/// Takes note of nothing.
struct Nothing;

impl Sink for Nothing {
    fn room(&self, _role: Role) -> usize {
        0
    }
    fn number(&mut self, _role: Role, _value: i64) {}
    fn uuid(&mut self, _role: Role, _value: Id) {}
    fn text(&mut self, _role: Role, _text: &[u8], _is_whole: bool) {}
    fn open(&mut self) {}
    fn shut(&mut self) {}
    fn records(&mut self) {}
    fn records_bytes(&mut self, _data: &[u8]) {}
    fn records_gap(&mut self, _length: u64) {}
    fn records_end(&mut self) {}
}

/// How well the first bytes of a connection fit.
pub(crate) fn fit(evidence: &Evidence<'_>) -> Fit {
    if evidence.midstream {
        return midstream(evidence);
    }
    match (evidence.client, evidence.server) {
        // The client speaks first.
        ([], [_, ..]) => Fit::No,
        ([], []) => Fit::Maybe,
        (client, _) => request(client).0,
    }
}

/// How well `bytes` fit a request at their beginning, and what they hold behind it.
fn request(bytes: &[u8]) -> (Fit, &[u8]) {
    const NO: (Fit, &[u8]) = (Fit::No, &[]);
    let mut header = [0; HEADER_BYTES];
    for (place, byte) in header.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let [a, b, c, d, rest @ ..] = header;
    let length = u32::from_be_bytes([a, b, c, d]);
    let [.., e, f] = rest;
    let (Some(head), name) = (Head::read(&rest), i16::from_be_bytes([e, f])) else {
        return NO;
    };
    let is_newer =
        head.key == API_VERSIONS && head.is_possible() && !head.is_known() && length <= NEWER_BYTES;
    let has = |count| bytes.len() >= count;
    let is_length = (10..=FRAME_BYTES).contains(&length);
    let is_name = (-1..=NAME_BYTES).contains(&name) && i64::from(name) + 10 <= i64::from(length);
    if has(1) && a > 6
        || has(4) && !is_length
        || has(6) && head.api().is_none()
        || has(8) && !(head.is_known() || is_newer)
        || has(HEADER_BYTES) && !is_name
    {
        return NO;
    }
    if !has(HEADER_BYTES) {
        return (Fit::Maybe, &[]);
    }
    let frame = bytes.get(4..).unwrap_or_default();
    let whole = usize::try_from(length).unwrap_or(usize::MAX);
    let (frame, after) = frame.split_at_checked(whole).unwrap_or((frame, &[]));
    let name_end = 10 + usize::try_from(name).unwrap_or(0);
    let name = frame.get(10..name_end.min(frame.len())).unwrap_or_default();
    if !name.iter().all(|byte| matches!(byte, b' '..=b'~' | 0x80..)) {
        return NO;
    }
    if is_newer {
        return (
            if frame.len() == whole {
                Fit::Yes
            } else {
                Fit::Maybe
            },
            after,
        );
    }
    let fit = match walk(&head.start(), frame.get(8..).unwrap_or_default(), whole - 8) {
        Some(Step::Done) => Fit::Yes,
        Some(Step::NeedMore) if frame.len() >= ENOUGH_BYTES => Fit::Yes,
        Some(Step::NeedMore) => Fit::Maybe,
        Some(Step::Bad(_)) | None => Fit::No,
    };
    (fit, after)
}

/// What a message of `whole` bytes comes to, of which `data` are there; `None` when it does not end where it should.
fn walk(start: &Start, mut data: &[u8], whole: usize) -> Option<Step> {
    let is_whole = data.len() == whole;
    let mut walker = Walker::idle();
    walker.start(start, whole as u64);
    let step = walker.feed(&mut data, &mut Nothing);
    match step {
        Step::Done if !is_whole || !data.is_empty() => None,
        Step::NeedMore if is_whole => None,
        step => Some(step),
    }
}

/// P-D3: whole requests one after the other, or one and the header of its reply.
fn midstream(evidence: &Evidence<'_>) -> Fit {
    let client = evidence.client;
    for at in 0..client.len() {
        let rest = client.get(at..).unwrap_or_default();
        // Most places fail on their first byte.
        let (Fit::Yes, mut after) = request(rest) else {
            continue;
        };
        let mut requests = 1;
        while let (Fit::Yes, more) = request(after) {
            (after, requests) = (more, requests + 1);
        }
        let correlation = rest.get(4..).and_then(Head::read).map(|head| head.correlation);
        let has_reply = evidence.server.windows(8).any(|window| {
            let length = window.first_chunk().copied().map_or(0, u32::from_be_bytes);
            (4..=FRAME_BYTES).contains(&length) && correlation_of(window) == correlation
        });
        if requests >= 3 || has_reply {
            return Fit::Yes;
        }
    }
    Fit::Maybe
}
