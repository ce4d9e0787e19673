//! Where one direction of the connection stands.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{body::Body, collect::Collector, seek::Seek};
use crate::Time;

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: State,
    /// The search that found the head now being read; taken up again if that head proves to be none.
    pub(super) sought: Option<Seek>,
    /// Bytes that came after the end of this direction.
    pub(super) surplus: u64,
}

/// What the next byte of a direction is.
#[derive(Debug)]
pub(super) enum State {
    /// Part of a head, or of what stands between messages.
    Head(Collector),
    /// Part of a body.
    Body(Body),
    /// Unknown: the next start line is searched.
    Seek(Seek),
    /// Not to be judged yet; see [`Held`].
    Held(Held),
    /// Nothing more is expected.
    Closed,
}

/// Bytes that wait for the other direction: the client's after a request that may change the protocol, and
/// the server's ahead of a request that the tracer has yet to deliver.
#[derive(Debug)]
pub(super) struct Held {
    pieces: VecDeque<(Bytes, Time)>,
    bytes: usize,
    /// Collector to go on with.
    resume: Collector,
}

impl Held {
    pub(super) const fn new(resume: Collector) -> Self {
        Self {
            pieces: VecDeque::new(),
            bytes: 0,
            resume,
        }
    }

    pub(super) fn push(&mut self, data: Bytes, time: Time) {
        self.bytes += data.len();
        self.pieces.push_back((data, time));
    }

    /// Bytes held.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What to go on with, and the pieces in order.
    pub(super) fn release(self) -> (Collector, VecDeque<(Bytes, Time)>) {
        (self.resume, self.pieces)
    }

    /// The pieces joined; one piece is not copied.
    pub(super) fn join(mut self) -> Bytes {
        if self.pieces.len() == 1 {
            return self.pieces.pop_front().map(|(data, _)| data).unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.bytes);
        self.pieces
            .iter()
            .for_each(|(data, _)| joined.extend_from_slice(data));
        joined.freeze()
    }
}

impl Lane {
    pub(super) const fn new(state: State) -> Self {
        Self {
            state,
            sought: None,
            surplus: 0,
        }
    }

    /// A body has ended, which is to be told without further bytes.
    pub(super) const fn is_due(&self) -> bool {
        matches!(&self.state, State::Body(body) if body.is_over())
    }

    /// Bytes held in memory.
    pub(super) fn buffered(&self) -> usize {
        match &self.state {
            State::Head(lines) => lines.buffered(),
            State::Body(body) => body.buffered(),
            State::Seek(seek) => seek.buffered(),
            State::Held(held) => held.bytes(),
            State::Closed => 0,
        }
    }

    /// Takes the state out, leaving `Closed`.
    pub(super) const fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closed)
    }
}
