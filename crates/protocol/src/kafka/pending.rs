//! Requests that wait for their replies. A reply names its request, so that a loss puts no other pair asunder.

use std::collections::VecDeque;

use super::lane::Extent;
use super::report::Sent;
use crate::{CommandResult, CommandTraffic, Event, Outcome, StreamKey, Time};

/// Bytes that summaries and samples of waiting requests may take together.
const SENT_BYTES: usize = 256 << 10;

/// Replies that a search looks for: so many may be missing before the one that it finds.
const NEAR: usize = 64;

/// What kind of reply is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of this API and version.
    Reply { key: i16, version: i16 },
    /// A token of SASL that stands bare in its frame.
    Token,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Pending {
    /// `None`: its transaction has ended already.
    pub(super) stream: Option<StreamKey>,
    pub(super) kind: Kind,
    pub(super) correlation: i32,
    pub(super) sent: Sent,
    pub(super) max_wait_ms: Option<i64>,
    pub(super) mechanism: Option<String>,
    pub(super) traffic: CommandTraffic,
    pub(super) ended: Time,
    /// Its reply may be among bytes that were lost.
    pub(super) is_doubtful: bool,
}

/// Those of one connection, in order.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Pending>,
    limit: usize,
    open: usize,
    held: usize,
    next_key: u64,
}

impl Queue {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            limit,
            open: 0,
            held: 0,
            next_key: 1,
        }
    }

    /// The key of the next transaction.
    pub(super) fn key(&mut self) -> StreamKey {
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        key
    }

    /// Whether the next reply is a bare token.
    pub(super) fn awaits_token(&self) -> bool {
        self.waiting
            .front()
            .is_some_and(|first| first.kind == Kind::Token)
    }

    /// The request that a reply of this number belongs to.
    pub(super) fn find(&self, correlation: i32) -> Option<usize> {
        self.waiting
            .iter()
            .position(|pending| pending.kind != Kind::Token && pending.correlation == correlation)
    }

    /// Whether it may be one of the next replies, with this number.
    pub(super) fn is_near(&self, correlation: i32) -> bool {
        let mut near = self.waiting.iter().take(NEAR);
        near.any(|pending| pending.kind != Kind::Token && pending.correlation == correlation)
    }

    pub(super) fn get(&self, place: usize) -> Option<&Pending> {
        self.waiting.get(place)
    }

    /// A request was sent whose transaction has begun.
    pub(super) fn push(&mut self, mut pending: Pending, out: &mut Vec<Event>) {
        self.open += 1;
        if self.open > self.limit {
            let ended = pending.ended;
            self.end(&mut pending, None, Outcome::Incomplete, ended, out);
            return;
        }
        if self.held + pending.sent.held() > SENT_BYTES {
            pending.sent = pending.sent.shortened();
        }
        self.held += pending.sent.held();
        if self.waiting.len() >= self.limit.saturating_mul(2) {
            // One whose transaction has long ended.
            self.waiting.pop_front();
        }
        self.waiting.push_back(pending);
    }

    /// Takes out the request at `place`, whose reply is there. Those before it whose replies may be lost have lost them: replies come in
    /// the order of their requests.
    pub(super) fn take(&mut self, place: usize, time: Time, out: &mut Vec<Event>) -> Option<Pending> {
        let mut taken = self.waiting.remove(place)?;
        self.held = self.held.saturating_sub(taken.sent.held());
        taken.is_doubtful = false;
        if !self.waiting.iter().take(place).any(|pending| pending.is_doubtful) {
            return Some(taken);
        }
        let mut kept = VecDeque::new();
        for (index, mut pending) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            if index < place && pending.is_doubtful {
                self.held = self.held.saturating_sub(pending.sent.held());
                self.end(&mut pending, None, Outcome::Incomplete, time, out);
            } else {
                kept.push_back(pending);
            }
        }
        self.waiting = kept;
        Some(taken)
    }

    /// Ends the transaction of a request.
    pub(super) fn end(
        &mut self,
        pending: &mut Pending,
        result: Option<CommandResult>,
        outcome: Outcome,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        let Some(key) = pending.stream.take() else { return };
        self.open = self.open.saturating_sub(1);
        out.push(Event::CommandEnd {
            key,
            result: result.map(Box::new),
            outcome,
            traffic: pending.traffic,
            time,
        });
    }

    /// Ends a request that has no reply.
    pub(super) fn end_now(
        &mut self,
        mut pending: Pending,
        result: CommandResult,
        outcome: Outcome,
        out: &mut Vec<Event>,
    ) {
        self.open += 1;
        let ended = pending.ended;
        self.end(&mut pending, Some(result), outcome, ended, out);
    }

    /// Bytes of the server were lost.
    pub(super) fn doubt(&mut self) {
        for pending in &mut self.waiting {
            pending.is_doubtful = true;
        }
    }

    pub(super) fn end_all(&mut self, time: Time, out: &mut Vec<Event>) {
        for mut pending in std::mem::take(&mut self.waiting) {
            let outcome = if pending.is_doubtful {
                Outcome::Incomplete
            } else {
                Outcome::Canceled
            };
            self.end(&mut pending, None, outcome, time, out);
        }
        self.held = 0;
    }

    /// Ends those that were sent before `before` and wait in vain. Their replies, should they come, still belong to them.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for old in waiting.iter_mut().filter(|pending| pending.ended < before) {
            let ended = old.ended;
            self.end(old, None, Outcome::Timeout, ended, out);
        }
        self.waiting = waiting;
    }
}

impl Pending {
    /// Counts the reply.
    pub(super) fn answered(&mut self, reply: &Extent) {
        self.traffic.response = reply.counts();
        self.traffic.first_byte = Some(reply.started);
        self.traffic.last_byte = Some(reply.ended);
    }

    /// How long the broker may have waited for data, as the request allowed it to (P-K7).
    pub(super) fn waited_ns(&self, reply: &Extent) -> Option<u64> {
        let allowed = u64::try_from(self.max_wait_ms?)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        Some(reply.started.0.saturating_sub(self.ended.0).min(allowed))
    }
}
