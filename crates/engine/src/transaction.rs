//! Finished transactions and connection reports.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Counts, Field, Outcome, RequestHead, ResponseHead, Time, Upgrade, grpc};

use crate::{ConnectionFacts, Health, Messages};

/// What was kept of a body (P-B1 to P-B3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// First bytes up to the limit, transfer coding removed, content coding **removed** when that worked, else as
    /// sent. Gaps are not filled.
    pub data: Bytes,
    /// Length of the body as sent (content coding kept), counted beyond the limit and over gaps.
    pub total: u64,
    /// Bytes of `total` that were not captured.
    pub gap_bytes: u64,
    /// `data` is not all of it, because of a limit.
    pub truncated: bool,
    /// The `Content-Encoding` of the message, lower case, if not identity; said whether or not it was removed.
    pub encoding: Option<String>,
    /// Content coding could not be removed, with the cause; `data` is as sent.
    pub decode_error: Option<String>,
}

/// Times and sizes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Half {
    /// First byte of the head.
    pub first_byte: Option<Time>,
    /// End of the head.
    pub head_end: Option<Time>,
    /// Last byte.
    pub last_byte: Option<Time>,
    /// The half was seen to its end.
    pub ended: bool,
    /// Trailer fields.
    pub trailers: Vec<Field>,
    /// There are more that could not be decoded, or were cut.
    pub trailers_partial: bool,
    /// Bytes.
    pub counts: Counts,
    /// Body, if it was wanted.
    pub body: Body,
}

/// One request with its response. Times follow P-T1: `duration` = `request.first_byte` → `response.head_end`,
/// `total` = `request.first_byte` → last byte of either half, `ttfb` = `request.last_byte` → `response.first_byte`.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Sortable, globally unique, 20 characters: `requestId` in events.
    pub id: Arc<str>,
    /// Protocol it was spoken in.
    pub protocol: Protocol,
    /// Ordinal (HTTP/1) or stream id (HTTP/2); in a tunnel with the number of that above.
    pub stream: u64,
    /// Wall time of its first byte.
    pub started: SystemTime,
    /// Wall time of its end.
    pub finished: SystemTime,
    /// The request.
    pub request: RequestHead,
    /// The response, if one was seen.
    pub response: Option<ResponseHead>,
    /// Client's bytes.
    pub request_half: Half,
    /// Server's bytes.
    pub response_half: Half,
    /// 1xx statuses before the response, in order.
    pub interim: Vec<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// To what the connection was upgraded.
    pub upgraded_to: Option<Upgrade>,
    /// It is a call of gRPC: what the HTTP transaction does not say of it.
    pub grpc: Option<Box<grpc::Call>>,
    /// It goes on: what is told is its state so far. Bodies are told at its end.
    pub partial: bool,
    /// Its messages, if it is a WebSocket or an event stream.
    pub messages: Option<Messages>,
}

impl Transaction {
    /// Wall time of a kernel time in its life.
    #[must_use]
    pub fn wall_time(&self, time: Time) -> SystemTime {
        let first = self.request_half.first_byte.unwrap_or(time);
        self.started + Duration::from_nanos(time.0.saturating_sub(first.0))
    }

    /// The server answered whole and then wanted no more of the request (see [`Outcome::Complete`]).
    #[must_use]
    pub fn is_request_aborted(&self) -> bool {
        let is_cut = self.response_half.ended && !self.request_half.ended;
        self.outcome == Outcome::Complete && !self.partial && is_cut
    }

    /// Bytes of either half that were not captured.
    #[must_use]
    pub fn gap_bytes(&self) -> u64 {
        self.request_half.counts.gap_bytes + self.response_half.counts.gap_bytes
    }

    /// First request byte → end of response head.
    #[must_use]
    pub fn duration_ns(&self) -> Option<u64> {
        Some(
            self.response_half
                .head_end?
                .0
                .saturating_sub(self.request_half.first_byte?.0),
        )
    }

    /// Last request byte → first response byte; 0 when the response began first. What a client sends on a WebSocket is no part
    /// of the request.
    #[must_use]
    pub fn ttfb_ns(&self) -> Option<u64> {
        let request_end = match self.messages {
            Some(Messages::WebSocket(_)) => self.request_half.head_end?,
            _ => self.request_half.last_byte?,
        };
        Some(self.response_half.first_byte?.0.saturating_sub(request_end.0))
    }

    /// The timeout that the client of a call of gRPC declared.
    #[must_use]
    pub fn grpc_timeout(&self) -> Option<Duration> {
        grpc::timeout(self.request.field("grpc-timeout")?)
    }

    /// How a call of gRPC ended, if that is known.
    #[must_use]
    pub fn grpc_status(&self) -> Option<grpc::Status> {
        self.grpc.as_ref()?;
        let lasted = self.finished.duration_since(self.started).unwrap_or_default();
        let timeout = self.grpc_timeout();
        let timed_out = timeout.is_some_and(|timeout| grpc::has_passed(timeout, lasted));
        let trailers = &self.response_half.trailers;
        grpc::status(self.response.as_ref(), trailers, self.outcome, timed_out)
    }

    /// First request byte → last byte of all.
    #[must_use]
    pub fn total_ns(&self) -> Option<u64> {
        let last = self.response_half.last_byte.max(self.request_half.last_byte)?;
        Some(last.0.saturating_sub(self.request_half.first_byte?.0))
    }
}

/// State of a connection for the `connection` event.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// What is known.
    pub facts: ConnectionFacts,
    /// Count of reports before this one.
    pub part: u32,
    /// It is over.
    pub finalized: bool,
    /// When it closed.
    pub closed: Option<SystemTime>,
    /// Nanoseconds it lived so far.
    pub duration_ns: u64,
    /// Bytes written to the socket (ciphertext for TLS).
    pub bytes_sent: u64,
    /// Bytes read from the socket.
    pub bytes_received: u64,
    /// Transactions that ended on it so far.
    pub transactions: u64,
    /// Protocol it was upgraded to.
    pub upgraded_to: Option<Upgrade>,
    /// The peer or the process reset it.
    pub reset: bool,
    /// The verdict.
    pub health: Health,
}
