//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692; `protocols.md` P-W1 and P-W2).
//!
//! In: what the handshake agreed on, then the bytes of both directions and the holes between them; over HTTP/1 those of the
//! connection after its 101, over HTTP/2 those of a stream (RFC 8441). Out: whole [`Message`]s as they end, and counts of each
//! direction. Masks are removed, fragments joined, compressed messages inflated as long as their window is known.
//!
//! Bounded: `keep` bytes of each message, 64 KiB of window and 11 KiB of state for each direction that is compressed.
//!
//! Recovery: a hole inside of a payload is passed over, its message says how many bytes it misses. Behind any other hole the next
//! frame is searched: one is believed in when it is the last of five headers that chain, so four frames or more are passed over.
//!
//! ```
//! use qtap_protocol::websocket::{Agreement, Kind, Session};
//! use qtap_protocol::{Side, Time};
//!
//! let mut session = Session::new(Agreement::default(), 1024);
//! let mut messages = Vec::new();
//! session.bytes(Side::Server, b"\x81\x05hello", Time(1), &mut messages);
//! assert_eq!((messages[0].kind, &messages[0].payload[..]), (Kind::Text, &b"hello"[..]));
//! ```

mod carrier;
mod frame;
mod handshake;
mod inflate;
mod join;
mod lane;
mod message;
mod seek;
mod session;

pub use carrier::Carrier;
pub use handshake::{Agreement, Deflate, is_agreed};
pub use join::{is_joined, joined_request};
pub use message::{Closing, Kind, Message, Traffic};
pub use session::Session;
