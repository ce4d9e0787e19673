//! DNS on a connection: over TCP, or inside of TLS. Answers come in any order (RFC 7766, section 7).

use bytes::Bytes;

use super::frames::{Framed, Frames};
use super::{Answered, Asked, Exchange, Message, MessageError, Pairing};
use crate::quality::Quality;
use crate::{Detail, Event, Limits, Outcome, ParseError, Side, StreamKey, Time};

const NAME: &str = "dns";

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, _: Detail, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, midstream))
}

/// Parser of one connection.
#[derive(Debug)]
pub struct Parser {
    client: Frames,
    server: Frames,
    pairing: Pairing<StreamKey>,
    quality: Quality,
    next_key: u64,
}

impl Parser {
    /// A parser of a connection from its beginning, or joined in the middle.
    #[must_use]
    pub fn new(limits: Limits, midstream: bool) -> Self {
        Self {
            client: Frames::new(Side::Client, midstream),
            server: Frames::new(Side::Server, midstream),
            pairing: Pairing::new(limits.pending_commands),
            quality: Quality::new(NAME),
            next_key: 1,
        }
    }

    const fn frames(&mut self, side: Side) -> &mut Frames {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// A message is over, though bytes of it may be missing.
    fn framed(&mut self, side: Side, framed: &Framed, out: &mut Vec<Event>) -> Result<(), ParseError> {
        let pairing = &self.pairing;
        let read = Message::parse_answer(&framed.bytes, |id| pairing.question(id, |_| true));
        let read = read.map_err(reason_of).and_then(|message| match side {
            Side::Client if message.is_response => Err("an answer of the client"),
            Side::Server if !message.is_response => Err("a query of the server"),
            _ => Ok(message),
        });
        let is_damaged = framed.extent.gap_bytes > 0;
        let message = match read {
            Ok(message) => message,
            Err(_) if is_damaged => {
                self.lose(side);
                return Ok(());
            }
            Err(reason) => {
                out.push(Event::Resync {
                    side,
                    reason,
                    dropped: framed.extent.bytes,
                });
                // It may have been the answer of any.
                self.lose(side);
                return self.quality.bad();
            }
        };
        if !is_damaged {
            self.quality.good();
        }
        match side {
            Side::Client => self.query(message, framed, out),
            Side::Server => self.response(message, framed, out),
        }
        Ok(())
    }

    fn query(&mut self, message: Message, framed: &Framed, out: &mut Vec<Event>) {
        let key = StreamKey(self.next_key);
        let ended = match self.pairing.query(message, framed.extent, |_| true, || key) {
            Asked::New => None,
            Asked::Again => return,
            Asked::Full(exchange) => Some(Event::QueryEnd { key, exchange }),
        };
        self.next_key += 1;
        out.push(Event::Query { key });
        out.extend(ended);
    }

    fn response(&mut self, message: Message, framed: &Framed, out: &mut Vec<Event>) {
        let bytes = framed.extent.bytes;
        match (self.pairing).response(message, &framed.bytes, framed.extent, |_| true) {
            Answered::Exchange(key, exchange) => out.push(Event::QueryEnd { key, exchange }),
            Answered::Part => {}
            Answered::Orphan => out.push(Event::Orphan { bytes }),
        }
    }

    /// Bytes of `side` are lost: maybe the answers of those that wait.
    fn lose(&mut self, side: Side) {
        if side == Side::Server {
            self.pairing.doubt(|_| true);
        }
    }

    /// Ends queries without an answer.
    fn end(
        &mut self,
        end: impl FnOnce(&mut Pairing<StreamKey>, &mut Vec<(StreamKey, Box<Exchange>)>),
        out: &mut Vec<Event>,
    ) {
        if self.server.is_searching() {
            // It may hold their answers.
            self.lose(Side::Server);
        }
        let mut ended = Vec::new();
        end(&mut self.pairing, &mut ended);
        out.extend(
            ended
                .into_iter()
                .map(|(key, exchange)| Event::QueryEnd { key, exchange }),
        );
    }
}

const fn reason_of(error: MessageError) -> &'static str {
    match error {
        MessageError::Short => "a message ends too early",
        MessageError::Name => "a message has an impossible name",
        MessageError::Questions => "a message has not one question",
    }
}

impl crate::Parser for Parser {
    fn bytes(
        &mut self,
        side: Side,
        mut data: Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !data.is_empty() {
            if let Some(framed) = self.frames(side).take(&mut data, time) {
                self.framed(side, &framed, out)?;
            }
        }
        Ok(())
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length == 0 {
            return Ok(());
        }
        match self.frames(side).pass(length, time) {
            Ok(None) => Ok(()),
            Ok(Some(framed)) => self.framed(side, &framed, out),
            Err(()) => {
                self.frames(side).seek();
                self.lose(side);
                Ok(())
            }
        }
    }

    fn eof(&mut self, _side: Side, _time: Time, _out: &mut Vec<Event>) {}

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        let end = |pairing: &mut Pairing<_>, ended: &mut _| pairing.end_all(Outcome::Canceled, time, ended);
        self.end(end, out);
    }

    fn resync(&mut self, side: Side, _time: Time, _out: &mut Vec<Event>) {
        self.frames(side).seek();
        self.lose(side);
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        self.end(|pairing, ended| pairing.expire(before, ended), out);
    }

    fn buffered(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.held(),
            Side::Server => self.server.held(),
        }
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }
}
