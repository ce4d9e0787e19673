//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112; `protocols.md` §3).
//!
//! In: pieces of both directions and the holes between them. Out: one transaction per request, its response
//! found by order (`pairing`). Each direction is a `Lane` that is in a head, in a body, searching, or
//! waiting for the other one; `drive` is their loop, `client` and `server` hold what is special to each; `gaps` what happens
//! when bytes are missing.
//!
//! Body pieces are slices of the input. Heads and trailers are slices of copies, one copy for each.

mod body;
mod client;
mod collect;
mod drive;
mod fields;
mod gaps;
pub(crate) mod grammar;
mod head;
mod lane;
mod pairing;
mod seek;
mod server;
mod transaction;

use std::collections::VecDeque;

use bytes::Bytes;

use self::{
    collect::Collector,
    lane::{Lane, State},
    pairing::Pairing,
    seek::Seek,
    transaction::Transaction,
};
use crate::quality::Quality;
use crate::{Counts, Event, Limits, Outcome, ParseError, Side, StreamKey, Time};

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
    /// A request was seen before the response to the one before it.
    overlapped: bool,
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
            overlapped: false,
            attaching: midstream,
            attached_clean: false,
            last_key: 0,
            quality: Quality::new("http1"),
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

    /// Ends the transactions at the front of which both halves are over.
    fn finish_front(&mut self, time: Time, out: &mut Vec<Event>) {
        while self.queue.front().is_some_and(Transaction::is_over) {
            let Some(mut first) = self.queue.pop_front() else {
                return;
            };
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
            let is_lost =
                transaction.outcome() == Outcome::Incomplete || (self.shaky && !transaction.response.over);
            let outcome = if is_lost {
                Outcome::Incomplete
            } else {
                Outcome::Canceled
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

    fn counts(&self, key: StreamKey) -> Option<[Counts; 2]> {
        let transaction = self.queue.iter().find(|transaction| transaction.key == key)?;
        Some([transaction.request.counts, transaction.response.counts])
    }

    fn skippable(&self, side: Side) -> u64 {
        match &self.lane(side).state {
            State::Body(body) => body.certain(),
            _ => 0,
        }
    }
}
