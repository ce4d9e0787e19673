//! Kafka: requests and replies of all APIs, batches of records, SASL (P-K1 to P-K9).

mod codecs;
mod detect;
mod draft;
mod errors;
mod facts;
mod lane;
mod outbox;
mod pending;
mod records;
mod replies;
mod report;
mod requests;
mod sasl;
mod schema;
mod session;
mod sink;
#[rustfmt::skip] // written by a program
mod tables;
mod topics;
mod walker;
#[cfg(test)]
mod walker_tests;

use std::sync::Arc;

use bytes::Bytes;

use self::facts::Facts;
use self::lane::{Head, Lane};
use self::pending::Queue;
use self::sasl::Exchange;
use self::session::FetchSession;
use crate::quality::Quality;
use crate::{Detail, Event, Limits, ParseError, Side, Time};

pub(crate) use detect::fit;
pub use topics::Topics;

const NAME: &str = "kafka";

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, detail: Detail, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, detail, midstream, Topics::shared()))
}

/// A reply under way.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// To a request that is not known.
    Orphan,
    /// To a bare token.
    Token,
    /// To the request of this correlation id.
    To(i32),
}

/// Parser of one connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    topics: Arc<Topics>,
    client: Lane,
    server: Lane,
    asked: Facts,
    told: Facts,
    queue: Queue,
    quality: Quality,
    /// The request under way; `None` for a bare token.
    head: Option<Head>,
    reply: Reply,
    name: Option<Arc<str>>,
    correlation: Option<i32>,
    exchange: Option<Exchange>,
    session: FetchSession,
}

impl Parser {
    /// A parser of a connection from its beginning, or joined in the middle. Names of topics are found in `topics` and added to them.
    #[must_use]
    pub fn new(limits: Limits, detail: Detail, midstream: bool, topics: Arc<Topics>) -> Self {
        Self {
            client: Lane::new(Side::Client, midstream),
            server: Lane::new(Side::Server, midstream),
            asked: Facts::new(false, Arc::clone(&topics), detail.values, limits.preview_bytes),
            told: Facts::new(true, Arc::clone(&topics), detail.values, limits.preview_bytes),
            queue: Queue::new(limits.pending_commands, Arc::clone(&topics)),
            limits,
            topics,
            quality: Quality::new(NAME),
            head: None,
            reply: Reply::Orphan,
            name: None,
            correlation: None,
            exchange: None,
            session: FetchSession::default(),
        }
    }

    /// The message under way is not what it should be. Its frame has an end all the same, unless it may be none.
    fn misread(
        &mut self,
        side: Side,
        reason: &'static str,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        let lane = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if lane.is_trying() || !lane.is_inside() {
            let is_bad = !lane.is_trying() || lane.is_seeking_after_bad();
            self.lose(side, Some(reason).filter(|_| is_bad), true, time, out);
            return if is_bad { self.quality.bad() } else { Ok(()) };
        }
        lane.is_unread = true;
        let taken = lane.settle(time);
        self.quality.bad()?;
        match side {
            Side::Client => self.client_took(taken, time, out),
            Side::Server => self.server_took(taken, time, out),
        }
    }

    /// Where frames begin is not known any more. `reason`: what was wrong with those of `side`; `follows`: no bytes are missing.
    fn lose(
        &mut self,
        side: Side,
        reason: Option<&'static str>,
        follows: bool,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        match side {
            Side::Client => {
                if self.client.is_inside() && !self.client.is_trying() {
                    // It was sent all the same, and is answered.
                    self.client.is_unread = true;
                    let extent = self.client.cut(time);
                    self.asked_for(extent, out);
                }
                self.exchange = None;
                self.asked.clear();
                self.client.seek(reason, follows);
            }
            Side::Server => {
                if self.server.is_inside() && !self.server.is_trying() {
                    self.give_up_reply(time, out);
                }
                self.told.clear();
                self.server.seek(reason, follows);
                self.queue.doubt();
            }
        }
    }
}

/// The correlation id of a reply that begins with its length.
fn correlation_of(head: &[u8]) -> Option<i32> {
    head.get(4..)?.first_chunk().copied().map(i32::from_be_bytes)
}

impl crate::Parser for Parser {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        match side {
            Side::Client => self.feed_client(&data, time, out),
            Side::Server => self.feed_server(&data, time, out),
        }
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length == 0 {
            return Ok(());
        }
        let passed = match side {
            // Not known whether a token.
            Side::Client if self.exchange.is_some() && !self.client.is_inside() => None,
            Side::Client => self.client.pass(length, time, &mut self.asked),
            Side::Server => {
                if !self.server.is_inside() {
                    // It is not known whose reply this is.
                    self.queue.doubt();
                }
                self.server.pass(length, time, &mut self.told)
            }
        };
        match (passed, side) {
            (None, _) => {
                self.lose(side, None, false, time, out);
                Ok(())
            }
            (Some(taken), Side::Client) => self.client_took(taken, time, out),
            (Some(taken), Side::Server) => self.server_took(taken, time, out),
        }
    }

    fn eof(&mut self, _side: Side, _time: Time, _out: &mut Vec<Event>) {}

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        self.client.found(out);
        self.server.found(out);
        self.queue.end_all(time, out);
    }

    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        // A stall is no proof of another protocol.
        self.lose(side, None, false, time, out);
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        self.queue.expire(before, out);
    }

    fn buffered(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.held() + self.asked.held(),
            Side::Server => self.server.held() + self.told.held(),
        }
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }

    fn due(&self) -> Option<Time> {
        self.queue.outbox.due()
    }

    fn wake(&mut self, now: Time, out: &mut Vec<Event>) {
        self.queue.outbox.look(now, out);
    }

    fn release(&mut self, out: &mut Vec<Event>) {
        self.queue.outbox.flush(out);
    }

    fn waiting(&self) -> usize {
        self.queue.outbox.held()
    }
}
