//! What parsers report.

use bytes::Bytes;

use crate::{Command, CommandResult, CommandTraffic, RequestHead, ResponseHead, Side, Time, dns};

/// A transaction within its connection: the ordinal of the request for HTTP/1 (from 1), the stream id for
/// HTTP/2. Never reused while the connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub u64);

/// How a transaction ended (P-M3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both halves were seen to their end. HTTP/2: or the response was, and the server then asked for no more of the request (RST_STREAM
    /// with NO_ERROR, RFC 9113 §8.1); the request's half then has no [`Event::HalfEnd`].
    Complete,
    /// The connection closed first.
    Canceled,
    /// The stream was reset with this error code (RFC 9113 §7).
    Reset(u32),
    /// The peer said that it never processed the stream (GOAWAY).
    Refused,
    /// No byte for too long.
    Timeout,
    /// Bytes that belonged to it are missing, so where it ended is not known.
    Incomplete,
    /// The connection was handed to another protocol.
    Upgraded,
}

/// What a connection turns into after an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `Upgrade: websocket` (or extended CONNECT).
    WebSocket,
    /// `Upgrade: h2c`; stream 1 carries the request that asked for it.
    H2c,
    /// A 2xx answer to CONNECT: whatever the client speaks to the far end.
    Tunnel,
    /// Another token of the `Upgrade` header, lower case.
    Other(String),
}

/// Bytes of one direction of a transaction as they were on the (decrypted) wire, before any decoding (P-T4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Head and trailers, frame headers included.
    pub head_bytes: u64,
    /// Body with its framing (chunk sizes, DATA frame headers), missing bytes included.
    pub body_bytes: u64,
    /// Bytes of this direction that were not captured.
    pub gap_bytes: u64,
}

impl Counts {
    /// Head and body together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.head_bytes + self.body_bytes
    }
}

/// One step of a transaction. For one key the order is: `RequestHead` first, `End` last, and each half in its
/// own order (head, body pieces and gaps, trailers, end). The halves interleave freely.
///
/// Heads and trailers own their bytes: they are kept as long as their transaction, which may be hours, and must not pin the buffer that
/// they came in. Payload of a body is a slice of that.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request began. `started` is the time of its first byte, `time` that of the last byte of its head.
    RequestHead {
        /// The transaction.
        key: StreamKey,
        /// The request.
        head: Box<RequestHead>,
        /// First byte.
        started: Time,
        /// End of head.
        time: Time,
    },
    /// Payload of a body, transfer coding removed, content coding kept.
    Body {
        /// The transaction.
        key: StreamKey,
        /// Whose body.
        side: Side,
        /// The bytes.
        data: Bytes,
        /// When.
        time: Time,
    },
    /// Bytes of a body that were not captured.
    BodyGap {
        /// The transaction.
        key: StreamKey,
        /// Whose body.
        side: Side,
        /// How many; 0 when frames were lost and it is not known whether some were of this body.
        length: u64,
        /// When.
        time: Time,
    },
    /// Trailer fields.
    Trailers {
        /// The transaction.
        key: StreamKey,
        /// Whose.
        side: Side,
        /// The fields in order.
        fields: Vec<crate::Field>,
        /// There are more that could not be decoded.
        partial: bool,
        /// When.
        time: Time,
    },
    /// An interim (1xx) response (P-H6, P-2g).
    Interim {
        /// The transaction.
        key: StreamKey,
        /// 100 to 199, never 101.
        status: u16,
        /// When.
        time: Time,
    },
    /// The final response began. `started` is its first byte, `time` the end of its head.
    ResponseHead {
        /// The transaction.
        key: StreamKey,
        /// The response.
        head: Box<ResponseHead>,
        /// First byte.
        started: Time,
        /// End of head.
        time: Time,
    },
    /// One half ended: nothing more of it will come.
    HalfEnd {
        /// The transaction.
        key: StreamKey,
        /// Which half.
        side: Side,
        /// Its last byte.
        time: Time,
    },
    /// The transaction is over; sent exactly once for every `RequestHead`.
    End {
        /// The transaction.
        key: StreamKey,
        /// How.
        outcome: Outcome,
        /// Bytes from the client.
        request: Counts,
        /// Bytes from the server.
        response: Counts,
        /// When.
        time: Time,
    },
    /// The connection changed protocol. Sent after the `End` of the transaction that asked for it. The parser
    /// takes no more bytes; what it already held of the new protocol is handed back here.
    Upgraded {
        /// The transaction that asked.
        key: StreamKey,
        /// To what.
        to: Upgrade,
        /// Bytes of the new protocol already received from the client.
        client: Bytes,
        /// Bytes of the new protocol already received from the server.
        server: Bytes,
        /// When.
        time: Time,
    },
    /// A command of a database or queue was read. [`Event::CommandEnd`] follows exactly once; nothing but an
    /// [`Event::CommandNamed`] before it has its key.
    Command {
        /// The transaction: ordinal of the command, from 1.
        key: StreamKey,
        /// The command.
        command: Box<Command>,
        /// First byte.
        started: Time,
        /// Last byte.
        time: Time,
    },
    /// What a command says, now that names are known which it told by ids. Comes right before its end, once at most.
    CommandNamed {
        /// The transaction.
        key: StreamKey,
        /// The same command.
        command: Box<Command>,
    },
    /// A command is over.
    CommandEnd {
        /// The transaction.
        key: StreamKey,
        /// What it came to, if that was seen.
        result: Option<Box<CommandResult>>,
        /// How.
        outcome: Outcome,
        /// Sizes and times.
        traffic: CommandTraffic,
        /// When.
        time: Time,
    },
    /// A query of DNS was read. [`Event::QueryEnd`] follows exactly once; nothing else has its key.
    Query {
        /// The transaction: ordinal of the query, from 1.
        key: StreamKey,
    },
    /// A query of DNS is over.
    QueryEnd {
        /// The transaction.
        key: StreamKey,
        /// What was asked, and what came of it.
        exchange: Box<dns::Exchange>,
    },
    /// What follows on the connection is TLS, inside of which the protocol goes on: the parser keeps its state and takes the
    /// plaintext. What it already held of the TLS is handed back here.
    StartTls {
        /// Bytes of TLS already received from the client.
        client: Bytes,
        /// Bytes of TLS already received from the server.
        server: Bytes,
        /// When.
        time: Time,
    },
    /// A message could not be understood; `dropped` bytes were passed over to find the next one.
    Resync {
        /// Whose bytes.
        side: Side,
        /// What was wrong, a fixed phrase fit for a metric label.
        reason: &'static str,
        /// Bytes passed over so far for this fault.
        dropped: u64,
    },
    /// Response without a known request (attach in the middle, P-3.2); counted, not emitted.
    Orphan {
        /// Bytes of the response head.
        bytes: u64,
    },
}
