//! What a session reports.

use bytes::Bytes;

use crate::hello::{ClientHello, ServerHello};
use crate::{Label, Secret, Side, Time};

/// A secret that is known to be a session's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSecret {
    /// The secret.
    pub secret: Secret,
    /// Client random of its handshake, by which a key log names it.
    pub client_random: [u8; 32],
}

/// A secret that should have opened a record, and did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// [`Secret::origin`].
    pub origin: u64,
    /// What it was said to be.
    pub label: Label,
    /// It carries the client random of the session; else it may be another connection's.
    pub is_certain: bool,
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
    /// The version is not TLS 1.2 or 1.3; the number is the version.
    Version(u16),
    /// The handshake was not seen.
    NoHandshake,
    /// The bytes are not TLS records.
    NotTls,
}

/// What a session reports, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A whole ClientHello was seen (twice after a HelloRetryRequest, again in a renegotiation).
    ClientHello(Box<ClientHello>, Time),
    /// A whole ServerHello was seen.
    ServerHello(Box<ServerHello>, Time),
    /// The first record of a connection whose handshake was not seen authenticated under a secret that was found, which tells what was
    /// agreed on.
    Joined {
        /// As in a ServerHello.
        version: u16,
        /// As in a ServerHello.
        cipher_suite: u16,
        /// When.
        time: Time,
    },
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
    /// A secret proved to be this session's own, told once for each. Only after [`crate::Session::export_secrets`].
    Own(Box<OwnSecret>),
    /// A close_notify alert was read.
    CloseNotify {
        /// Sender.
        side: Side,
        /// When.
        time: Time,
    },
    /// Nothing of this session can be read; told once, nothing follows it.
    Unreadable(Unreadable, Time),
}

/// Appends a gap, joined to the one before when nothing lies between them. A length of 0 is no gap.
pub(crate) fn push_gap(out: &mut Vec<Event>, side: Side, length: u64, reason: GapReason, time: Time) {
    if length == 0 {
        return;
    }
    if let Some(Event::Gap {
        side: last_side,
        length: last_length,
        reason: last_reason,
        time: last_time,
    }) = out.last_mut()
        && *last_side == side
        && *last_reason == reason
    {
        *last_length = last_length.saturating_add(length);
        *last_time = time;
        return;
    }
    out.push(Event::Gap {
        side,
        length,
        reason,
        time,
    });
}
