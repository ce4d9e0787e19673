//! TLS seen from outside: from ciphertext and secrets to plaintext, sans-I/O.
//!
//! In: the bytes of one TLS connection per [`Side`], in order, with their kernel times, the lengths of holes,
//! and secrets that some process derived. Out: the hellos, the plaintext of the application, and what could
//! not be read. A secret belongs to this connection when a record authenticates under it; nothing is guessed.
//! Depends on `qtap-protocol` only for the words [`Side`] and [`Time`].
#![forbid(unsafe_code)]

mod secret;
mod session;

pub mod hello;

pub use qtap_protocol::{Side, Time};
pub use secret::{Label, Secret};
pub use session::{Event, GapReason, Limits, Session, Unreadable};
