//! What happens when bytes are missing, wrong or late (P-L2, P-L3), and at the end of a direction.

use bytes::Bytes;

use super::{
    Answering, Parser, Upload,
    body::{Body, GapStep},
    grammar,
    lane::State,
    pairing,
    seek::Seek,
};
use crate::{Event, Outcome, ParseError, Side, Time};

/// Bytes held after a request that may change the protocol.
const HELD_BYTES: usize = 1 << 20;

impl Parser {
    /// `length` bytes of `side` are missing.
    pub(super) fn pass_gap(
        &mut self,
        side: Side,
        length: u64,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        if matches!((&self.server.state, side), (State::Held(_), Side::Server)) {
            self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None);
            self.settle(out)?;
        }
        match &mut self.lane_mut(side).state {
            State::Closed => {}
            State::Seek(seek) => {
                seek.gap();
                self.lose_more(side, time, out);
            }
            State::Held(_) | State::Head(_) => {
                if side == Side::Server {
                    self.count_gap(length);
                }
                self.search(side, "gap in head", pairing::ROUNDS_AFTER_GAP, time, out);
            }
            State::Body(body) => match body.gap(length) {
                GapStep::Passed => {
                    self.body_gap(side, length, time, out);
                    self.drive(side, Bytes::new(), time, out)?;
                }
                GapStep::Ended(inside) => {
                    self.body_gap(side, inside, time, out);
                    self.drive(side, Bytes::new(), time, out)?;
                    self.pass_gap(side, length.saturating_sub(inside), time, out)?;
                }
                GapStep::Broken => {
                    if let Some(transaction) = self.current(side) {
                        transaction.half_mut(side).counts.gap_bytes += length;
                    }
                    self.search(side, "gap in chunk framing", pairing::ROUNDS_AFTER_GAP, time, out);
                }
            },
        }
        Ok(())
    }

    /// Bytes missing in or before the head of the next response.
    fn count_gap(&mut self, length: u64) {
        let taken = match &self.server.state {
            State::Head(lines) if self.server.sought.is_none() => lines.taken(),
            _ => 0,
        };
        let Some(first) = self.queue.front_mut().filter(|first| !first.response.over) else {
            return;
        };
        first.response.counts.head_bytes += taken;
        first.response.counts.gap_bytes += length;
    }

    /// Bounds what waits for the other direction: beyond it, requests are taken for pipelined ones and
    /// responses for orphans.
    pub(super) fn bound_held(&mut self, side: Side, bytes: usize) {
        match side {
            Side::Server if bytes > self.limits.head_bytes => {
                self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None);
            }
            Side::Client if bytes > HELD_BYTES => {
                if let Some(last) = self.queue.back_mut() {
                    last.holds = false;
                }
            }
            Side::Client | Side::Server => {}
        }
    }

    /// Missing bytes of a body that goes on behind them.
    fn body_gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) {
        if let (Side::Server, Answering::Orphan { touched }) = (side, &mut self.answering) {
            *touched = true;
        }
        let Some(transaction) = self.current(side) else {
            return;
        };
        if length == 0 {
            return;
        }
        let half = transaction.half_mut(side);
        half.counts.body_bytes += length;
        half.counts.gap_bytes += length;
        transaction.last = time;
        if !transaction.ended {
            out.push(Event::BodyGap {
                key: transaction.key,
                side,
                length,
                time,
            });
        }
    }

    /// The first line of a message is not what it must be.
    pub(super) fn bad_line(
        &mut self,
        side: Side,
        dropped: u64,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        let reason = match side {
            Side::Client => "bad request line",
            Side::Server => "bad status line",
        };
        self.lane_mut(side).state = State::Seek(Seek::at_line_start(side, reason, dropped));
        self.lose_place(side, pairing::ROUNDS_AFTER_BAD, time, out);
        self.quality.bad()
    }

    /// Gives up the message under way in `side` and searches the next one.
    fn search(&mut self, side: Side, reason: &'static str, rounds: u8, time: Time, out: &mut Vec<Event>) {
        let lane = self.lane_mut(side);
        let sought = lane.sought.take().map_or(0, |seek| seek.dropped());
        let (dropped, was_final) = match lane.take() {
            State::Head(lines) => (lines.taken(), grammar::begins_final_response(lines.kept())),
            State::Held(held) => (held.bytes() as u64, false),
            State::Body(_) | State::Seek(_) | State::Closed => (0, false),
        };
        lane.state = State::Seek(Seek::after_cut(side, reason, sought + dropped));
        if side == Side::Server && was_final && self.awaiting() > 0 {
            self.answering = Answering::First;
        }
        self.lose_place(side, rounds, time, out);
    }

    /// Where the message under way in `side` ends is not known: its transaction is incomplete, and how
    /// many messages are missing is not known either.
    pub(super) fn lose_place(&mut self, side: Side, rounds: u8, time: Time, out: &mut Vec<Event>) {
        match side {
            Side::Client => {
                if let Some(transaction) = self.current(Side::Client) {
                    transaction.request.over = true;
                    transaction.request.broken = true;
                }
                self.upload_done(time, out);
                if !self.attaching {
                    self.pairing.lose(rounds, None);
                }
            }
            Side::Server => self.lose_response(rounds, time, out),
        }
    }

    /// Responses are damaged or missing. The one under way is for certain; a hole between two may be no
    /// more than an interim response.
    fn lose_response(&mut self, rounds: u8, time: Time, out: &mut Vec<Event>) {
        let is_damaged = std::mem::replace(&mut self.answering, Answering::None) == Answering::First;
        if self.attaching {
            return;
        }
        if is_damaged {
            self.end_due(time, out);
        }
        if !self.pairing.is_sure() {
            self.abandon_queue(time, out);
            self.pairing.lose(rounds, None);
        } else if self.awaiting() > 0 {
            self.shaky = true;
        } else if is_damaged {
            // No more responses can be missing than requests were open: exactly this one is.
            self.shaky = false;
        } else {
            self.pairing.lose(rounds, None);
        }
    }

    /// Ends the transaction whose response is due.
    pub(super) fn end_due(&mut self, time: Time, out: &mut Vec<Event>) {
        if let Some(due) = self.queue.front_mut().filter(|first| !first.response.over) {
            due.response.over = true;
            due.response.broken = true;
            due.end(Outcome::Incomplete, time, out);
        }
        self.finish_front(time, out);
    }

    /// Further bytes are missing while the next message is searched.
    fn lose_more(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        if self.attaching {
            return;
        }
        match side {
            Side::Client => self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None),
            Side::Server if !self.pairing.is_sure() => {
                self.abandon_queue(time, out);
                self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None);
            }
            Side::Server => self.shaky |= self.awaiting() > 0,
        }
    }

    /// Which of the open requests the next response answers cannot be told: they end without.
    pub(super) fn give_up_queue(&mut self, time: Time, out: &mut Vec<Event>) {
        self.shaky = false;
        let outstanding = self.awaiting() as u64;
        self.abandon_queue(time, out);
        self.pairing.lose(pairing::ROUNDS_AFTER_GAP, Some(outstanding));
    }

    /// Ends all open requests without response. One that is still being sent is followed to its end.
    pub(super) fn abandon_queue(&mut self, time: Time, out: &mut Vec<Event>) {
        self.shaky = false;
        for transaction in &mut self.queue {
            transaction.end(Outcome::Incomplete, time, out);
        }
        if matches!(self.upload, Upload::Last) {
            self.upload = self
                .queue
                .pop_back()
                .map_or(Upload::None, |last| Upload::Loose(Box::new(last)));
        }
        self.queue.clear();
        if self.answering == Answering::First {
            self.answering = Answering::Orphan { touched: true };
        }
    }

    /// P-L3: no progress for too long with bytes waiting.
    pub(super) fn force_search(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        if self.lane(side).buffered() == 0 {
            return;
        }
        match &mut self.lane_mut(side).state {
            State::Held(_) if side == Side::Server => self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None),
            State::Held(_) => {
                if let Some(last) = self.queue.back_mut() {
                    last.holds = false;
                }
            }
            State::Seek(seek) => {
                seek.gap();
                self.lose_more(side, time, out);
            }
            State::Head(_) | State::Body(_) => {
                self.search(side, "no progress", pairing::ROUNDS_AFTER_GAP, time, out);
            }
            State::Closed => {}
        }
    }

    /// Nothing more comes from `side`.
    pub(super) fn end_lane(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        if matches!((&self.server.state, side), (State::Held(_), Side::Server)) {
            self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None);
            self.settle_later(out);
        }
        let sought = self.lane_mut(side).sought.take();
        match self.lane_mut(side).take() {
            State::Body(Body::UntilClose) if side == Side::Client => {
                self.request_over(time, out);
                self.client.state = State::Closed;
            }
            State::Body(Body::UntilClose) => {
                self.response_over(time, out);
                self.server.state = State::Closed;
            }
            State::Head(lines) if !lines.is_empty() => {
                let due = self.queue.front_mut().filter(|first| !first.response.over);
                if let (Side::Server, None, Some(due)) = (side, &sought, due) {
                    due.response.counts.head_bytes += lines.taken();
                }
                let dropped = lines.taken() + sought.map_or(0, |seek| seek.dropped());
                out.push(Event::Resync {
                    side,
                    reason: "head cut by the end of the stream",
                    dropped,
                });
            }
            State::Seek(seek) => Self::report_search(&seek, side, out),
            // What the client said is handed over if the server agrees to change the protocol.
            held @ State::Held(_) => self.lane_mut(side).state = held,
            State::Body(_) | State::Head(_) | State::Closed => {}
        }
    }
}
