//! TLS seen from outside: from ciphertext and secrets to plaintext, sans-I/O.
//!
//! In: the bytes of one TLS connection per [`Side`], in order, with their kernel times, the lengths of holes,
//! and secrets that some process derived. Out: the hellos, the plaintext of the application, and what could
//! not be read. A secret belongs to this connection when a record authenticates under it; nothing is guessed,
//! and no byte comes out that did not authenticate.
//! Depends on `qtap-protocol` only for the words [`Side`] and [`Time`].
//!
//! ```
//! use bytes::Bytes;
//! use qtap_tls::{Event, Limits, Session, Side, Time, Unreadable};
//!
//! let mut session = Session::new(Limits::default(), false);
//! let mut events = Vec::new();
//! session.bytes(Side::Client, Bytes::from_static(b"GET / HTTP/1.1\r\n"), Time(1), &mut events);
//! assert_eq!(events, [Event::Unreadable(Unreadable::NotTls, Time(1))]);
//! ```
//!
//! [`quic`] reads the hellos of QUIC, whose first packets need no secret.
//!
//! The way through the room: [`Session`] → `framer` (bytes to records) → `flow` (one direction: which key, which
//! sequence number) → `keys` (open a record) → `messages` (handshake messages); `resync` after losses; `join` into
//! connections whose handshake was not seen.
#![forbid(unsafe_code)]

mod candidates;
mod event;
mod flow;
mod framer;
mod handshake;
mod join;
mod keys;
mod messages;
mod open;
mod queue;
mod record;
mod resync;
mod secret;
mod session;
mod suite;

pub mod hello;
pub mod quic;

pub use event::{Event, Failure, GapReason, OwnSecret, Unreadable};
pub use join::{FoundSecret, FoundSecrets, Joined};
pub use qtap_protocol::{Side, Time};
pub use secret::{Label, Secret};
pub use session::{Limits, Session};
