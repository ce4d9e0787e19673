//! HTTP/2 (RFC 9113) with HPACK (RFC 7541), joined at the preface or anywhere later.
//!
//! One `Lane` a side turns bytes into frames; DATA payload is passed on as it arrives, header blocks
//! are decoded as they arrive, and nothing else is held. What a lane cannot know after a late attach or a
//! loss (older HPACK entries, heads that went by) stays unknown and is marked so (`protocols.md` 4.4).

mod block;
mod frame;
mod hpack;
mod hunt;
mod lane;
mod message;
mod open_frame;
mod parser;
mod stream;
mod streams;

pub use frame::looks_like_frames;
pub use parser::{Parser, Start};

/// Decodes a header block and checks what must hold of it; for the fuzz target.
#[cfg(fuzzing)]
pub fn check_hpack(input: &[u8]) {
    hpack::checks::run(input);
}
