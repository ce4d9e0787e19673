//! The streams of a connection and the events of their transactions.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::block::{Block, FieldList, Subject};
use super::message;
use super::stream::{Half, Stream};
use crate::{Event, Field, Outcome, RequestHead, Side, StreamKey, Time};

/// Streams remembered after they ended early, since frames of theirs may still be on the way.
const FORGOTTEN: usize = 256;

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
        self.whole = false;
        let mut over = Vec::new();
        for (&id, stream) in &mut self.open {
            stream.half(side).doubt();
            if stream.is_over() {
                over.push(id);
            }
        }
        for id in over {
            self.end(id, Outcome::Incomplete, time, out);
        }
    }

    /// A header block of `side` is whole, or as whole as it gets.
    pub(crate) fn block(&mut self, side: Side, block: Block, time: Time, out: &mut Vec<Event>) {
        match (block.subject, side) {
            (Subject::Promise(Some(id)), Side::Server) => self.promise(id, block, time, out),
            (Subject::Promise(_), _) => {}
            (Subject::Message, Side::Client) => self.request(block, time, out),
            (Subject::Message, Side::Server) => self.response(block, time, out),
        }
    }

    fn request(&mut self, block: Block, time: Time, out: &mut Vec<Event>) {
        let id = block.stream;
        if self.open.contains_key(&id) {
            self.trailers(Side::Client, block, time, out);
            return;
        }
        if id.is_multiple_of(2) || id <= self.highest {
            return;
        }
        // The first seen of a stream after an attach or a loss may be the trailers of a request that is not known.
        let list = &block.list;
        let trailers = block.end_stream && !list.fields.is_empty() && !message::has_request_pseudo(list);
        self.highest = id;
        if !self.intact && trailers {
            return;
        }
        self.intact = true;
        let end_stream = block.end_stream;
        self.open_stream(id, block, time, out);
        if end_stream {
            self.end_half(Side::Client, id, time, out);
        }
        self.refuse_if_late(id, time, out);
    }

    fn promise(&mut self, id: u32, block: Block, time: Time, out: &mut Vec<Event>) {
        if id % 2 == 1 || id <= self.highest_promised {
            return;
        }
        self.highest_promised = id;
        self.open_stream(id, block, time, out);
        self.end_half(Side::Client, id, time, out);
        self.refuse_if_late(id, time, out);
    }

    fn open_stream(&mut self, id: u32, block: Block, time: Time, out: &mut Vec<Event>) {
        let Block {
            started,
            frame_bytes,
            gap_bytes,
            list,
            ..
        } = block;
        let head = Box::new(message::request(list));
        self.open_request(id, head, started, time, out);
        if let Some(stream) = self.open.get_mut(&id) {
            stream.client.counts.head_bytes = frame_bytes;
            stream.client.counts.gap_bytes = gap_bytes;
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
            ..Half::default()
        };
        // A response that came first has been passed over.
        let missed = self.forgotten.contains(&id);
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

    fn response(&mut self, block: Block, time: Time, out: &mut Vec<Event>) {
        let id = block.stream;
        let Some(stream) = self.open.get_mut(&id) else {
            self.orphan(id, block.frame_bytes, out);
            return;
        };
        if stream.server.head || stream.server.ended {
            self.trailers(Side::Server, block, time, out);
            return;
        }
        let status = message::status(&block.list);
        // After a loss the head may be gone and this be the trailers.
        if stream.server.doubtful && status.is_none() && block.end_stream && !block.list.partial {
            self.lost_head(id, time, out);
            self.trailers(Side::Server, block, time, out);
            return;
        }
        let half = &mut stream.server;
        half.counts.head_bytes += block.frame_bytes;
        half.counts.gap_bytes += block.gap_bytes;
        stream.last = time;
        if let Some(status @ (100 | 102..=199)) = status.filter(|_| !block.end_stream) {
            out.push(Event::Interim {
                key: key(id),
                status,
                time,
            });
            return;
        }
        let half = &mut stream.server;
        half.head = true;
        // What was lost came before the head, so nothing of this half is missing.
        half.doubtful &= status.is_none();
        let head = Box::new(message::response(block.list));
        stream.streaming |= message::is_streaming(&head.fields);
        out.push(Event::ResponseHead {
            key: key(id),
            head,
            started: block.started,
            time,
        });
        if block.end_stream {
            self.end_half(Side::Server, id, time, out);
        }
    }

    fn orphan(&mut self, id: u32, bytes: u64, out: &mut Vec<Event>) {
        let closed =
            self.whole && (id <= self.highest || (id.is_multiple_of(2) && id <= self.highest_promised));
        if !closed && !self.forgotten.contains(&id) {
            self.forget(id);
            out.push(Event::Orphan { bytes });
        }
    }

    fn trailers(&mut self, side: Side, block: Block, time: Time, out: &mut Vec<Event>) {
        let Some(stream) = self.open.get_mut(&block.stream) else {
            return;
        };
        let half = stream.half(side);
        if half.ended {
            return;
        }
        half.counts.head_bytes += block.frame_bytes;
        half.counts.gap_bytes += block.gap_bytes;
        stream.last = time;
        // Without END_STREAM this is no trailer section but the head after an interim one whose status was not
        // learned; the head reported then stands.
        if block.end_stream {
            let fields = plain_fields(block.list);
            if !fields.is_empty() {
                out.push(Event::Trailers {
                    key: key(block.stream),
                    side,
                    fields,
                    time,
                });
            }
            self.end_half(side, block.stream, time, out);
        }
    }

    /// Stands in for a response head that is known to be lost.
    fn lost_head(&mut self, id: u32, time: Time, out: &mut Vec<Event>) {
        if let Some(stream) = self.open.get_mut(&id).filter(|stream| !stream.server.head) {
            stream.server.head = true;
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

    /// Passes body bytes on.
    pub(crate) fn body(&mut self, side: Side, id: u32, data: Bytes, time: Time, out: &mut Vec<Event>) {
        if self.takes_body(side, id, time, out) {
            out.push(Event::Body {
                key: key(id),
                side,
                data,
                time,
            });
        }
    }

    /// Reports missing body bytes.
    pub(crate) fn body_gap(&mut self, side: Side, id: u32, length: u64, time: Time, out: &mut Vec<Event>) {
        if length > 0 && self.takes_body(side, id, time, out) {
            out.push(Event::BodyGap {
                key: key(id),
                side,
                length,
                time,
            });
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

    /// RST_STREAM; without a code when that was lost.
    pub(crate) fn reset(&mut self, id: u32, code: Option<u32>, time: Time, out: &mut Vec<Event>) {
        self.end(id, code.map_or(Outcome::Incomplete, Outcome::Reset), time, out);
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
        let expired: Vec<(u32, Time, bool)> = self
            .open
            .iter()
            .filter(|(_, stream)| old(stream))
            .map(|(&id, stream)| (id, stream.last, stream.is_doubtful()))
            .collect();
        for (id, last, doubtful) in expired {
            let outcome = if doubtful {
                Outcome::Incomplete
            } else {
                Outcome::Timeout
            };
            self.end(id, outcome, last, out);
        }
    }

    /// The connection is over.
    pub(crate) fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        while let Some((&id, stream)) = self.open.first_key_value() {
            let outcome = if stream.is_doubtful() {
                Outcome::Incomplete
            } else {
                Outcome::Canceled
            };
            self.end(id, outcome, time, out);
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

/// The fields of a trailer section, in which pseudo fields have no place (RFC 9113 §8.1).
fn plain_fields(list: FieldList) -> Vec<Field> {
    list.fields
        .into_iter()
        .filter(|field| !field.name.starts_with(b":"))
        .collect()
}
