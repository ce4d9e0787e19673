//! The beginning of a QUIC connection, as anyone on the way can read it (RFC 9000, RFC 9001; version 2: RFC 9369).
//!
//! In: datagrams of one flow. Out: the hellos that their Initial packets carry. Initial packets are encrypted under keys that follow
//! from a connection ID in the clear, so that no secret is needed; what comes after them is not read. Nothing is guessed: a packet
//! belongs to a connection when it authenticates under its keys.
//!
//! ```
//! use qtap_tls::quic::{Opening, Packet, packets};
//!
//! # let datagram = b"";
//! for packet in packets(datagram) {
//!     if let Packet::Initial(initial) = packet
//!         && let Some(opening) = Opening::begin(&initial)
//!     {
//!         println!("{:?}", opening.client_hello().and_then(|hello| hello.sni.as_deref()));
//!     }
//! }
//! ```
//!
//! The way through the room: [`packets`] (a datagram to packets) → `protection` (an Initial packet to its frames) → `frames` →
//! `crypto` (pieces of the handshake in any order to messages) → [`Opening`].

mod crypto;
mod frames;
mod opening;
mod packet;
mod protection;

pub use opening::Opening;
pub use packet::{Initial, Packet, Packets, Version, packets};

/// Whether ALPN settles on HTTP/3 whatever the server chose of `offered`: QUIC has no connection without a protocol agreed on (RFC
/// 9001 §8.1). Drafts are `h3-29` and the like (RFC 9114 §3.1).
#[must_use]
pub fn is_http3(offered: &[String]) -> bool {
    !offered.is_empty() && offered.iter().all(|name| name == "h3" || name.starts_with("h3-"))
}

/// Reads `bytes` as a datagram, and begins a connection with whatever is in it; for the fuzz target.
#[cfg(fuzzing)]
pub fn check(bytes: &[u8]) {
    opening::checks::run(bytes);
}
