//! Requests that wait for their replies. A reply names its request, so that a loss puts no other pair asunder.

use std::collections::VecDeque;
use std::sync::Arc;

use super::draft::Draft;
use super::lane::Extent;
use super::outbox::{Ended, Outbox};
use super::report::{Request, Sent};
use super::topics::Topics;
use crate::ledger::{Ledger, Open};
use crate::{Event, Outcome, Time};

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
    /// What was asked, if that was told without the names of all topics.
    pub(super) asked: Option<Box<Request>>,
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
    topics: Arc<Topics>,
    /// Those that are over.
    pub(super) outbox: Outbox,
    held: usize,
}

impl Queue {
    pub(super) fn new(limit: usize, topics: Arc<Topics>) -> Self {
        Self {
            waiting: VecDeque::new(),
            ledger: Ledger::new(limit),
            outbox: Outbox::new(Arc::clone(&topics)),
            topics,
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
        request: Request,
        extent: Extent,
        out: &mut Vec<Event>,
    ) {
        self.begin(&mut pending, request, extent, out);
        if self.ledger.is_over() {
            self.end(&mut pending, None, Outcome::Incomplete, extent.ended, out);
            return;
        }
        if self.held + pending.held() > SENT_BYTES {
            pending.sent = pending.sent.shortened();
            pending.asked = None;
        }
        self.held += pending.held();
        if self.ledger.is_flooded(self.waiting.len() + 1)
            && let Some(oldest) = self.waiting.pop_front()
        {
            // One whose transaction has long ended.
            self.held = self.held.saturating_sub(oldest.held());
        }
        self.waiting.push_back(pending);
    }

    /// A request was sent that has no reply.
    pub(super) fn unanswered(
        &mut self,
        mut pending: Pending,
        request: Request,
        extent: Extent,
        (result, outcome): (Draft, Outcome),
        out: &mut Vec<Event>,
    ) {
        self.begin(&mut pending, request, extent, out);
        self.end(&mut pending, Some(result), outcome, extent.ended, out);
    }

    fn begin(&mut self, pending: &mut Pending, request: Request, extent: Extent, out: &mut Vec<Event>) {
        let names = self.topics.names();
        let command = request.command(&names);
        if request.ids().any(|id| names.name(id).is_none()) {
            pending.asked = Some(Box::new(request));
        }
        pending.open.asked(extent.counts());
        self.ledger
            .begin(&mut pending.open, command, [extent.started, extent.ended], out);
    }

    /// Takes out the request at `place`, whose reply is there. Those before it whose replies may be lost have lost them: replies come in
    /// the order of their requests.
    pub(super) fn take(&mut self, place: usize, time: Time, out: &mut Vec<Event>) -> Option<Pending> {
        let mut taken = self.waiting.remove(place)?;
        self.held = self.held.saturating_sub(taken.held());
        taken.is_doubtful = false;
        if !self.waiting.iter().take(place).any(|pending| pending.is_doubtful) {
            return Some(taken);
        }
        let mut kept = VecDeque::new();
        for (index, mut pending) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            if index < place && pending.is_doubtful {
                self.held = self.held.saturating_sub(pending.held());
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
        told: Option<Draft>,
        outcome: Outcome,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        if let Some(ended) = pending.end(&mut self.ledger, told, outcome, time) {
            self.outbox.put(ended, out);
        }
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
        for pending in self.waiting.iter_mut() {
            let last = pending.open.last();
            if last < before
                && let Some(ended) = pending.end(&mut self.ledger, None, Outcome::Timeout, last)
            {
                self.outbox.put(ended, out);
            }
        }
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
            asked: None,
            max_wait_ms: None,
            mechanism: None,
            is_doubtful: false,
        }
    }

    /// Bytes held, by and large.
    fn held(&self) -> usize {
        self.sent.held() + self.asked.as_ref().map_or(0, |request| request.held())
    }

    /// Ends its transaction, if it has not ended yet.
    fn end(
        &mut self,
        ledger: &mut Ledger,
        told: Option<Draft>,
        outcome: Outcome,
        time: Time,
    ) -> Option<Ended> {
        let key = ledger.close(&mut self.open)?;
        Some(Ended {
            key,
            asked: self.asked.take(),
            told,
            outcome,
            traffic: self.open.traffic,
            time,
        })
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
