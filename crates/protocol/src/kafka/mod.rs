//! Kafka: requests and replies of all APIs, batches of records, SASL (P-K1 to P-K9).

mod codecs;
mod detect;
mod errors;
mod facts;
mod lane;
mod pending;
mod records;
mod report;
mod sasl;
mod schema;
mod session;
#[rustfmt::skip] // written by a program
mod tables;
mod topics;
mod walker;
#[cfg(test)]
mod walker_tests;

use std::sync::Arc;

use bytes::Bytes;

use self::facts::Facts;
use self::lane::{Extent, Frame, Head, Lane, Taken};
use self::pending::{Kind, Pending, Queue};
use self::report::Sent;
use self::sasl::Exchange;
use self::schema::{API_VERSIONS, Api, PRODUCE, SASL_HANDSHAKE};
use self::session::FetchSession;
use self::walker::Start;
use crate::quality::Quality;
use crate::{CommandTraffic, Event, Limits, Outcome, ParseError, Side, Time};

pub(crate) use detect::fit;
pub use topics::Topics;

const NAME: &str = "kafka";
/// Correlation ids that a client may have passed over in bytes that were lost.
const CORRELATIONS: i32 = 1 << 16;

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, midstream, Topics::shared()))
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
    pub fn new(limits: Limits, midstream: bool, topics: Arc<Topics>) -> Self {
        Self {
            client: Lane::new(Side::Client, midstream),
            server: Lane::new(Side::Server, midstream),
            asked: Facts::new(false, Arc::clone(&topics), limits.preview_bytes),
            told: Facts::new(true, topics, limits.preview_bytes),
            queue: Queue::new(limits.pending_commands),
            limits,
            quality: Quality::new(NAME),
            head: None,
            reply: Reply::Orphan,
            name: None,
            correlation: None,
            exchange: None,
            session: FetchSession::default(),
        }
    }

    fn feed_client(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        while !data.is_empty() {
            let frame = match &self.exchange {
                Some(exchange) if exchange.is_certain() => Frame::Raw,
                Some(exchange) if exchange.is_possible() => Frame::Either,
                _ => Frame::Kafka,
            };
            let (correlation, name) = (self.correlation, self.name.as_deref());
            let is_likely = |head: &[u8]| is_request(head, correlation, name);
            let taken = self
                .client
                .take(&mut data, time, frame, is_likely, &mut self.asked);
            self.client_took(taken, time, out)?;
        }
        Ok(())
    }

    fn client_took(&mut self, taken: Taken, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        match taken {
            Taken::Some => Ok(()),
            Taken::Head => {
                let taken = self.begin_request(time);
                self.client_took(taken, time, out)
            }
            Taken::Whole(extent) => {
                self.asked_for(extent, out);
                Ok(())
            }
            Taken::Bad(reason) => self.misread(Side::Client, reason, time, out),
        }
    }

    /// The header of a request, or the length of a token, is there.
    fn begin_request(&mut self, time: Time) -> Taken {
        let (_, rest) = self.client.header();
        let head = Head::read(rest);
        let is_token = self.exchange.as_ref().is_some_and(|exchange| {
            let is_request = |head: Head| head.is_known() && is_next(head.correlation, self.correlation);
            exchange.is_possible() && (exchange.is_certain() || !head.is_some_and(is_request))
        });
        self.asked.clear();
        if is_token {
            self.head = None;
            return self.client.enter(None, time, &mut self.asked);
        }
        self.exchange = None;
        match head.filter(Head::is_possible) {
            Some(head) => {
                self.head = Some(head);
                self.client.enter(Some(&head.start()), time, &mut self.asked)
            }
            None => Taken::Bad("no header of a request"),
        }
    }

    /// A whole request, or as much of it as was captured.
    fn asked_for(&mut self, extent: Extent, out: &mut Vec<Event>) {
        let is_unread = std::mem::take(&mut self.client.is_unread);
        let is_broken = is_unread || self.client.walker.is_broken();
        let Some(head) = self.head.take() else {
            if let Some(exchange) = &mut self.exchange {
                exchange.sent();
                self.token(extent, out);
            }
            return;
        };
        if !is_broken {
            self.client.found(out);
            self.quality.good();
        } else if self.client.is_trying() {
            self.asked.clear();
            return;
        }
        self.correlation = Some(head.correlation);
        self.asked.finish();
        self.asked.truncated |= is_broken || extent.has_gap();
        let api = head.api();
        let name = api.map_or_else(|| format!("API {}", head.key), |api| api.name.to_owned());
        if let Some(client) = self.asked.client.take()
            && self.name.as_deref() != Some(client.as_str())
        {
            self.name = Some(client.into());
        }
        let topics = self.session.ask(&head, &mut self.asked);
        let command = report::command(
            &name,
            api,
            &self.asked,
            &topics,
            self.name.clone(),
            self.limits.statement_bytes,
        );
        let stream = self.queue.key();
        out.push(Event::Command {
            key: stream,
            command: Box::new(command),
            started: extent.started,
            time: extent.ended,
        });
        let pending = Pending {
            stream: Some(stream),
            kind: Kind::Reply {
                key: head.key,
                version: head.version,
            },
            correlation: head.correlation,
            sent: Sent::of(&mut self.asked),
            max_wait_ms: self.asked.max_wait_ms,
            mechanism: self.asked.mechanism.take(),
            traffic: CommandTraffic {
                request: extent.counts(),
                ..CommandTraffic::default()
            },
            ended: extent.ended,
            is_doubtful: is_broken && head.key == PRODUCE && self.asked.acks.is_none(),
        };
        if self.asked.acks == Some(0) {
            self.unanswered(pending, is_broken, out);
        } else {
            self.queue.push(pending, out);
        }
        self.asked.clear();
    }

    /// P-K2: nothing follows.
    fn unanswered(&mut self, mut pending: Pending, is_broken: bool, out: &mut Vec<Event>) {
        let outcome = if is_broken {
            Outcome::Incomplete
        } else {
            Outcome::Complete
        };
        let mut result = report::unanswered(std::mem::take(&mut pending.sent));
        result.truncated = self.asked.truncated;
        self.queue.end_now(pending, result, outcome, out);
    }

    /// A bare token of SASL (P-K6), of which nothing is kept.
    fn token(&mut self, extent: Extent, out: &mut Vec<Event>) {
        let stream = self.queue.key();
        let api = schema::api(schema::SASL_AUTHENTICATE);
        self.asked.clear();
        self.asked.mechanism = self.exchange.as_ref().and_then(Exchange::mechanism);
        let name = api.map_or(NAME, |api| api.name);
        let client = self.name.clone();
        let command = report::command(name, api, &self.asked, &[], client, self.limits.statement_bytes);
        self.asked.clear();
        out.push(Event::Command {
            key: stream,
            command: Box::new(command),
            started: extent.started,
            time: extent.ended,
        });
        let pending = Pending {
            stream: Some(stream),
            kind: Kind::Token,
            correlation: 0,
            sent: Sent::default(),
            max_wait_ms: None,
            mechanism: None,
            traffic: CommandTraffic {
                request: extent.counts(),
                ..CommandTraffic::default()
            },
            ended: extent.ended,
            is_doubtful: false,
        };
        self.queue.push(pending, out);
    }

    fn feed_server(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        while !data.is_empty() {
            let frame = if self.queue.awaits_token() {
                Frame::Raw
            } else {
                Frame::Kafka
            };
            let queue = &self.queue;
            let is_likely = |head: &[u8]| correlation_of(head).is_some_and(|id| queue.is_near(id));
            let taken = self
                .server
                .take(&mut data, time, frame, is_likely, &mut self.told);
            self.server_took(taken, time, out)?;
        }
        Ok(())
    }

    fn server_took(&mut self, taken: Taken, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        match taken {
            Taken::Some => Ok(()),
            Taken::Head => {
                let taken = self.begin_reply(time);
                self.server_took(taken, time, out)
            }
            Taken::Whole(extent) => {
                self.told_of(extent, out);
                Ok(())
            }
            Taken::Bad(reason) => self.misread(Side::Server, reason, time, out),
        }
    }

    /// The header of a reply is there.
    fn begin_reply(&mut self, time: Time) -> Taken {
        self.told.clear();
        if self.queue.awaits_token() {
            self.reply = Reply::Token;
            return self.server.enter(None, time, &mut self.told);
        }
        let (_, rest) = self.server.header();
        let correlation = rest.first_chunk().copied().map_or(0, i32::from_be_bytes);
        let asked = self
            .queue
            .find(correlation)
            .and_then(|place| self.queue.get(place));
        let Some(Kind::Reply { key, version }) = asked.map(|pending| pending.kind) else {
            self.reply = Reply::Orphan;
            return self.server.enter(None, time, &mut self.told);
        };
        self.reply = Reply::To(correlation);
        let start = schema::api(key)
            .filter(|api| api.describes(version))
            .map(|api| Start {
                fields: api.response,
                version,
                flexible: api.is_flexible(version),
                is_open: false,
                falls_back: api.key == API_VERSIONS,
                has_client: false,
                // A client reads this one before it knows what the broker understands.
                has_header_tags: api.is_flexible(version) && api.key != API_VERSIONS,
            });
        if start.is_none() {
            if self.server.is_trying() {
                return Taken::Bad("a reply of which only the number can be read");
            }
            self.server.is_unread = true;
        }
        self.server.enter(start.as_ref(), time, &mut self.told)
    }

    /// A whole reply, or as much of it as was captured.
    fn told_of(&mut self, extent: Extent, out: &mut Vec<Event>) {
        let is_unread = std::mem::take(&mut self.server.is_unread);
        let is_broken = !is_unread && matches!(self.reply, Reply::To(_)) && self.server.walker.is_broken();
        let place = match self.reply {
            Reply::Token => Some(0),
            Reply::To(correlation) => self.queue.find(correlation),
            Reply::Orphan => None,
        };
        self.reply = Reply::Orphan;
        let pending = place.and_then(|place| self.queue.take(place, extent.ended, out));
        let Some(mut pending) = pending else {
            out.push(Event::Orphan {
                bytes: extent.counts().total(),
            });
            return;
        };
        pending.answered(&extent);
        let Kind::Reply { key, .. } = pending.kind else {
            let result = crate::CommandResult {
                kind: "OK",
                ..crate::CommandResult::default()
            };
            self.queue
                .end(&mut pending, Some(result), Outcome::Complete, extent.ended, out);
            return;
        };
        if is_broken {
            self.queue
                .end(&mut pending, None, Outcome::Incomplete, extent.ended, out);
            self.told.clear();
            return;
        }
        let api = schema::api(key).filter(|_| !is_unread);
        let result = match api {
            Some(api) => {
                self.server.found(out);
                self.quality.good();
                self.read(api, &mut pending, &extent)
            }
            None => report::unread(),
        };
        self.queue
            .end(&mut pending, Some(result), Outcome::Complete, extent.ended, out);
        self.told.clear();
    }

    /// The result of a reply that was read.
    fn read(&mut self, api: &Api, pending: &mut Pending, extent: &Extent) -> crate::CommandResult {
        self.told.finish();
        self.told.truncated |= extent.has_gap();
        self.session.tell(api, pending, &self.told);
        if let (SASL_HANDSHAKE, Kind::Reply { version: 0, .. }, 0) =
            (api.key, pending.kind, self.told.whole.error)
        {
            self.exchange = pending.mechanism.take().map(Exchange::new);
        }
        let waited_ns = pending.waited_ns(extent);
        let mut result = report::result(api, std::mem::take(&mut pending.sent), &mut self.told);
        result.waited_ns = waited_ns;
        result
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

    /// Ends the request whose reply is under way and will not come whole.
    fn give_up_reply(&mut self, time: Time, out: &mut Vec<Event>) {
        let place = match self.reply {
            Reply::Token => Some(0),
            Reply::To(correlation) => self.queue.find(correlation),
            Reply::Orphan => None,
        };
        if let Some(mut pending) = place.and_then(|place| self.queue.take(place, time, out)) {
            let extent = self.server.cut(time);
            pending.answered(&extent);
            self.queue.end(&mut pending, None, Outcome::Incomplete, time, out);
        }
    }
}

/// Whether this correlation id can follow the last one.
fn is_next(correlation: i32, last: Option<i32>) -> bool {
    last.is_none_or(|last| (1..=CORRELATIONS).contains(&correlation.wrapping_sub(last)))
}

/// The correlation id of a reply that begins with its length.
fn correlation_of(head: &[u8]) -> Option<i32> {
    head.get(4..)?.first_chunk().copied().map(i32::from_be_bytes)
}

/// Whether a request can begin with these 14 bytes (P-K9): one that is described, with the next correlation id, of the same client.
fn is_request(head: &[u8], last: Option<i32>, client: Option<&str>) -> bool {
    let Some((length, rest)) = head.split_first_chunk() else {
        return false;
    };
    let Some(request) = Head::read(rest) else {
        return false;
    };
    let name = rest
        .get(8..)
        .and_then(|rest| rest.first_chunk().copied())
        .map_or(-2, i16::from_be_bytes);
    let is_name = match client {
        Some(client) => usize::try_from(name).is_ok_and(|length| length == client.len()) || name == -1,
        None => (-1..=255).contains(&name),
    };
    let left = i64::from(u32::from_be_bytes(*length)) - 10;
    request.is_known() && is_next(request.correlation, last) && is_name && i64::from(name) <= left
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
            Side::Client => self.client.held() + self.asked.held() + self.queue.held(),
            Side::Server => self.server.held() + self.told.held(),
        }
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }
}
