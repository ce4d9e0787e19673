//! One stream: two halves that know nothing of each other (P-2f).

use crate::{Counts, Side, Time};

/// What one side has sent on a stream.
#[derive(Debug, Default)]
pub(crate) struct Half {
    /// Its (final) head was reported.
    pub(crate) head: bool,
    /// Its END_STREAM was seen.
    pub(crate) ended: bool,
    /// Frames of unknown streams were lost while it was open: its end, or more, may be among them.
    pub(crate) doubtful: bool,
    /// Length of the body as its head says, where nothing is to follow the body.
    pub(crate) declared: Option<u64>,
    /// Bytes of the body so far, missing ones included.
    pub(crate) content: u64,
    pub(crate) counts: Counts,
}

impl Half {
    /// Frames of this side were lost.
    pub(crate) fn doubt(&mut self) {
        self.doubtful |= !self.ended;
    }

    /// Nothing of it is outstanding but, at most, an END_STREAM without content (RFC 9113 §8.1.1).
    pub(crate) fn is_whole(&self) -> bool {
        self.ended || (self.head && !self.doubtful && self.declared == Some(self.content))
    }
}

/// A stream whose request is known.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) client: Half,
    pub(crate) server: Half,
    /// Last frame of either side.
    pub(crate) last: Time,
    /// May rest for long without being dead.
    pub(crate) streaming: bool,
}

impl Stream {
    pub(crate) fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.client.doubtful || self.server.doubtful
    }

    /// Whether both messages are there to their last byte.
    pub(crate) fn is_whole(&self) -> bool {
        // What may rest for long says how it went in its trailers, or has no end.
        !self.streaming && self.client.is_whole() && self.server.is_whole()
    }

    /// Whether nothing more is to be expected. A response that ended tells that the end of a request with
    /// losses is among what was lost.
    pub(crate) fn is_over(&self) -> bool {
        self.server.ended && (self.client.ended || self.client.doubtful)
    }
}
