//! The streams of a connection and the events of their transactions.

mod heads;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::message;
use super::stream::{Half, Stream};
use crate::{Counts, Event, Outcome, RequestHead, Side, StreamKey, Time};

/// Streams remembered after they ended early, since frames of theirs may still be on the way.
const FORGOTTEN: usize = 256;
/// RFC 9113 §7.
const NO_ERROR: u32 = 0;
const STREAM_CLOSED: u32 = 5;
const CANCEL: u32 = 8;

/// Bytes of a body may be missing, no one knows how many.
fn unknown_gap(id: u32, side: Side, time: Time) -> Event {
    Event::BodyGap {
        key: key(id),
        side,
        length: 0,
        time,
    }
}

/// All streams of which the request is known and the end is not.
#[derive(Debug)]
pub(crate) struct Streams {
    open: BTreeMap<u32, Stream>,
    limit: usize,
    /// Largest stream id that the client has used.
    highest: u32,
    /// Largest stream id that the server has promised.
    highest_promised: u32,
    /// Every request above `highest` is still to come: none was lost or sent before the attach.
    intact: bool,
    /// As `intact`, and for every request at all.
    whole: bool,
    /// When bytes of the server were lost last.
    server_lost: Option<Time>,
    /// GOAWAY of the server and of the client.
    refused_above: [Option<u32>; 2],
    /// Streams that are over for us though not, perhaps, on the wire; and those never known.
    forgotten: VecDeque<u32>,
}

fn key(id: u32) -> StreamKey {
    StreamKey(u64::from(id))
}

impl Streams {
    /// `whole`: the connection is followed from its first byte.
    pub(crate) fn new(limit: usize, whole: bool) -> Self {
        Self {
            open: BTreeMap::new(),
            limit,
            highest: 0,
            highest_promised: 0,
            intact: whole,
            whole,
            server_lost: None,
            refused_above: [None; 2],
            forgotten: VecDeque::new(),
        }
    }

    /// The client turned out to begin with the preface.
    pub(crate) fn begin(&mut self) {
        self.intact = true;
        self.whole = true;
    }

    /// Whether stream `id` is one that the client must have begun, though its request has not come by yet: reads
    /// and writes of different threads may be captured out of order.
    pub(crate) fn is_ahead(&self, id: u32) -> bool {
        self.intact && id % 2 == 1 && id > self.highest
    }

    /// Whether the connection is followed from its first byte, without loss.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Requests that should have come by have not.
    pub(crate) fn miss_requests(&mut self) {
        self.intact = false;
        self.whole = false;
    }

    /// The client used stream `id`.
    pub(crate) fn note(&mut self, id: u32) {
        if id % 2 == 1 && id > self.highest {
            self.highest = id;
        }
    }

    /// Frames of `side` were lost, no one knows of which streams.
    pub(crate) fn lost(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        if side == Side::Client {
            self.intact = false;
        }
        if side == Side::Server {
            self.server_lost = self.server_lost.max(Some(time));
        }
        self.whole = false;
        let mut over = Vec::new();
        for (&id, stream) in &mut self.open {
            let half = stream.half(side);
            if half.head && !half.ended {
                out.push(unknown_gap(id, side, time));
            }
            half.doubt();
            if stream.is_over() {
                over.push(id);
            }
        }
        for id in over {
            self.end(id, Outcome::Incomplete, time, out);
        }
    }

    /// Begins a transaction.
    pub(crate) fn open_request(
        &mut self,
        id: u32,
        head: Box<RequestHead>,
        started: Time,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        while self.open.len() >= self.limit.max(1) {
            let Some((&oldest, _)) = self.open.first_key_value() else {
                break;
            };
            self.end(oldest, Outcome::Incomplete, time, out);
        }
        self.note(id);
        let streaming = message::is_streaming(&head.fields) || &head.method[..] == b"CONNECT";
        let client = Half {
            head: true,
            declared: message::declared_length(&head.fields),
            ..Half::default()
        };
        // A request that took long to find: its response may have been passed over, or lost.
        let missed = self.forgotten.contains(&id) || self.server_lost.is_some_and(|lost| lost >= started);
        let server = Half {
            doubtful: missed,
            ..Half::default()
        };
        self.open.insert(
            id,
            Stream {
                client,
                server,
                last: time,
                streaming,
            },
        );
        out.push(Event::RequestHead {
            key: key(id),
            head,
            started,
            time,
        });
    }

    fn refuse_if_late(&mut self, id: u32, time: Time, out: &mut Vec<Event>) {
        let [by_server, by_client] = self.refused_above;
        let last = if id % 2 == 1 { by_server } else { by_client };
        if last.is_some_and(|last| id > last) {
            self.end(id, Outcome::Refused, time, out);
        }
    }

    /// Stands in for a response head that is known to be lost.
    fn lost_head(&mut self, id: u32, time: Time, out: &mut Vec<Event>) {
        if let Some(stream) = self.open.get_mut(&id).filter(|stream| !stream.server.head) {
            stream.server.head = true;
            stream.server.doubtful = true;
            let head = Box::new(message::lost_response());
            out.push(Event::ResponseHead {
                key: key(id),
                head,
                started: time,
                time,
            });
        }
    }

    /// Counts `bytes` of DATA frames, header and padding included; `gap` of them were not captured.
    pub(crate) fn count_body(&mut self, side: Side, id: u32, bytes: u64, gap: u64, time: Time) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.last = time;
            let half = stream.half(side);
            if !half.ended {
                half.counts.body_bytes += bytes;
                half.counts.gap_bytes += gap;
            }
        }
    }

    /// Bytes of an open stream so far.
    pub(crate) fn counts(&self, key: StreamKey) -> Option<[Counts; 2]> {
        let stream = self.open.get(&u32::try_from(key.0).ok()?)?;
        Some([stream.client.counts, stream.server.counts])
    }

    /// Passes body bytes on.
    pub(crate) fn body(&mut self, side: Side, id: u32, data: Bytes, time: Time, out: &mut Vec<Event>) {
        if self.takes_body(side, id, time, out) {
            self.add_content(side, id, data.len() as u64);
            out.push(Event::Body {
                key: key(id),
                side,
                data,
                time,
            });
        }
    }

    /// Bytes of a body are missing, and padding may be among those that are told.
    pub(crate) fn doubt_body(&mut self, side: Side, id: u32, time: Time, out: &mut Vec<Event>) {
        if self.takes_body(side, id, time, out) {
            if let Some(stream) = self.open.get_mut(&id) {
                stream.half(side).declared = None;
            }
            out.push(unknown_gap(id, side, time));
        }
    }

    /// Reports missing body bytes.
    pub(crate) fn body_gap(&mut self, side: Side, id: u32, length: u64, time: Time, out: &mut Vec<Event>) {
        if length > 0 && self.takes_body(side, id, time, out) {
            self.add_content(side, id, length);
            out.push(Event::BodyGap {
                key: key(id),
                side,
                length,
                time,
            });
        }
    }

    fn add_content(&mut self, side: Side, id: u32, length: u64) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.half(side).content += length;
        }
    }

    fn takes_body(&mut self, side: Side, id: u32, time: Time, out: &mut Vec<Event>) -> bool {
        let takes = self
            .open
            .get_mut(&id)
            .is_some_and(|stream| !stream.half(side).ended);
        if takes && side == Side::Server {
            self.lost_head(id, time, out);
        }
        takes
    }

    /// END_STREAM of `side`.
    pub(crate) fn end_half(&mut self, side: Side, id: u32, time: Time, out: &mut Vec<Event>) {
        if !self.takes_body(side, id, time, out) {
            return;
        }
        out.push(Event::HalfEnd {
            key: key(id),
            side,
            time,
        });
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        stream.half(side).ended = true;
        if stream.is_over() {
            let outcome = if stream.is_doubtful() {
                Outcome::Incomplete
            } else {
                Outcome::Complete
            };
            self.end(id, outcome, time, out);
        }
    }

    /// RST_STREAM of `side`; without a code when that was lost.
    ///
    /// After a whole response, a server that resets with NO_ERROR only wants no more of the request (RFC 9113 §8.1): the transaction is
    /// complete, without an end of the request's half where more of that was to come. And a client that has all of a response by its declared
    /// length may be done with the stream before its END_STREAM comes: libcurl resets it with STREAM_CLOSED then.
    pub(crate) fn reset(&mut self, side: Side, id: u32, code: Option<u32>, time: Time, out: &mut Vec<Event>) {
        let Some(stream) = self.open.get(&id) else { return };
        let is_answered = side == Side::Server && stream.server.ended;
        let is_done = side == Side::Client && stream.is_whole();
        let outcome = match code {
            None => Outcome::Incomplete,
            Some(NO_ERROR) if is_answered && stream.is_doubtful() => Outcome::Incomplete,
            Some(NO_ERROR) if is_answered => Outcome::Complete,
            Some(NO_ERROR | STREAM_CLOSED | CANCEL) if is_done => Outcome::Complete,
            Some(code) => Outcome::Reset(code),
        };
        if outcome == Outcome::Complete {
            self.end_whole_halves(id, time, out);
        }
        self.end(id, outcome, time, out);
    }

    /// GOAWAY of `side`: it has not processed, and never will, what its peer began above `last`.
    pub(crate) fn go_away(&mut self, side: Side, last: u32, time: Time, out: &mut Vec<Event>) {
        let parity = if side == Side::Server { 1 } else { 0 };
        let [by_server, by_client] = &mut self.refused_above;
        *(if side == Side::Server {
            by_server
        } else {
            by_client
        }) = Some(last);
        let refused: Vec<u32> = self
            .open
            .range(last.saturating_add(1)..)
            .map(|(&id, _)| id)
            .filter(|id| id % 2 == parity)
            .collect();
        for id in refused {
            self.end(id, Outcome::Refused, time, out);
        }
    }

    /// Ends streams without a frame since `before`.
    pub(crate) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let old = |stream: &Stream| stream.last < before && (!stream.streaming || stream.is_doubtful());
        let expired: Vec<(u32, Time)> = (self.open.iter())
            .filter(|(_, stream)| old(stream))
            .map(|(&id, stream)| (id, stream.last))
            .collect();
        for (id, last) in expired {
            self.give_up(id, Outcome::Timeout, last, out);
        }
    }

    /// The connection is over.
    pub(crate) fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        while let Some((&id, _)) = self.open.first_key_value() {
            self.give_up(id, Outcome::Canceled, time, out);
        }
    }

    /// Nothing more of a stream is to be expected, for a reason that has nothing to do with it. A program that knows the length of a response
    /// may leave an END_STREAM that follows it unread (libcurl does): both messages are whole then, since their last byte.
    fn give_up(&mut self, id: u32, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        let Some(stream) = self.open.get(&id) else { return };
        let last = stream.last;
        if stream.is_doubtful() {
            self.end(id, Outcome::Incomplete, time, out);
        } else if stream.is_whole() {
            self.end_whole_halves(id, last, out);
            self.end(id, Outcome::Complete, last, out);
        } else {
            self.end(id, outcome, time, out);
        }
    }

    /// Ends the halves of a stream that are whole without END_STREAM.
    fn end_whole_halves(&mut self, id: u32, time: Time, out: &mut Vec<Event>) {
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        for side in [Side::Client, Side::Server] {
            let half = stream.half(side);
            if half.is_whole() && !half.ended {
                half.ended = true;
                out.push(Event::HalfEnd {
                    key: key(id),
                    side,
                    time,
                });
            }
        }
    }

    fn end(&mut self, id: u32, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        let Some(stream) = self.open.remove(&id) else {
            return;
        };
        if outcome != Outcome::Complete {
            self.forget(id);
        }
        out.push(Event::End {
            key: key(id),
            outcome,
            request: stream.client.counts,
            response: stream.server.counts,
            time,
        });
    }

    fn forget(&mut self, id: u32) {
        if self.forgotten.len() >= FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(id);
    }
}
