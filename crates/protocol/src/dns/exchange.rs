//! A query with what came of it.

use super::{ExtendedError, Message, Opcode, Question, Rcode, Record};
use crate::{CommandTraffic, Counts, Outcome, Time};

/// First and last byte of a message, and its size on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub started: Time,
    /// Last byte.
    pub ended: Time,
    /// Bytes, the length before it on a stream included.
    pub bytes: u64,
    /// Bytes of it that were not captured.
    pub gap_bytes: u64,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Number that the client gave it.
    pub id: u16,
    /// What is to be done.
    pub opcode: Opcode,
    /// The question.
    pub question: Question,
    /// The server is to ask others.
    pub recursion_desired: bool,
    /// Signatures are wanted.
    pub dnssec_ok: bool,
    /// The server need not check signatures.
    pub checking_disabled: bool,
}

impl Query {
    pub(super) fn new(message: Message) -> Self {
        Self {
            id: message.id,
            opcode: message.opcode,
            question: message.question,
            recursion_desired: message.recursion_desired,
            dnssec_ok: message.dnssec_ok,
            checking_disabled: message.checking_disabled,
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub rcode: Rcode,
    /// What EDNS says of the failure.
    pub error: Option<ExtendedError>,
    /// The server answers for the zone.
    pub is_authoritative: bool,
    /// The answer was too long for a datagram.
    pub is_truncated: bool,
    /// The server asks others.
    pub recursion_available: bool,
    /// The server vouches for the records.
    pub is_authentic: bool,
    /// Records of the answer, 64 at most.
    pub records: Vec<Record>,
    /// Records that are not kept.
    pub records_left: usize,
    /// Messages that it came in; more than one for a transfer of a zone.
    pub messages: u32,
}

impl Response {
    pub(super) fn new(message: Message) -> Self {
        Self {
            rcode: message.rcode,
            error: message.error,
            is_authoritative: message.is_authoritative,
            is_truncated: message.is_truncated,
            recursion_available: message.recursion_available,
            is_authentic: message.is_authentic,
            records: message.records,
            records_left: message.records_left,
            messages: 1,
        }
    }

    /// One more message of a transfer; its records are only counted.
    pub(super) fn add(&mut self, message: &Message) {
        self.rcode = message.rcode;
        self.records_left += message.records.len() + message.records_left;
        self.messages = self.messages.saturating_add(1);
    }
}

/// A query with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub query: Query,
    /// What came back; `None` if nothing that was seen.
    pub response: Option<Response>,
    /// First byte of the query.
    pub started: Time,
    /// Last byte of the query when it was sent last.
    pub sent: Time,
    /// Times that the query was sent again.
    pub retransmits: u32,
    /// Sizes, and times of what came back.
    pub traffic: CommandTraffic,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub ended: Time,
}

impl Exchange {
    /// First byte of the query → last byte of the answer; `None` without one.
    #[must_use]
    pub fn duration_ns(&self) -> Option<u64> {
        self.response.as_ref()?;
        Some(self.traffic.last_byte?.0.saturating_sub(self.started.0))
    }

    /// Bytes of either half that were not captured.
    #[must_use]
    pub const fn gap_bytes(&self) -> u64 {
        self.traffic.request.gap_bytes + self.traffic.response.gap_bytes
    }
}

/// `extent` on top of what was counted before.
pub(super) const fn add(counts: Counts, extent: Extent) -> Counts {
    Counts {
        head_bytes: counts.head_bytes + extent.bytes,
        body_bytes: counts.body_bytes,
        gap_bytes: counts.gap_bytes + extent.gap_bytes,
    }
}
