//! The loop that both directions share: one step after the other, and what one direction lets go in the other.

use bytes::Bytes;

use super::{Answering, Parser, body::Step, collect::Collected, lane::State, pairing, seek::Seek};
use crate::{Event, ParseError, Side, Time};

impl Parser {
    /// Reads on in one direction. What the other one waited for is let go at once, not at the end of the
    /// piece, so that splits make no difference.
    pub(super) fn drive(
        &mut self,
        side: Side,
        mut data: Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !self.upgraded && (!data.is_empty() || self.lane(side).is_due()) {
            if !self.advance(side, &mut data, time, out)? {
                break;
            }
            if !self.lane(side).is_due() {
                self.settle(out)?;
            }
        }
        if self.upgraded {
            hand_over(side, &data, out);
        }
        Ok(())
    }

    /// One step in one direction. Returns whether more can be done with `data`.
    fn advance(
        &mut self,
        side: Side,
        data: &mut Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        if side == Side::Server {
            self.hold_if_early(data);
        }
        let lane = self.lane_mut(side);
        match &mut lane.state {
            State::Closed => {
                lane.surplus += std::mem::take(data).len() as u64;
                Ok(false)
            }
            State::Held(held) => {
                held.push(std::mem::take(data), time);
                let bytes = held.bytes();
                self.bound_held(side, bytes);
                Ok(false)
            }
            State::Seek(seek) => {
                let Some(found) = seek.feed(data, time) else {
                    return Ok(false);
                };
                let state = std::mem::replace(&mut lane.state, State::Closed);
                if let State::Seek(seek) = state {
                    lane.sought = Some(seek);
                }
                let mut lines = self.collector(side);
                // A start line is no whole head, and it has just been checked: more is needed in any case.
                let _ = lines.feed(&mut found.line.clone(), found.started);
                self.lane_mut(side).state = State::Head(lines);
                Ok(true)
            }
            State::Head(lines) => match lines.feed(data, time) {
                Collected::NeedMore => Ok(false),
                Collected::BadLine => {
                    let dropped = lines.taken();
                    self.bad_line(side, dropped, time, out)?;
                    Ok(true)
                }
                Collected::Head(raw) => {
                    match side {
                        Side::Client => self.open_request(raw, time, out)?,
                        Side::Server => self.open_response(raw, data, time, out)?,
                    }
                    Ok(true)
                }
            },
            State::Body(_) => self.advance_body(side, data, time, out),
        }
    }

    fn advance_body(
        &mut self,
        side: Side,
        data: &mut Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        let (limits, before) = (self.limits, data.len());
        let State::Body(body) = &mut self.lane_mut(side).state else {
            return Ok(true);
        };
        let step = body.step(data, time, &limits);
        let taken = (before - data.len()) as u64;
        if let (Side::Server, Answering::Orphan { touched }, true) = (side, &mut self.answering, taken > 0) {
            *touched = true;
        }
        if let Some(transaction) = self.current(side) {
            let half = transaction.half_mut(side);
            half.counts.body_bytes += taken;
            if let Step::Trailers(_, bytes) = &step {
                // They were counted as framing of the body while it was not known that there are any.
                half.counts.body_bytes = half.counts.body_bytes.saturating_sub(*bytes);
                half.counts.head_bytes += bytes;
            }
            if taken > 0 {
                transaction.last = time;
            }
            let key = transaction.key;
            if !transaction.ended {
                match &step {
                    Step::Data(payload) => out.push(Event::Body {
                        key,
                        side,
                        data: payload.clone(),
                        time,
                    }),
                    Step::Trailers(fields, _) => {
                        out.push(Event::Trailers {
                            key,
                            side,
                            fields: fields.clone(),
                            partial: false,
                            time,
                        });
                    }
                    Step::NeedMore | Step::End | Step::Bad(_) => {}
                }
            }
        }
        match step {
            Step::NeedMore => Ok(false),
            Step::Data(_) | Step::Trailers(..) => Ok(true),
            Step::End => {
                match side {
                    Side::Client => self.request_over(time, out),
                    Side::Server => self.response_over(time, out),
                }
                Ok(true)
            }
            Step::Bad(reason) => {
                self.lane_mut(side).state = State::Seek(Seek::after_cut(side, reason, 0));
                self.lose_place(side, pairing::ROUNDS_AFTER_GAP, time, out);
                self.quality.bad()?;
                Ok(true)
            }
        }
    }

    /// Lets go what waits for nothing any more, until nothing changes.
    pub(super) fn settle(&mut self, out: &mut Vec<Event>) -> Result<(), ParseError> {
        loop {
            let side = if matches!(self.client.state, State::Held(_)) && !self.holds_client() {
                Side::Client
            } else if matches!(self.server.state, State::Held(_)) && !self.holds_server() {
                Side::Server
            } else {
                return Ok(());
            };
            let State::Held(held) = self.lane_mut(side).take() else {
                return Ok(());
            };
            let (resume, pieces) = held.release();
            self.lane_mut(side).state = State::Head(resume);
            for (data, time) in pieces {
                self.drive(side, data, time, out)?;
            }
        }
    }

    /// Runs what cannot return an error, keeping it for the next call that can.
    pub(super) fn settle_later(&mut self, out: &mut Vec<Event>) {
        if let Err(error) = self.settle(out) {
            self.failure = Some(error);
        }
    }
}

/// Adds bytes that came with the change of protocol to what is handed back.
fn hand_over(side: Side, data: &[u8], out: &mut [Event]) {
    if let Some(Event::Upgraded { client, server, .. }) = out.last_mut() {
        let rest = if side == Side::Client { client } else { server };
        if !data.is_empty() {
            *rest = [&rest[..], data].concat().into();
        }
    }
}
