//! One request with its response, while it is open.

use crate::{Counts, Event, Outcome, Side, StreamKey, Time};

/// One half of a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    pub(super) counts: Counts,
    /// Nothing more of it will come.
    pub(super) over: bool,
    /// Its end was lost.
    pub(super) broken: bool,
}

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) key: StreamKey,
    pub(super) method: Method,
    /// Token of the request's `Upgrade` field.
    pub(super) upgrade: Option<String>,
    pub(super) request: Half,
    pub(super) response: Half,
    /// Time of its last byte.
    pub(super) last: Time,
    /// Open on purpose (event streams): never expires.
    pub(super) streaming: bool,
    /// What the client sends after it waits for the response, if that may change the protocol.
    pub(super) holds: bool,
    /// `End` was sent; what still comes of it is only followed, to keep count.
    pub(super) ended: bool,
}

/// What of the method decides framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The response has no body.
    Head,
    /// A 2xx response opens a tunnel.
    Connect,
    /// Anything else.
    Other,
}

impl Method {
    /// Methods are case-sensitive; senders of lower case mean the same.
    pub(super) fn of(token: &[u8]) -> Self {
        if token.eq_ignore_ascii_case(b"HEAD") {
            Self::Head
        } else if token.eq_ignore_ascii_case(b"CONNECT") {
            Self::Connect
        } else {
            Self::Other
        }
    }
}

impl Transaction {
    /// What the client sends after this request may be of another protocol, depending on the response.
    pub(super) fn may_switch(&self) -> bool {
        self.method == Method::Connect || self.upgrade.is_some()
    }

    /// The half that `side` sends.
    pub(super) const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.request,
            Side::Server => &mut self.response,
        }
    }

    /// Both halves are over.
    pub(super) const fn is_over(&self) -> bool {
        self.request.over && self.response.over
    }

    /// How it ended, given that both halves are over.
    pub(super) const fn outcome(&self) -> Outcome {
        if self.request.broken || self.response.broken {
            Outcome::Incomplete
        } else {
            Outcome::Complete
        }
    }

    /// Ends it, once.
    pub(super) fn end(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            let (request, response) = (self.request.counts, self.response.counts);
            out.push(Event::End {
                key: self.key,
                outcome,
                request,
                response,
                time,
            });
        }
    }
}
