//! Bytes of the server that wait for a request captured late: reads and writes of different threads may be
//! captured out of order.

use bytes::Bytes;

use super::{Context, Lane};
use crate::{ParseError, Time};

/// Bytes of the server that may wait for a request captured late.
const HELD_BYTES: usize = 256 << 10;

/// Pieces that may wait.
const HELD_PIECES: usize = 8192;

/// What waits.
pub(super) enum Held {
    Bytes(Bytes, Time),
    Gap(u64, Time),
}

impl Lane {
    pub(super) fn hold(&mut self, data: Bytes, time: Time) {
        self.held_bytes += data.len();
        self.held.push_back(Held::Bytes(data, time));
    }

    pub(super) fn hold_gap(&mut self, length: u64, time: Time) {
        self.held.push_back(Held::Gap(length, time));
    }

    pub(super) fn stop_waiting_if_full(&mut self, cx: &mut Context<'_>) -> Result<(), ParseError> {
        let full = self.held_bytes > HELD_BYTES || self.held.len() > HELD_PIECES;
        if full { self.stop_waiting(cx) } else { Ok(()) }
    }

    /// Stops waiting for a request, which is taken as lost, and takes in what waited meanwhile.
    pub(crate) fn stop_waiting(&mut self, cx: &mut Context<'_>) -> Result<(), ParseError> {
        if self.waiting_for.is_some() {
            cx.streams.miss_requests();
        }
        self.resume_if_ready(cx)
    }

    /// Takes in what waited, if the request it waited for is there or will not come.
    pub(crate) fn resume_if_ready(&mut self, cx: &mut Context<'_>) -> Result<(), ParseError> {
        if self.waiting_for.is_none_or(|id| cx.streams.is_ahead(id)) {
            return Ok(());
        }
        self.waiting_for = None;
        self.held_bytes = 0;
        let held = std::mem::take(&mut self.held);
        // The header that had to wait is still in place.
        self.begin_frame(cx)?;
        for piece in held {
            match piece {
                Held::Gap(length, time) => self.gap(length, time, cx)?,
                Held::Bytes(data, time) => self.bytes(data, time, cx)?,
            }
        }
        Ok(())
    }
}
