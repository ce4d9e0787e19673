//! Which answer belongs to which query.
//!
//! By id and question, in whatever order they come, on whatever carries them: `C` is what is known of that for each query, and the
//! caller says which queries come into question for a message.

use std::collections::HashMap;

use super::exchange::add;
use super::transfer::Transfer;
use super::{Exchange, Extent, Message, Query, Question, Response};
use crate::{CommandTraffic, Counts, Outcome, Time};

/// A query that waits for its answer.
#[derive(Debug)]
struct Pending<C> {
    /// Counts up, so that many end in the order they began.
    number: u64,
    context: C,
    exchange: Exchange,
    transfer: Option<Transfer>,
    /// Something was lost since it was sent, maybe its answer.
    is_doubtful: bool,
}

/// What became of a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It waits for its answer.
    New,
    /// It was sent before and waits.
    Again,
    /// Too many wait: it ends here as incomplete, and its answer will belong to none.
    Full(Box<Exchange>),
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered<C> {
    /// It is the end of this one.
    Exchange(C, Box<Exchange>),
    /// Of a transfer that goes on.
    Part,
    /// Nobody asked, or it was answered before.
    Orphan,
}

/// Queries that wait for their answers. Bounded.
#[derive(Debug)]
pub struct Pairing<C> {
    /// By id; a few of one id are told apart by their questions and what carries them.
    pending: HashMap<u16, Vec<Pending<C>>>,
    count: usize,
    limit: usize,
    next_number: u64,
}

impl<C> Pairing<C> {
    /// Up to `limit` queries.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            pending: HashMap::new(),
            count: 0,
            limit,
            next_number: 0,
        }
    }

    /// Queries that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// None waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What those that wait are carried by, in no order.
    pub fn contexts_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.pending
            .values_mut()
            .flatten()
            .map(|pending| &mut pending.context)
    }

    /// A query was seen. `is_same` tells whether it can be one that was seen before; `context` is kept with one that was not.
    pub fn query(
        &mut self,
        message: Message,
        extent: Extent,
        is_same: impl Fn(&C) -> bool,
        context: impl FnOnce() -> C,
    ) -> Asked {
        let waiting = self.pending.get_mut(&message.id).into_iter().flatten();
        let known = waiting
            .filter(|pending| is_same(&pending.context))
            .find(|pending| is_asked_by(&pending.exchange.query, &message));
        if let Some(pending) = known {
            let exchange = &mut pending.exchange;
            exchange.retransmits = exchange.retransmits.saturating_add(1);
            exchange.sent = extent.ended;
            exchange.traffic.request = add(exchange.traffic.request, extent);
            return Asked::Again;
        }
        let transfer = Transfer::is_asked_by(message.question.kind).then(Transfer::default);
        let mut exchange = Exchange {
            query: Query::new(message),
            response: None,
            started: extent.started,
            sent: extent.ended,
            retransmits: 0,
            traffic: CommandTraffic {
                request: add(Counts::default(), extent),
                ..CommandTraffic::default()
            },
            outcome: Outcome::Complete,
            ended: extent.ended,
        };
        if self.count >= self.limit {
            exchange.outcome = Outcome::Incomplete;
            return Asked::Full(Box::new(exchange));
        }
        let pending = Pending {
            number: self.next_number,
            context: context(),
            exchange,
            transfer,
            is_doubtful: false,
        };
        self.next_number += 1;
        self.count += 1;
        let id = pending.exchange.query.id;
        self.pending.entry(id).or_default().push(pending);
        Asked::New
    }

    /// The question of the oldest query with this `id` that `is_same` allows.
    pub fn question(&self, id: u16, is_same: impl Fn(&C) -> bool) -> Option<Question> {
        let mut waiting = self.pending.get(&id)?.iter();
        let pending = waiting.find(|pending| is_same(&pending.context))?;
        Some(pending.exchange.query.question.clone())
    }

    /// An answer was seen: `message` is what was read of `bytes`. It goes to the oldest query that `is_same` allows.
    pub fn response(
        &mut self,
        message: Message,
        bytes: &[u8],
        extent: Extent,
        is_same: impl Fn(&C) -> bool,
    ) -> Answered<C> {
        let Some(waiting) = self.pending.get_mut(&message.id) else {
            return Answered::Orphan;
        };
        let place = waiting
            .iter()
            .position(|pending| is_same(&pending.context) && is_asked_by(&pending.exchange.query, &message));
        let Some(pending) = place.and_then(|place| waiting.get_mut(place)) else {
            return Answered::Orphan;
        };
        let traffic = &mut pending.exchange.traffic;
        traffic.response = add(traffic.response, extent);
        traffic.first_byte.get_or_insert(extent.started);
        traffic.last_byte = Some(extent.ended);
        let kind = message.question.kind;
        let is_over = message.rcode.0 != 0
            || (pending.transfer.as_mut()).is_none_or(|transfer| transfer.is_over_with(bytes, kind));
        match &mut pending.exchange.response {
            Some(response) => response.add(&message),
            none => *none = Some(Response::new(message)),
        }
        if !is_over {
            return Answered::Part;
        }
        let Some(ended) = place.map(|place| waiting.remove(place)) else {
            return Answered::Orphan;
        };
        if waiting.is_empty() {
            self.pending.remove(&ended.exchange.query.id);
        }
        self.count -= 1;
        let mut exchange = Box::new(ended.exchange);
        exchange.ended = extent.ended;
        Answered::Exchange(ended.context, exchange)
    }

    /// Something was lost that may have been the answer of any that `is_same` allows.
    pub fn doubt(&mut self, is_same: impl Fn(&C) -> bool) {
        let waiting = self.pending.values_mut().flatten();
        for pending in waiting.filter(|pending| is_same(&pending.context)) {
            pending.is_doubtful = true;
        }
    }

    /// Ends those of which nothing was heard since `before`, the oldest first.
    pub fn expire(&mut self, before: Time, out: &mut Vec<(C, Box<Exchange>)>) {
        let is_old = |exchange: &Exchange| exchange.traffic.last_byte.max(Some(exchange.sent)) < Some(before);
        self.end(is_old, Outcome::Timeout, None, out);
    }

    /// Ends all of them, the oldest first.
    pub fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<(C, Box<Exchange>)>) {
        self.end(|_| true, outcome, Some(time), out);
    }

    /// Ends those that `is_over`; at their last byte without a `time`.
    fn end(
        &mut self,
        is_over: impl Fn(&Exchange) -> bool,
        outcome: Outcome,
        time: Option<Time>,
        out: &mut Vec<(C, Box<Exchange>)>,
    ) {
        let mut ended = Vec::new();
        self.pending.retain(|_, waiting| {
            ended.extend(waiting.extract_if(.., |pending| is_over(&pending.exchange)));
            !waiting.is_empty()
        });
        self.count -= ended.len();
        ended.sort_unstable_by_key(|pending| pending.number);
        out.extend(ended.into_iter().map(|pending| {
            let mut exchange = Box::new(pending.exchange);
            exchange.outcome = match outcome {
                _ if pending.is_doubtful => Outcome::Incomplete,
                outcome => outcome,
            };
            exchange.ended = time.unwrap_or(exchange.traffic.last_byte.unwrap_or(exchange.sent));
            (pending.context, exchange)
        }));
    }
}

fn is_asked_by(query: &Query, message: &Message) -> bool {
    query.question == message.question && query.opcode == message.opcode
}
