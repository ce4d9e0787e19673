//! WebSockets that are older than the capture: told by their frames alone.

use bytes::Bytes;

use super::frame::{self, Read, Rules};
use super::seek::Seek;
use crate::{RequestHead, Side, Version};

/// Whether the first bytes captured of both sides are frames of a WebSocket: one side has a chain of five headers, which is what is
/// believed in anywhere, and the other one does not contradict.
#[must_use]
pub fn is_joined(client: &[u8], server: &[u8]) -> bool {
    let sides = [(Side::Client, client), (Side::Server, server)];
    let is_proved = sides.map(|(side, bytes)| Seek::new(rules(side)).feed(bytes).is_some());
    let fits = sides.map(|(side, bytes)| bytes.is_empty() || is_chain(bytes, rules(side)));
    match (is_proved, fits) {
        ([true, true], _) | ([true, false], [_, true]) | ([false, true], [true, _]) => true,
        ([false, false], _) | ([true, false], [_, false]) | ([false, true], [false, _]) => false,
    }
}

/// What is allowed when it is not known what was agreed on: compression may have been.
pub(super) const fn rules(side: Side) -> Rules {
    Rules {
        masked: matches!(side, Side::Client),
        deflate: true,
        foreign: false,
        shortest: true,
    }
}

/// Whether `bytes` are frames from the first one on.
fn is_chain(bytes: &[u8], rules: Rules) -> bool {
    let mut at = 0_u64;
    loop {
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
        let Some(rest) = rest else { return true };
        match frame::read(rest, rules) {
            Read::NeedMore => return true,
            Read::Header(header) => at += header.size as u64 + header.length,
            Read::Bad(_) => return false,
        }
    }
}

/// What stands for the request of a WebSocket that is older than the capture: nothing of it is known.
#[must_use]
pub fn joined_request() -> RequestHead {
    RequestHead {
        method: Bytes::new(),
        target: Bytes::from_static(b"*"),
        scheme: None,
        authority: None,
        protocol: Some(Bytes::from_static(b"websocket")),
        version: Version::Http11,
        fields: Vec::new(),
        partial: true,
        truncated: false,
        framing_conflict: false,
    }
}
