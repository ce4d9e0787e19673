//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112; `protocols.md` §3).
//!
//! In: pieces of both directions and the holes between them. Out: one transaction per request, its response
//! found by order (`pairing`). Each direction is a [`lane::Lane`] that is in a head, in a body, searching, or
//! waiting for the other one; `client` and `server` hold what is special to each; `gaps` what happens
//! when bytes are missing.
//!
//! Body pieces are slices of the input. A head that came in one piece is not copied either.

mod body;
mod client;
mod collect;
mod fields;
mod gaps;
pub(crate) mod grammar;
mod head;
mod lane;
mod pairing;
mod quality;
mod seek;
mod server;
mod transaction;

use std::collections::VecDeque;

use bytes::Bytes;

use self::{
    body::Step,
    collect::{Collected, Collector},
    lane::{Lane, State},
    pairing::Pairing,
    quality::Quality,
    seek::Seek,
    transaction::Transaction,
};
use crate::{Event, Limits, Outcome, ParseError, Side, StreamKey, Time};

/// Why a lane searches after an attach in the middle.
const JOINED: &str = "joined in the middle";

/// Parser of one HTTP/1 connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    client: Lane,
    server: Lane,
    /// Requests in order whose response is not over, or whose own body is not.
    queue: VecDeque<Transaction>,
    upload: Upload,
    answering: Answering,
    pairing: Pairing,
    /// How many responses a hole swallowed is not known, and no request has come since: the next response
    /// can be told only if a single request is open.
    shaky: bool,
    /// Attached in the middle, and no request was seen yet.
    attaching: bool,
    /// A response to a request from before the attach was seen to its end.
    attached_clean: bool,
    last_key: u64,
    quality: Quality,
    upgraded: bool,
    /// Failure found where none can be returned; told at the next call that can.
    failure: Option<ParseError>,
}

/// The request that the client is sending.
#[derive(Debug)]
enum Upload {
    None,
    /// The last one of the queue.
    Last,
    /// One that no response can be paired with.
    Loose(Box<Transaction>),
}

/// The response that the server is sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    None,
    /// To the first one of the queue.
    First,
    /// To a request that is not known.
    Orphan {
        /// Bytes of its body were seen.
        touched: bool,
    },
}

impl Parser {
    /// A parser for a connection whose first byte comes first or, `midstream`, for one that is older than
    /// its first captured byte: then what precedes the first start line of each direction is dropped.
    #[must_use]
    pub fn new(limits: Limits, midstream: bool) -> Self {
        let lane = |side| {
            Lane::new(if midstream {
                State::Seek(Seek::after_cut(side, JOINED, 0))
            } else {
                State::Head(collector(&limits, side))
            })
        };
        Self {
            client: lane(Side::Client),
            server: lane(Side::Server),
            limits,
            queue: VecDeque::new(),
            upload: Upload::None,
            answering: Answering::None,
            pairing: Pairing::default(),
            shaky: false,
            attaching: midstream,
            attached_clean: false,
            last_key: 0,
            quality: Quality::default(),
            upgraded: false,
            failure: None,
        }
    }

    const fn lane(&self, side: Side) -> &Lane {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    const fn lane_mut(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn collector(&self, side: Side) -> Collector {
        collector(&self.limits, side)
    }

    /// The transaction whose half `side` is sending.
    fn current(&mut self, side: Side) -> Option<&mut Transaction> {
        match side {
            Side::Client => match &mut self.upload {
                Upload::None => None,
                Upload::Last => self.queue.back_mut(),
                Upload::Loose(transaction) => Some(transaction),
            },
            Side::Server if self.answering == Answering::First => self.queue.front_mut(),
            Side::Server => None,
        }
    }

    /// Open requests whose response is not over.
    fn awaiting(&self) -> usize {
        // Responses come in order, so only the first one can be over while its request goes on.
        let answered = usize::from(self.queue.front().is_some_and(|first| first.response.over));
        self.queue.len() - answered
    }

    fn new_key(&mut self) -> StreamKey {
        self.last_key += 1;
        StreamKey(self.last_key)
    }

    /// Reads on in one direction.
    fn drive(
        &mut self,
        side: Side,
        mut data: Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !self.upgraded {
            let is_due = matches!(&self.lane(side).state, State::Body(body) if body.is_over());
            if data.is_empty() && !is_due {
                break;
            }
            if !self.advance(side, &mut data, time, out)? {
                break;
            }
        }
        Ok(())
    }

    /// One step in one direction. Returns whether more can be done with `data`.
    fn advance(
        &mut self,
        side: Side,
        data: &mut Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        if side == Side::Server {
            self.hold_if_early(data);
        }
        let lane = self.lane_mut(side);
        match &mut lane.state {
            State::Closed => {
                lane.surplus += std::mem::take(data).len() as u64;
                Ok(false)
            }
            State::Held(held) => {
                held.push(std::mem::take(data), time);
                let bytes = held.bytes();
                self.bound_held(side, bytes);
                Ok(false)
            }
            State::Seek(seek) => {
                let Some(found) = seek.feed(data, time) else {
                    return Ok(false);
                };
                let state = std::mem::replace(&mut lane.state, State::Closed);
                if let State::Seek(seek) = state {
                    lane.sought = Some(seek);
                }
                let mut lines = self.collector(side);
                // A start line is no whole head, and it has just been checked: more is needed in any case.
                let _ = lines.feed(&mut found.line.clone(), found.started);
                self.lane_mut(side).state = State::Head(lines);
                Ok(true)
            }
            State::Head(lines) => match lines.feed(data, time) {
                Collected::NeedMore => Ok(false),
                Collected::BadLine => {
                    let dropped = lines.taken();
                    self.bad_line(side, dropped, time, out)?;
                    Ok(true)
                }
                Collected::Head(raw) => {
                    match side {
                        Side::Client => self.open_request(raw, time, out),
                        Side::Server => self.open_response(raw, data, time, out),
                    }
                    Ok(true)
                }
            },
            State::Body(_) => self.advance_body(side, data, time, out),
        }
    }

    fn advance_body(
        &mut self,
        side: Side,
        data: &mut Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        let (limits, before) = (self.limits, data.len());
        let State::Body(body) = &mut self.lane_mut(side).state else {
            return Ok(true);
        };
        let step = body.step(data, time, &limits);
        let taken = (before - data.len()) as u64;
        if let (Side::Server, Answering::Orphan { touched }, true) = (side, &mut self.answering, taken > 0) {
            *touched = true;
        }
        if let Some(transaction) = self.current(side) {
            let half = transaction.half_mut(side);
            half.counts.body_bytes += taken;
            if let Step::Trailers(_, bytes) = &step {
                // They were counted as framing of the body while it was not known that there are any.
                half.counts.body_bytes = half.counts.body_bytes.saturating_sub(*bytes);
                half.counts.head_bytes += bytes;
            }
            if taken > 0 {
                transaction.last = time;
            }
            let key = transaction.key;
            if !transaction.ended {
                match &step {
                    Step::Data(payload) => out.push(Event::Body {
                        key,
                        side,
                        data: payload.clone(),
                        time,
                    }),
                    Step::Trailers(fields, _) => {
                        out.push(Event::Trailers {
                            key,
                            side,
                            fields: fields.clone(),
                            time,
                        });
                    }
                    Step::NeedMore | Step::End | Step::Bad(_) => {}
                }
            }
        }
        match step {
            Step::NeedMore => Ok(false),
            Step::Data(_) | Step::Trailers(..) => Ok(true),
            Step::End => {
                match side {
                    Side::Client => self.request_over(time, out),
                    Side::Server => self.response_over(time, out),
                }
                Ok(true)
            }
            Step::Bad(reason) => {
                self.lane_mut(side).state = State::Seek(Seek::after_cut(side, reason, 0));
                self.lose_place(side, pairing::ROUNDS_AFTER_GAP, time, out);
                self.quality.bad()?;
                Ok(true)
            }
        }
    }

    /// Ends the transactions at the front of which both halves are over.
    fn finish_front(&mut self, time: Time, out: &mut Vec<Event>) {
        while let Some(mut first) = self.queue.pop_front_if(|first| first.is_over()) {
            first.end(first.outcome(), time, out);
        }
    }

    /// Tells the end of a search, unless it was none.
    fn report_search(seek: &Seek, side: Side, out: &mut Vec<Event>) {
        if seek.reason != JOINED || seek.dropped() > 0 {
            out.push(Event::Resync {
                side,
                reason: seek.reason,
                dropped: seek.dropped(),
            });
        }
    }

    /// Lets go what waits for nothing any more, until nothing changes.
    fn settle(&mut self, out: &mut Vec<Event>) -> Result<(), ParseError> {
        loop {
            let side = if matches!(self.client.state, State::Held(_)) && !self.holds_client() {
                Side::Client
            } else if matches!(self.server.state, State::Held(_)) && !self.holds_server() {
                Side::Server
            } else {
                return Ok(());
            };
            let State::Held(held) = self.lane_mut(side).take() else {
                return Ok(());
            };
            let (resume, pieces) = held.release();
            self.lane_mut(side).state = State::Head(resume);
            for (data, time) in pieces {
                self.drive(side, data, time, out)?;
            }
        }
    }

    /// Runs what cannot return an error, keeping it for the next call that can.
    fn settle_later(&mut self, out: &mut Vec<Event>) {
        if let Err(error) = self.settle(out) {
            self.failure = Some(error);
        }
    }
}

fn collector(limits: &Limits, side: Side) -> Collector {
    Collector::head(
        limits.head_bytes,
        match side {
            Side::Client => |line| grammar::request_line(line).is_some(),
            Side::Server => |line| grammar::status_line(line).is_some(),
        },
    )
}

impl crate::Parser for Parser {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.upgraded {
            return Err(ParseError::NotThisProtocol {
                protocol: "http1",
                reason: "the protocol was changed",
            });
        }
        self.drive(side, data, time, out)?;
        self.settle(out)
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if length == 0 || self.upgraded {
            return Ok(());
        }
        self.pass_gap(side, length, time, out)?;
        self.settle(out)
    }

    fn eof(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        self.end_lane(side, time, out);
        self.settle_later(out);
    }

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        for side in [Side::Client, Side::Server] {
            self.end_lane(side, time, out);
            self.settle_later(out);
            let dropped = std::mem::take(&mut self.lane_mut(side).surplus);
            if dropped > 0 {
                out.push(Event::Resync {
                    side,
                    reason: "bytes after the end of the stream",
                    dropped,
                });
            }
        }
        if let State::Held(held) = self.client.take() {
            let dropped = held.bytes() as u64;
            out.push(Event::Resync {
                side: Side::Client,
                reason: "no answer to a change of protocol",
                dropped,
            });
        }
        let loose = match std::mem::replace(&mut self.upload, Upload::None) {
            Upload::Loose(transaction) => Some(*transaction),
            Upload::None | Upload::Last => None,
        };
        for mut transaction in self.queue.drain(..).chain(loose) {
            let outcome = match transaction.outcome() {
                Outcome::Incomplete => Outcome::Incomplete,
                _ => Outcome::Canceled,
            };
            transaction.end(outcome, time, out);
        }
    }

    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        self.force_search(side, time, out);
        self.settle_later(out);
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let loose = match &mut self.upload {
            Upload::Loose(transaction) => Some(&mut **transaction),
            Upload::None | Upload::Last => None,
        };
        for transaction in self.queue.iter_mut().chain(loose) {
            if transaction.last < before && !transaction.streaming {
                // It stays in the queue, so that a late answer is not taken for that of the next request.
                transaction.end(Outcome::Timeout, transaction.last.max(before), out);
            }
        }
    }

    fn buffered(&self, side: Side) -> usize {
        self.lane(side).buffered()
    }

    fn skippable(&self, side: Side) -> u64 {
        match &self.lane(side).state {
            State::Body(body) => body.certain(),
            _ => 0,
        }
    }
}
