//! Searches the next frame after a hole.
//!
//! Any offset may be a header. One is believed in when it is the last of [`CHAIN`] headers each of which begins where the frame
//! before it ends: a random byte pair passes for a header about once in fifty. Of a client each must also have a mask or a length that
//! none before it in the chain has. A run of one letter is one of four bytes over and over when it is masked, and a header in it
//! comes again and again; frames have a fresh mask each (RFC 6455 §5.3).

use super::frame::{self, Header, Read, Rules};

/// Headers that must chain.
const CHAIN: u8 = 5;
/// Longest frame that is stepped over.
const STEP_BYTES: u64 = 64 << 20;
/// Chains followed at a time.
const CANDIDATES: usize = 256;

/// What the next data frame of a chain must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Any,
    Start,
    Continuation,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: u64,
    seen: u8,
    next: Next,
    /// Masks and lengths of those that count.
    masked: [Option<([u8; 4], u64)>; CHAIN as usize],
}

impl Candidate {
    /// None so far.
    const NONE: Self = Self {
        at: 0,
        seen: 0,
        next: Next::Any,
        masked: [None; CHAIN as usize],
    };

    /// The chain with one header more, if that proves more.
    fn count(mut self, header: &Header) -> Self {
        let masked = header.mask.map(|mask| (mask, header.length));
        if masked.is_none() || !self.masked.contains(&masked) {
            if let Some(slot) = self.masked.get_mut(usize::from(self.seen)) {
                *slot = masked;
            }
            self.seen += 1;
        }
        self
    }
}

/// A search.
#[derive(Debug)]
pub(super) struct Seek {
    rules: Rules,
    /// Bytes that may begin a header that is not whole.
    buffer: Vec<u8>,
    /// Offset of the first of them.
    position: u64,
    candidates: Vec<Candidate>,
}

impl Seek {
    pub(super) const fn new(rules: Rules) -> Self {
        Self {
            rules: Rules {
                shortest: true,
                ..rules
            },
            buffer: Vec::new(),
            position: 0,
            candidates: Vec::new(),
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity() + self.candidates.capacity() * size_of::<Candidate>()
    }

    /// Bytes passed over, those held included.
    pub(super) fn passed(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    /// More is missing: what chained so far proves nothing.
    pub(super) fn gap(&mut self) {
        self.position = self.passed();
        self.buffer.clear();
        self.candidates.clear();
    }

    /// Looks at `data`. Once a frame is found, returns all bytes from its beginning.
    pub(super) fn feed(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        self.buffer.extend_from_slice(data);
        let mut at = 0;
        let found = loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let header = match frame::read(rest, self.rules) {
                Read::NeedMore => break false,
                // An empty frame that ends nothing is allowed and never sent; runs of zeros look like it.
                Read::Header(header) if header.length <= STEP_BYTES && (header.fin || header.length > 0) => {
                    Some(header)
                }
                Read::Header(_) | Read::Bad(_) => None,
            };
            if self.consider(self.position + at as u64, header) {
                break true;
            }
            at += 1;
        };
        self.position += at as u64;
        self.buffer.drain(..at);
        found.then(|| std::mem::take(&mut self.buffer))
    }

    /// Whether `header` at `at` completes a chain.
    fn consider(&mut self, at: u64, header: Option<Header>) -> bool {
        let mut best: Option<Candidate> = None;
        self.candidates.retain(|candidate| {
            let is_here = candidate.at == at;
            if is_here && best.is_none_or(|best| best.seen < candidate.seen) {
                best = Some(*candidate);
            }
            !is_here
        });
        let Some(header) = header else { return false };
        let fits = |candidate: &Candidate| {
            let is_continuation = header.opcode == frame::CONTINUATION;
            header.is_control()
                || match candidate.next {
                    Next::Any => true,
                    Next::Start => !is_continuation,
                    Next::Continuation => is_continuation,
                }
        };
        let before = best.filter(fits).unwrap_or(Candidate::NONE);
        let chain = before.count(&header);
        if chain.seen >= CHAIN {
            return true;
        }
        let next = match (header.is_control(), header.fin) {
            (true, _) => before.next,
            (false, true) => Next::Start,
            (false, false) => Next::Continuation,
        };
        // Nothing follows a close.
        if header.opcode != frame::CLOSE && self.candidates.len() < CANDIDATES {
            self.candidates.push(Candidate {
                at: at + header.size as u64 + header.length,
                next,
                ..chain
            });
        }
        false
    }
}
