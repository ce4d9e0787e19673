//! The broker's half: replies become the results of commands.

use super::draft::Draft;
use super::lane::{Extent, Frame, Taken};
use super::pending::{Kind, Pending};
use super::sasl::Exchange;
use super::schema::{self, API_VERSIONS, Api, SASL_HANDSHAKE};
use super::sink::Start;
use super::{Parser, Reply, correlation_of, report};
use crate::{Event, Outcome, ParseError, Side, Time};

impl Parser {
    pub(super) fn feed_server(
        &mut self,
        mut data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !data.is_empty() {
            let frame = if self.queue.awaits_token() {
                Frame::Raw
            } else {
                Frame::Kafka
            };
            let queue = &self.queue;
            let is_likely = |head: &[u8]| correlation_of(head).is_some_and(|id| queue.is_near(id));
            let taken = self
                .server
                .take(&mut data, time, frame, is_likely, &mut self.told);
            self.server_took(taken, time, out)?;
        }
        Ok(())
    }

    pub(super) fn server_took(
        &mut self,
        taken: Taken,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        match taken {
            Taken::Some => Ok(()),
            Taken::Head => {
                let taken = self.begin_reply(time);
                self.server_took(taken, time, out)
            }
            Taken::Whole(extent) => {
                self.told_of(extent, out);
                Ok(())
            }
            Taken::Bad(reason) => self.misread(Side::Server, reason, time, out),
        }
    }

    /// The header of a reply is there.
    fn begin_reply(&mut self, time: Time) -> Taken {
        self.told.clear();
        if self.queue.awaits_token() {
            self.reply = Reply::Token;
            return self.server.enter(None, time, &mut self.told);
        }
        let (_, rest) = self.server.header();
        let correlation = rest.first_chunk().copied().map_or(0, i32::from_be_bytes);
        let asked = self
            .queue
            .find(correlation)
            .and_then(|place| self.queue.get(place));
        let Some(Kind::Reply { key, version }) = asked.map(|pending| pending.kind) else {
            self.reply = Reply::Orphan;
            return self.server.enter(None, time, &mut self.told);
        };
        self.reply = Reply::To(correlation);
        let start = schema::api(key)
            .filter(|api| api.describes(version))
            .map(|api| Start {
                fields: api.response,
                version,
                flexible: api.is_flexible(version),
                is_open: false,
                falls_back: api.key == API_VERSIONS,
                has_client: false,
                // A client reads this one before it knows what the broker understands.
                has_header_tags: api.is_flexible(version) && api.key != API_VERSIONS,
            });
        if start.is_none() {
            if self.server.is_trying() {
                return Taken::Bad("a reply of which only the number can be read");
            }
            self.server.is_unread = true;
        }
        self.server.enter(start.as_ref(), time, &mut self.told)
    }

    /// A whole reply, or as much of it as was captured.
    fn told_of(&mut self, extent: Extent, out: &mut Vec<Event>) {
        let is_unread = std::mem::take(&mut self.server.is_unread);
        let is_broken = !is_unread && matches!(self.reply, Reply::To(_)) && self.server.walker.is_broken();
        let place = self.place();
        self.reply = Reply::Orphan;
        let pending = place.and_then(|place| self.queue.take(place, extent.ended, out));
        let Some(mut pending) = pending else {
            out.push(Event::Orphan {
                bytes: extent.counts().total(),
            });
            return;
        };
        pending.answered(&extent);
        let Kind::Reply { key, .. } = pending.kind else {
            let told = Draft::of_kind("OK");
            self.queue
                .end(&mut pending, Some(told), Outcome::Complete, extent.ended, out);
            return;
        };
        if is_broken {
            self.queue
                .end(&mut pending, None, Outcome::Incomplete, extent.ended, out);
            self.told.clear();
            return;
        }
        let api = schema::api(key).filter(|_| !is_unread);
        let told = match api {
            Some(api) => {
                self.server.found(out);
                self.quality.good();
                self.read(api, &mut pending, &extent)
            }
            None => report::unread(),
        };
        self.queue
            .end(&mut pending, Some(told), Outcome::Complete, extent.ended, out);
        self.told.clear();
    }

    /// Where the request waits whose reply is under way.
    fn place(&self) -> Option<usize> {
        match self.reply {
            Reply::Token => Some(0),
            Reply::To(correlation) => self.queue.find(correlation),
            Reply::Orphan => None,
        }
    }

    /// The result of a reply that was read.
    fn read(&mut self, api: &Api, pending: &mut Pending, extent: &Extent) -> Draft {
        self.told.finish();
        self.told.truncated |= extent.has_gap();
        self.session.tell(api, pending, &self.told);
        if let (SASL_HANDSHAKE, Kind::Reply { version: 0, .. }, 0) =
            (api.key, pending.kind, self.told.whole.error)
        {
            self.exchange = pending.mechanism.take().map(Exchange::new);
        }
        let waited_ns = pending.waited_ns(extent);
        let sent = std::mem::take(&mut pending.sent);
        let mut told = report::result(api, sent, &mut self.told, &self.topics.names());
        told.result.waited_ns = waited_ns;
        told
    }

    /// Ends the request whose reply is under way and will not come whole.
    pub(super) fn give_up_reply(&mut self, time: Time, out: &mut Vec<Event>) {
        if let Some(mut pending) = self.place().and_then(|place| self.queue.take(place, time, out)) {
            let extent = self.server.cut(time);
            pending.answered(&extent);
            self.queue.end(&mut pending, None, Outcome::Incomplete, time, out);
        }
    }
}
