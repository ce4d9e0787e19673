//! What header blocks mean for their streams.

use super::{Streams, key};
use crate::http2::block::{Block, FieldList, Subject};
use crate::http2::message;
use crate::{Event, Field, Side, Time};

impl Streams {
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
        // What is seen first of a stream after an attach or a loss may be the trailers of a request that is not
        // known. A request names its scheme, which the static table has, so at least that would be known.
        let trailers = block.end_stream && !message::has_request_pseudo(&block.list);
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

    fn response(&mut self, mut block: Block, time: Time, out: &mut Vec<Event>) {
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
        if status.is_none() && block.end_stream {
            let partial = block.list.partial;
            if !partial || stream.server.doubtful {
                // These are the trailers of a head that was lost; or, with fields unknown, either of the two.
                self.lost_head(id, time, out);
                if partial {
                    block.list.fields.clear();
                }
                self.trailers(Side::Server, block, time, out);
                return;
            }
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
        half.doubtful = false;
        let head = Box::new(message::response(block.list));
        half.declared = message::declared_length(&head.fields);
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
            let partial = block.list.partial || block.list.truncated;
            let fields = plain_fields(block.list);
            if partial || !fields.is_empty() {
                out.push(Event::Trailers {
                    key: key(block.stream),
                    side,
                    fields,
                    partial,
                    time,
                });
            }
            self.end_half(side, block.stream, time, out);
        }
    }
}

/// The fields of a trailer section, in which pseudo fields have no place (RFC 9113 §8.1).
fn plain_fields(list: FieldList) -> Vec<Field> {
    list.fields
        .into_iter()
        .filter(|field| !field.name.starts_with(b":"))
        .collect()
}
