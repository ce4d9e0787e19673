//! Requests that wait for their replies. A reply names its request, so that a loss puts no other pair asunder.

use std::collections::VecDeque;

use super::lane::Extent;
use super::report::Sent;
use crate::ledger::{Ledger, Open};
use crate::{Command, CommandResult, Event, Outcome, Time};

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
    pub(super) open: Open,
    pub(super) kind: Kind,
    pub(super) correlation: i32,
    pub(super) sent: Sent,
    pub(super) max_wait_ms: Option<i64>,
    pub(super) mechanism: Option<String>,
    /// Its reply may be among bytes that were lost.
    pub(super) is_doubtful: bool,
}

/// Those of one connection, in order.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Pending>,
    ledger: Ledger,
    held: usize,
}

impl Queue {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            ledger: Ledger::new(limit),
            held: 0,
        }
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

    /// A request was sent.
    pub(super) fn push(
        &mut self,
        mut pending: Pending,
        command: Command,
        extent: Extent,
        out: &mut Vec<Event>,
    ) {
        self.begin(&mut pending, command, extent, out);
        if self.ledger.is_over() {
            self.end(&mut pending, None, Outcome::Incomplete, extent.ended, out);
            return;
        }
        if self.held + pending.sent.held() > SENT_BYTES {
            pending.sent = pending.sent.shortened();
        }
        self.held += pending.sent.held();
        if self.ledger.is_flooded(self.waiting.len() + 1)
            && let Some(oldest) = self.waiting.pop_front()
        {
            // One whose transaction has long ended.
            self.held = self.held.saturating_sub(oldest.sent.held());
        }
        self.waiting.push_back(pending);
    }

    /// A request was sent that has no reply.
    pub(super) fn unanswered(
        &mut self,
        mut pending: Pending,
        command: Command,
        extent: Extent,
        (result, outcome): (CommandResult, Outcome),
        out: &mut Vec<Event>,
    ) {
        self.begin(&mut pending, command, extent, out);
        self.end(&mut pending, Some(result), outcome, extent.ended, out);
    }

    fn begin(&mut self, pending: &mut Pending, command: Command, extent: Extent, out: &mut Vec<Event>) {
        pending.open.asked(extent.counts());
        self.ledger
            .begin(&mut pending.open, command, [extent.started, extent.ended], out);
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
        self.ledger.end(&mut pending.open, result, outcome, time, out);
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
        let all = self.waiting.iter_mut().map(|pending| &mut pending.open);
        self.ledger.expire(all, before, out);
    }
}

impl Pending {
    /// One of which nothing else is known.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            open: Open::default(),
            kind,
            correlation: 0,
            sent: Sent::default(),
            max_wait_ms: None,
            mechanism: None,
            is_doubtful: false,
        }
    }

    /// Counts the reply.
    pub(super) fn answered(&mut self, reply: &Extent) {
        self.open.answered(reply.counts(), reply.started, reply.ended);
    }

    /// How long the broker may have waited for data, as the request allowed it to (P-K7).
    pub(super) fn waited_ns(&self, reply: &Extent) -> Option<u64> {
        let allowed = u64::try_from(self.max_wait_ms?)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        Some(reply.started.0.saturating_sub(self.open.sent.0).min(allowed))
    }
}
