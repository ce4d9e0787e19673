//! A connection that HTTP/1 has handed over: its bytes become the body of the transaction that asked for it.

use bytes::Bytes;

use crate::{Counts, Event, Outcome, ParseError, Side, StreamKey, Time};

/// Passes the bytes of both sides on as body pieces of one transaction, until the connection ends. What they mean is read
/// by a [`super::Session`], as it is for a stream of HTTP/2.
#[derive(Debug)]
pub struct Carrier {
    key: StreamKey,
    counts: [Counts; 2],
    ended: [bool; 2],
    over: bool,
    /// The transaction is yet to begin.
    joins: bool,
}

impl Carrier {
    /// Continues the transaction `key`.
    #[must_use]
    pub fn new(key: StreamKey) -> Self {
        Self {
            key,
            counts: [Counts::default(); 2],
            ended: [false; 2],
            over: false,
            joins: false,
        }
    }

    /// Carries a connection that is older than the capture: it begins a transaction of which the heads are not known.
    #[must_use]
    pub fn joined() -> Self {
        Self {
            joins: true,
            ..Self::new(StreamKey(1))
        }
    }

    fn begin(&mut self, time: Time, out: &mut Vec<Event>) {
        if std::mem::take(&mut self.joins) {
            out.push(Event::RequestHead {
                key: self.key,
                head: Box::new(super::joined_request()),
                started: time,
                time,
            });
        }
    }

    fn count(&mut self, side: Side, bytes: u64, gap: u64) {
        if let Some(counts) = self.counts.get_mut(side.index()) {
            counts.body_bytes += bytes;
            counts.gap_bytes += gap;
        }
    }
}

impl crate::Parser for Carrier {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if !data.is_empty() && !self.over {
            self.begin(time, out);
            self.count(side, data.len() as u64, 0);
            let key = self.key;
            out.push(Event::Body {
                key,
                side,
                data,
                time,
            });
        }
        Ok(())
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length > 0 && !self.over {
            self.begin(time, out);
            self.count(side, length, length);
            let key = self.key;
            out.push(Event::BodyGap {
                key,
                side,
                length,
                time,
            });
        }
        Ok(())
    }

    fn eof(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        if self.joins {
            return;
        }
        let ended = self.ended.get_mut(side.index());
        if let Some(false) = ended.map(|ended| std::mem::replace(ended, true)) {
            let key = self.key;
            out.push(Event::HalfEnd { key, side, time });
        }
    }

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.over, true) || self.joins {
            return;
        }
        let [request, response] = self.counts;
        out.push(Event::End {
            key: self.key,
            outcome: Outcome::Upgraded,
            request,
            response,
            time,
        });
    }

    fn resync(&mut self, _side: Side, _time: Time, _out: &mut Vec<Event>) {}

    fn expire(&mut self, _before: Time, _out: &mut Vec<Event>) {}

    fn buffered(&self, _side: Side) -> usize {
        0
    }

    fn counts(&self, key: StreamKey) -> Option<[Counts; 2]> {
        (key == self.key).then_some(self.counts)
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }
}
