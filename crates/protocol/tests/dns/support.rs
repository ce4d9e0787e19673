//! Messages byte by byte, and a conversation with the parser of a stream.

use bytes::Bytes;
use qtap_protocol::dns::{self, Exchange};
use qtap_protocol::{Detail, Event, Limits, Outcome, ParseError, Parser, Side, Time};

/// Header and question for `name`.
pub(crate) fn question(flags: u16, answers: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [0x1234, flags, 1, answers, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    message.extend(wire(name));
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&1_u16.to_be_bytes());
    message
}

pub(crate) fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record whose owner is given as on the wire.
pub(crate) fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&1_u16.to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// Points at the name of the question.
pub(crate) const ASKED: &[u8] = b"\xc0\x0c";

/// EDNS: 1,232 bytes, signatures wanted.
pub(crate) const OPTIONS: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

/// A query for the address of `name`.
pub(crate) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = question(0x0100, 0, name, 1);
    message[..2].copy_from_slice(&id.to_be_bytes());
    message
}

/// Its answer: 10.0.0.`last`.
pub(crate) fn answer(id: u16, name: &str, last: u8) -> Vec<u8> {
    let mut message = question(0x8180, 1, name, 1);
    message[..2].copy_from_slice(&id.to_be_bytes());
    message.extend(record(ASKED, 1, 60, &[10, 0, 0, last]));
    message
}

/// As on a stream.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A conversation.
pub(crate) struct Talk {
    parser: Box<dyn Parser>,
    pub(crate) events: Vec<Event>,
    pub(crate) result: Result<(), ParseError>,
    now: u64,
}

impl Talk {
    pub(crate) fn new(midstream: bool) -> Self {
        Self::with(Limits::default(), midstream)
    }

    pub(crate) fn with(limits: Limits, midstream: bool) -> Self {
        Self {
            parser: dns::start(limits, Detail::default(), midstream),
            events: Vec::new(),
            result: Ok(()),
            now: 0,
        }
    }

    fn bytes(&mut self, side: Side, data: &[u8]) -> &mut Self {
        self.now += 1;
        if self.result.is_ok() {
            let data = Bytes::copy_from_slice(data);
            self.result = self.parser.bytes(side, data, Time(self.now), &mut self.events);
        }
        self
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, side: Side, data: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(side, data.as_ref())
    }

    /// A message of the client behind its length.
    pub(crate) fn client(&mut self, message: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(Side::Client, &framed(message.as_ref()))
    }

    /// One of the server.
    pub(crate) fn server(&mut self, message: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(Side::Server, &framed(message.as_ref()))
    }

    pub(crate) fn gap(&mut self, side: Side, length: u64) -> &mut Self {
        self.now += 1;
        self.result = self.parser.gap(side, length, Time(self.now), &mut self.events);
        self
    }

    pub(crate) fn resync(&mut self, side: Side) -> &mut Self {
        self.parser.resync(side, Time(self.now), &mut self.events);
        self
    }

    pub(crate) fn expire(&mut self) -> &mut Self {
        self.now += 1;
        self.parser.expire(Time(self.now), &mut self.events);
        self
    }

    /// What ended so far.
    pub(crate) fn ended(&self) -> Vec<Exchange> {
        ended(&self.events)
    }

    pub(crate) fn close(&mut self) -> Vec<Exchange> {
        self.now += 1;
        self.parser.close(Time(self.now), &mut self.events);
        self.ended()
    }

    pub(crate) fn orphans(&self) -> usize {
        let is_orphan = |event: &&Event| matches!(event, Event::Orphan { .. });
        self.events.iter().filter(is_orphan).count()
    }
}

/// The queries of events, in the order of their ends.
pub(crate) fn ended(events: &[Event]) -> Vec<Exchange> {
    let ends = events.iter().filter_map(|event| match event {
        Event::QueryEnd { exchange, .. } => Some((**exchange).clone()),
        _ => None,
    });
    ends.collect()
}

/// Name, what it came to, and how it ended.
pub(crate) fn brief(exchange: &Exchange) -> (String, Vec<String>, Outcome) {
    let records = exchange.response.iter().flat_map(|response| &response.records);
    (
        exchange.query.question.name.to_string(),
        records.map(|record| record.answer.to_string()).collect(),
        exchange.outcome,
    )
}
