//! One TLS connection.

use bytes::Bytes;

use crate::hello::{ClientHello, ServerHello};
use crate::{Secret, Side, Time};

/// Bounds of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ciphertext that may wait for its secret, both directions together. Default 1 MiB.
    pub waiting_bytes: usize,
    /// Bytes of handshake messages in the clear kept to parse a hello (P-D5). Default 64 KiB.
    pub hello_bytes: usize,
    /// Candidate secrets kept. Default 64.
    pub secrets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_bytes: 1 << 20,
            hello_bytes: 64 << 10,
            secrets: 64,
        }
    }
}

/// Why plaintext is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The ciphertext was not captured.
    Lost,
    /// No secret came before the waiting ciphertext reached its bound.
    NoSecret,
    /// Records did not authenticate.
    Unauthenticated,
}

/// Why a session as a whole cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// The suite is not an AEAD suite known here (CBC, RC4, CCM …); the number is the suite.
    CipherSuite(u16),
    /// The version is older than TLS 1.2.
    Version(u16),
    /// The handshake was not seen.
    NoHandshake,
    /// The bytes are not TLS records.
    NotTls,
}

/// What a session reports, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A whole ClientHello was seen (twice after a HelloRetryRequest).
    ClientHello(Box<ClientHello>, Time),
    /// A whole ServerHello was seen.
    ServerHello(Box<ServerHello>, Time),
    /// ALPN chosen, from the EncryptedExtensions of TLS 1.3.
    Alpn(String, Time),
    /// Application bytes of one record.
    Plaintext {
        /// Sender.
        side: Side,
        /// Application data, inner type and padding removed.
        data: Bytes,
        /// Time of the last byte of its record.
        time: Time,
    },
    /// Application bytes that are missing. The length is exact where the record headers were seen, else an
    /// upper bound made from the wire length.
    Gap {
        /// Sender.
        side: Side,
        /// Bytes of plaintext, as far as known.
        length: u64,
        /// Why.
        reason: GapReason,
        /// When.
        time: Time,
    },
    /// The first record of `side` authenticated under a secret: from here on its plaintext flows.
    Bound {
        /// Sender.
        side: Side,
        /// When.
        time: Time,
    },
    /// A close_notify alert was read.
    CloseNotify {
        /// Sender.
        side: Side,
        /// When.
        time: Time,
    },
    /// Nothing of this session can be read; told once.
    Unreadable(Unreadable, Time),
}

/// Decrypts one connection.
pub struct Session {
    _private: (),
}

impl Session {
    /// A session from its first byte; `midstream` when the connection is older than the capture.
    #[must_use]
    pub fn new(_limits: Limits, _midstream: bool) -> Self {
        Self { _private: () }
    }

    /// The next ciphertext bytes of `side`.
    pub fn bytes(&mut self, _side: Side, _data: Bytes, _time: Time, _out: &mut Vec<Event>) {}

    /// `length` ciphertext bytes of `side` are missing here.
    pub fn gap(&mut self, _side: Side, _length: u64, _time: Time, _out: &mut Vec<Event>) {}

    /// A secret that the process of this connection derived. Returns whether it now is this session's own: it
    /// authenticated one of its records, or carries its client random. One that did not fit yet is kept as a candidate.
    pub fn offer(&mut self, _secret: &Secret, _out: &mut Vec<Event>) -> bool {
        false
    }

    /// No secret will come any more (the bounded wait is over): gives up waiting ciphertext as gaps.
    pub fn give_up(&mut self, _time: Time, _out: &mut Vec<Event>) {}

    /// Whether ciphertext waits for a secret.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        false
    }

    /// Whether both directions are bound to secrets.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        false
    }

    /// Bytes held.
    #[must_use]
    pub fn buffered(&self) -> usize {
        0
    }
}
