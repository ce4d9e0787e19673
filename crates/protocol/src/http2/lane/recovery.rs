//! Losing step with the frames, and finding it again.

use bytes::Bytes;

use super::{Context, Lane, State};
use crate::http2::frame::{self, PREFACE};
use crate::http2::hunt::Hunt;
use crate::{Event, ParseError, Time};

/// Faults after which a connection is given up (`protocols.md` 4.2).
const MAX_FAULTS: u8 = 3;

/// A search that passes over this much counts as a fault.
const HUNT_FAULT_BYTES: u64 = 8 << 20;

impl Lane {
    /// Gives up the present message and searches for the next.
    pub(crate) fn force_resync(&mut self, time: Time, cx: &mut Context<'_>) -> Result<(), ParseError> {
        if self.waiting_for.is_some() {
            return self.stop_waiting(cx);
        }
        self.lose("no progress", true, time, cx)
    }

    /// Reports bytes that no search will explain any more.
    pub(crate) fn close(&mut self, time: Time, cx: &mut Context<'_>) {
        // An error here changes nothing: the connection is over.
        while self.waiting_for.is_some() && self.stop_waiting(cx).is_ok() {}
        self.drop_block("header block cut short", time, cx);
        if matches!(self.state, State::Hunting) && self.hunt.seen() > 0 {
            let dropped = self.hunt.seen();
            cx.streams.lost(self.side, time, cx.out);
            cx.out.push(Event::Resync {
                side: self.side,
                reason: self.reason,
                dropped,
            });
            self.hunt = Hunt::default();
        }
    }

    /// The client's first bytes are not the preface, from the byte after `matched` on.
    pub(super) fn no_preface(
        &mut self,
        matched: usize,
        time: Time,
        cx: &mut Context<'_>,
    ) -> Result<(), ParseError> {
        if self.fresh || self.decoder.is_synced() {
            self.lose("no client preface", false, time, cx)?;
        }
        self.state = State::Hunting;
        self.hunt
            .push(PREFACE.get(..matched).unwrap_or_default(), time, true);
        Ok(())
    }

    /// Where frames begin is not known any more. `fault`: the bytes were there but made no sense.
    pub(in crate::http2) fn lose(
        &mut self,
        reason: &'static str,
        fault: bool,
        time: Time,
        cx: &mut Context<'_>,
    ) -> Result<(), ParseError> {
        if matches!(self.state, State::Hunting) {
            self.hunt.forget();
        }
        self.state = State::Hunting;
        self.reason = reason;
        self.filled = 0;
        self.good = 0;
        self.drop_block("header block lost", time, cx);
        self.decoder.unsync();
        cx.streams.lost(self.side, time, cx.out);
        if fault { self.fault() } else { Ok(()) }
    }

    fn fault(&mut self) -> Result<(), ParseError> {
        self.faults = self.faults.saturating_add(1);
        if self.faults < MAX_FAULTS {
            return Ok(());
        }
        Err(ParseError::Fatal {
            protocol: "http2",
            reason: "lost frame synchronisation three times",
        })
    }

    pub(super) fn search(
        &mut self,
        time: Time,
        cx: &mut Context<'_>,
    ) -> Result<Option<Vec<(Bytes, Time)>>, ParseError> {
        let max = self
            .max_frame
            .unwrap_or(frame::UNKNOWN_MAX_FRAME)
            .max(frame::MIN_MAX_FRAME);
        if let Some(found) = self.hunt.find(max) {
            if found.dropped > 0 || self.reason != "joined inside a frame" {
                let (side, reason, dropped) = (self.side, self.reason, found.dropped);
                cx.out.push(Event::Resync {
                    side,
                    reason,
                    dropped,
                });
            }
            if found.dropped > 0 {
                // Streams that opened during the search may have lost something too.
                cx.streams.lost(self.side, time, cx.out);
            }
            self.state = State::Header;
            self.hunted = 0;
            return Ok(Some(found.pieces));
        }
        if self.hunt.seen() - self.hunted.min(self.hunt.seen()) > HUNT_FAULT_BYTES {
            self.hunted = self.hunt.seen();
            self.fault()?;
        }
        Ok(None)
    }
}
