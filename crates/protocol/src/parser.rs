//! What every protocol parser offers to the engine.

use bytes::Bytes;

use crate::{Counts, Event, StreamKey};

/// The end of the connection that sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The end that opened the connection; its bytes are requests.
    Client,
    /// The end that accepted the connection; its bytes are responses.
    Server,
}

impl Side {
    /// The opposite end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// 0 for the client and 1 for the server, for arrays with one element a side.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }
}

/// Kernel time of a piece of data: nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Bounds that a parser keeps (`protocols.md` §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an HTTP/1 head kept; what is longer is cut and marked. Default 64 KiB.
    pub head_bytes: usize,
    /// Header fields kept in one head. Default 256.
    pub head_fields: usize,
    /// Bytes of an HTTP/2 header list kept. Default 256 KiB.
    pub header_list_bytes: usize,
    /// Largest HPACK table that a peer may ask for. Default 1 MiB.
    pub hpack_table_bytes: usize,
    /// Open transactions of one connection. Default 10,000; pending HTTP/1 requests 4,096.
    pub streams: usize,
    /// Bytes kept of a command or statement of a database. Default 64 KiB.
    pub statement_bytes: usize,
    /// Bytes kept of what a command returned. Default 4 KiB.
    pub preview_bytes: usize,
    /// Commands of one connection that wait for their results; those beyond end as incomplete. Default 4,096.
    pub pending_commands: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            head_fields: 256,
            header_list_bytes: 256 << 10,
            hpack_table_bytes: 1 << 20,
            streams: 10_000,
            statement_bytes: 64 << 10,
            preview_bytes: 4 << 10,
            pending_commands: 4096,
        }
    }
}

/// Why a parser gives up on a connection. Bad messages after which it can find its feet again are not errors
/// but [`Event::Resync`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes are of another protocol; detection may run again.
    #[error("not {protocol}: {reason}")]
    NotThisProtocol {
        /// The protocol that was tried.
        protocol: &'static str,
        /// What did not fit.
        reason: &'static str,
    },
    /// Nothing more can be made of this connection.
    #[error("{protocol}: {reason}")]
    Fatal {
        /// The protocol that was tried.
        protocol: &'static str,
        /// What went wrong.
        reason: &'static str,
    },
}

/// A sans-I/O parser of one connection (P-M1). All methods append what they found to `out`.
pub trait Parser: Send {
    /// The next bytes that `side` sent. Pieces may be of any size; empty ones are ignored.
    ///
    /// # Errors
    /// See [`ParseError`]; after one the parser is not called again except for [`Parser::close`] and [`Parser::release`].
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError>;

    /// `length` bytes that `side` sent here are missing (P-L2).
    ///
    /// # Errors
    /// As [`Parser::bytes`].
    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError>;

    /// `side` will send no more (its FIN was seen).
    fn eof(&mut self, side: Side, time: Time, out: &mut Vec<Event>);

    /// The connection is over: every open transaction ends here, each with its outcome. Those that wait are told by [`Parser::wake`] or
    /// [`Parser::release`] though.
    fn close(&mut self, time: Time, out: &mut Vec<Event>);

    /// Forces a search for the next message of `side`, because no progress was made for too long (P-L3).
    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>);

    /// Ends with [`crate::Outcome::Timeout`] the transactions whose last byte is older than `before`.
    /// Streaming content types (event streams, gRPC) are left alone.
    fn expire(&mut self, before: Time, out: &mut Vec<Event>);

    /// Bytes of `side` held because their message is not whole yet; the engine budgets these (P-L4).
    fn buffered(&self, side: Side) -> usize;

    /// Bytes of the transaction `key` so far, `[request, response]`, while it is under way.
    fn counts(&self, _key: StreamKey) -> Option<[Counts; 2]> {
        None
    }

    /// How many of the next bytes of `side` are certain to be body bytes of a message already begun, so that
    /// the kernel need not copy them when no plugin wants them. 0 when unknown.
    fn skippable(&self, side: Side) -> u64;

    /// When [`Parser::wake`] wants to be called: transactions are over that wait for what another connection may tell. `None`: none do.
    fn due(&self) -> Option<Time> {
        None
    }

    /// It is `now`, in the time of the caller; times of data may be older. Tells of transactions that need not wait any more.
    fn wake(&mut self, _now: Time, _out: &mut Vec<Event>) {}

    /// Tells of the transactions that wait, as they are.
    fn release(&mut self, _out: &mut Vec<Event>) {}

    /// Bytes of the transactions that wait.
    fn waiting(&self) -> usize {
        0
    }
}
