//! An encoder to make connections with, and a reader of the events that come out.

use bytes::Bytes;
use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{
    Counts, Event, Limits, Outcome, ParseError, Parser as _, RequestHead, ResponseHead, Side, StreamKey, Time,
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, payload)
}

pub(crate) fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

pub(crate) fn goaway(last: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = pairs
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(4, 0, 0, &payload)
}

/// HPACK encoder with a dynamic table that it uses wherever it can.
pub(crate) struct Encoder {
    entries: Vec<(String, String)>,
    max: usize,
    pub(crate) huffman: bool,
    /// Sent in front of the next block.
    updates: Vec<u8>,
}

const STATIC: &[(&str, &str, u32)] = &[
    (":authority", "", 1),
    (":method", "GET", 2),
    (":method", "POST", 3),
    (":path", "/", 4),
    (":scheme", "http", 6),
    (":scheme", "https", 7),
    (":status", "200", 8),
    (":status", "204", 9),
    (":status", "404", 13),
    ("content-length", "", 28),
    ("content-type", "", 31),
];

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            max: 4096,
            huffman: false,
            updates: Vec::new(),
        }
    }

    pub(crate) fn resize(&mut self, max: usize) {
        self.max = max;
        integer(&mut self.updates, 0x20, 5, u32::try_from(max).unwrap());
        self.evict(0);
    }

    fn evict(&mut self, incoming: usize) {
        let size = |entries: &[(String, String)]| -> usize {
            entries
                .iter()
                .map(|(name, value)| 32 + name.len() + value.len())
                .sum()
        };
        while !self.entries.is_empty() && size(&self.entries) + incoming > self.max {
            self.entries.pop();
        }
    }

    pub(crate) fn encode(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = std::mem::take(&mut self.updates);
        for &(name, value) in fields {
            let exact = STATIC
                .iter()
                .find(|entry| (entry.0, entry.1) == (name, value))
                .map(|entry| entry.2);
            let dynamic = |position: usize| u32::try_from(position).unwrap() + 62;
            let known = self
                .entries
                .iter()
                .position(|entry| (&*entry.0, &*entry.1) == (name, value));
            if let Some(index) = exact.or(known.map(dynamic)) {
                integer(&mut block, 0x80, 7, index);
                continue;
            }
            let named = STATIC.iter().find(|entry| entry.0 == name).map(|entry| entry.2);
            let learned = self.entries.iter().position(|entry| entry.0 == name).map(dynamic);
            match named.or(learned) {
                Some(index) => integer(&mut block, 0x40, 6, index),
                None => {
                    block.push(0x40);
                    self.string(&mut block, name);
                }
            }
            self.string(&mut block, value);
            let size = 32 + name.len() + value.len();
            self.evict(size);
            if size <= self.max {
                self.entries.insert(0, (name.to_owned(), value.to_owned()));
            }
        }
        block
    }

    fn string(&self, block: &mut Vec<u8>, text: &str) {
        let mut encoded = Vec::new();
        if self.huffman {
            httlib_huffman::encode(text.as_bytes(), &mut encoded).unwrap();
        } else {
            encoded.extend_from_slice(text.as_bytes());
        }
        integer(
            block,
            if self.huffman { 0x80 } else { 0 },
            7,
            u32::try_from(encoded.len()).unwrap(),
        );
        block.extend_from_slice(&encoded);
    }

    /// A HEADERS frame.
    pub(crate) fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(1, flags | END_HEADERS, stream, &self.encode(fields))
    }

    /// A GET request without body.
    pub(crate) fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.headers(stream, END_STREAM, &request("GET", path))
    }
}

pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", path),
    ]
}

fn integer(block: &mut Vec<u8>, pattern: u8, prefix: u32, value: u32) {
    let mask = (1u32 << prefix) - 1;
    if value < mask {
        block.push(pattern | u8::try_from(value).unwrap());
        return;
    }
    block.push(pattern | u8::try_from(mask).unwrap());
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// A parser with its events and a clock that ticks with every call.
pub(crate) struct Tap {
    pub(crate) parser: Parser,
    pub(crate) events: Vec<Event>,
    pub(crate) now: u64,
}

impl Tap {
    pub(crate) fn new(start: Start) -> Self {
        Self {
            parser: Parser::new(Limits::default(), start),
            events: Vec::new(),
            now: 0,
        }
    }

    /// A connection from its start, preface and both SETTINGS already exchanged.
    pub(crate) fn open() -> Self {
        let mut tap = Self::new(Start::Preface);
        tap.client(&[PREFACE, &settings(&[])].concat());
        tap.server(&settings(&[]));
        tap
    }

    fn tick(&mut self) -> Time {
        self.now += 1;
        Time(self.now)
    }

    pub(crate) fn try_bytes(&mut self, side: Side, bytes: &[u8]) -> Result<(), ParseError> {
        let time = self.tick();
        self.parser
            .bytes(side, Bytes::copy_from_slice(bytes), time, &mut self.events)
    }

    pub(crate) fn client(&mut self, bytes: &[u8]) {
        self.try_bytes(Side::Client, bytes).unwrap();
    }

    pub(crate) fn server(&mut self, bytes: &[u8]) {
        self.try_bytes(Side::Server, bytes).unwrap();
    }

    pub(crate) fn gap(&mut self, side: Side, length: usize) {
        let time = self.tick();
        self.parser
            .gap(side, length as u64, time, &mut self.events)
            .unwrap();
    }

    pub(crate) fn close(&mut self) {
        let time = self.tick();
        self.parser.close(time, &mut self.events);
    }

    pub(crate) fn streams(&self) -> Vec<Seen> {
        seen(&self.events)
    }

    pub(crate) fn stream(&self, id: u64) -> Seen {
        self.streams()
            .into_iter()
            .find(|seen| seen.id == id)
            .unwrap_or_else(|| panic!("no stream {id} in {:?}", self.events))
    }

    pub(crate) fn orphans(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, Event::Orphan { .. }))
            .count()
    }
}

/// One transaction as its events tell it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) request: RequestHead,
    pub(crate) response: Option<ResponseHead>,
    /// Body of each side; missing bytes are `None`-sized runs in `gaps`.
    pub(crate) body: [Vec<u8>; 2],
    pub(crate) gaps: [u64; 2],
    pub(crate) trailers: [Vec<(String, String)>; 2],
    pub(crate) interim: Vec<u16>,
    pub(crate) ended: [bool; 2],
    pub(crate) end: Option<(Outcome, Counts, Counts)>,
    pub(crate) times: Vec<u64>,
}

impl Seen {
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.end.map(|end| end.0)
    }

    pub(crate) fn path(&self) -> String {
        String::from_utf8_lossy(&self.request.target).into_owned()
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|head| head.status)
    }

    pub(crate) fn body_text(&self, side: Side) -> String {
        String::from_utf8_lossy(&self.body[side.index()]).into_owned()
    }
}

fn of<'a>(all: &'a mut [Seen], key: StreamKey, event: &Event) -> &'a mut Seen {
    let seen = all.iter_mut().find(|seen| seen.id == key.0);
    let seen = seen.unwrap_or_else(|| panic!("{event:?} before its request"));
    assert!(seen.end.is_none(), "{event:?} after its end");
    seen
}

/// Groups events by transaction, and checks the order that [`Event`] promises.
pub(crate) fn seen(events: &[Event]) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for event in events {
        if let Event::RequestHead {
            key,
            head,
            started,
            time,
        } = event
        {
            assert!(started <= time);
            assert!(all.iter().all(|seen| seen.id != key.0), "key {key:?} used twice");
            all.push(Seen {
                id: key.0,
                request: (**head).clone(),
                response: None,
                body: Default::default(),
                gaps: [0; 2],
                trailers: Default::default(),
                interim: Vec::new(),
                ended: [false; 2],
                end: None,
                times: vec![started.0, time.0],
            });
            continue;
        }
        match event {
            Event::ResponseHead { key, head, .. } => {
                let seen = of(&mut all, *key, event);
                assert!(
                    seen.response.is_none() && !seen.ended[1],
                    "{event:?} out of order"
                );
                seen.response = Some((**head).clone());
            }
            Event::Body { key, side, data, .. } => {
                let seen = of(&mut all, *key, event);
                assert!(!data.is_empty() && !seen.ended[side.index()]);
                assert!(
                    *side == Side::Client || seen.response.is_some(),
                    "{event:?} before its head"
                );
                seen.body[side.index()].extend_from_slice(data);
            }
            Event::BodyGap {
                key, side, length, ..
            } => {
                let seen = of(&mut all, *key, event);
                assert!(!seen.ended[side.index()]);
                seen.gaps[side.index()] += length;
            }
            Event::Trailers {
                key, side, fields, ..
            } => {
                let seen = of(&mut all, *key, event);
                assert!(!seen.ended[side.index()] && seen.trailers[side.index()].is_empty());
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                seen.trailers[side.index()] = fields
                    .iter()
                    .map(|field| (text(&field.name), text(&field.value)))
                    .collect();
            }
            Event::Interim { key, status, .. } => {
                let seen = of(&mut all, *key, event);
                assert!(seen.response.is_none());
                seen.interim.push(*status);
            }
            Event::HalfEnd { key, side, time } => {
                let seen = of(&mut all, *key, event);
                assert!(!seen.ended[side.index()]);
                assert!(
                    *side == Side::Client || seen.response.is_some(),
                    "response ended without head"
                );
                seen.ended[side.index()] = true;
                seen.times.push(time.0);
            }
            Event::End {
                key,
                outcome,
                request,
                response,
                time,
            } => {
                let seen = of(&mut all, *key, event);
                seen.end = Some((*outcome, *request, *response));
                seen.times.push(time.0);
            }
            Event::RequestHead { .. } | Event::Resync { .. } | Event::Orphan { .. } => {}
            Event::Upgraded { .. } => panic!("HTTP/2 never hands over"),
            Event::Command { .. }
            | Event::CommandNamed { .. }
            | Event::CommandEnd { .. }
            | Event::Query { .. }
            | Event::QueryEnd { .. }
            | Event::StartTls { .. } => {
                panic!("no event of HTTP")
            }
        }
    }
    all
}

/// Events with neighbouring body pieces joined, so that only the split of the bytes is forgotten.
pub(crate) fn joined(events: &[Event]) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        if let Event::Body { key, side, data, .. } = event
            && let Some(Event::Body {
                key: last,
                side: last_side,
                data: before,
                ..
            }) = out.last_mut()
            && (&*last, &*last_side) == (key, side)
        {
            *before = [&before[..], data].concat().into();
            continue;
        }
        out.push(event.clone());
    }
    out
}

/// For messages and comparisons.
pub(crate) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or(b"<none>")).into_owned()
}
