//! The client's half: requests become commands.

use super::lane::{Extent, Frame, Head, Taken};
use super::pending::{Kind, Pending};
use super::report::{self, Request, Sent};
use super::sasl::Exchange;
use super::schema::{self, PRODUCE};
use super::{NAME, Parser};
use crate::{Event, Outcome, ParseError, Side, Time};

/// Correlation ids that a client may have passed over in bytes that were lost.
const CORRELATIONS: i32 = 1 << 16;

impl Parser {
    pub(super) fn feed_client(
        &mut self,
        mut data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !data.is_empty() {
            let frame = match &self.exchange {
                Some(exchange) if exchange.is_certain() => Frame::Raw,
                Some(exchange) if exchange.is_possible() => Frame::Either,
                _ => Frame::Kafka,
            };
            let (correlation, name) = (self.correlation, self.name.as_deref());
            let is_likely = |head: &[u8]| is_request(head, correlation, name);
            let taken = self
                .client
                .take(&mut data, time, frame, is_likely, &mut self.asked);
            self.client_took(taken, time, out)?;
        }
        Ok(())
    }

    pub(super) fn client_took(
        &mut self,
        taken: Taken,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        match taken {
            Taken::Some => Ok(()),
            Taken::Head => {
                let taken = self.begin_request(time);
                self.client_took(taken, time, out)
            }
            Taken::Whole(extent) => {
                self.asked_for(extent, out);
                Ok(())
            }
            Taken::Bad(reason) => self.misread(Side::Client, reason, time, out),
        }
    }

    /// The header of a request, or the length of a token, is there.
    fn begin_request(&mut self, time: Time) -> Taken {
        let (_, rest) = self.client.header();
        let head = Head::read(rest);
        let is_token = self.exchange.as_ref().is_some_and(|exchange| {
            let is_request = |head: Head| head.is_known() && is_next(head.correlation, self.correlation);
            exchange.is_possible() && (exchange.is_certain() || !head.is_some_and(is_request))
        });
        self.asked.clear();
        if is_token {
            self.head = None;
            return self.client.enter(None, time, &mut self.asked);
        }
        self.exchange = None;
        match head.filter(Head::is_possible) {
            Some(head) => {
                self.head = Some(head);
                self.client.enter(Some(&head.start()), time, &mut self.asked)
            }
            None => Taken::Bad("no header of a request"),
        }
    }

    /// A whole request, or as much of it as was captured.
    pub(super) fn asked_for(&mut self, extent: Extent, out: &mut Vec<Event>) {
        let is_unread = std::mem::take(&mut self.client.is_unread);
        let is_broken = is_unread || self.client.walker.is_broken();
        let Some(head) = self.head.take() else {
            if let Some(exchange) = &mut self.exchange {
                exchange.sent();
                self.token(extent, out);
            }
            return;
        };
        if !is_broken {
            self.client.found(out);
            self.quality.good();
        } else if self.client.is_trying() {
            self.asked.clear();
            return;
        }
        self.correlation = Some(head.correlation);
        self.asked.finish();
        self.asked.truncated |= is_broken || extent.has_gap();
        let api = head.api();
        let name = api.map_or_else(|| format!("API {}", head.key), |api| api.name.to_owned());
        if let Some(client) = self.asked.client.take()
            && self.name.as_deref() != Some(client.as_str())
        {
            self.name = Some(client.into());
        }
        let asked = self.session.ask(&head, &mut self.asked, &self.topics);
        let request = Request::of(
            name,
            api,
            &mut self.asked,
            asked,
            self.name.clone(),
            self.limits.statement_bytes,
        );
        let kind = Kind::Reply {
            key: head.key,
            version: head.version,
        };
        let pending = Pending {
            correlation: head.correlation,
            sent: Sent::of(&mut self.asked),
            max_wait_ms: self.asked.max_wait_ms,
            mechanism: self.asked.mechanism.take(),
            is_doubtful: is_broken && head.key == PRODUCE && self.asked.acks.is_none(),
            ..Pending::new(kind)
        };
        if self.asked.acks == Some(0) {
            self.unanswered(pending, request, extent, is_broken, out);
        } else {
            self.queue.push(pending, request, extent, out);
        }
        self.asked.clear();
    }

    /// P-K2: nothing follows.
    fn unanswered(
        &mut self,
        mut pending: Pending,
        request: Request,
        extent: Extent,
        is_broken: bool,
        out: &mut Vec<Event>,
    ) {
        let outcome = if is_broken {
            Outcome::Incomplete
        } else {
            Outcome::Complete
        };
        let mut told = report::unanswered(std::mem::take(&mut pending.sent));
        told.result.truncated |= self.asked.truncated;
        self.queue
            .unanswered(pending, request, extent, (told, outcome), out);
    }

    /// A bare token of SASL (P-K6), of which nothing is kept.
    fn token(&mut self, extent: Extent, out: &mut Vec<Event>) {
        let api = schema::api(schema::SASL_AUTHENTICATE);
        self.asked.clear();
        self.asked.mechanism = self.exchange.as_ref().and_then(Exchange::mechanism);
        let name = api.map_or(NAME, |api| api.name).to_owned();
        let client = self.name.clone();
        let limit = self.limits.statement_bytes;
        let request = Request::of(name, api, &mut self.asked, Vec::new().into(), client, limit);
        self.asked.clear();
        self.queue.push(Pending::new(Kind::Token), request, extent, out);
    }
}

/// Whether this correlation id can follow the last one.
fn is_next(correlation: i32, last: Option<i32>) -> bool {
    last.is_none_or(|last| (1..=CORRELATIONS).contains(&correlation.wrapping_sub(last)))
}

/// Whether a request can begin with these 14 bytes (P-K9): one that is described, with the next correlation id, of the same client.
fn is_request(head: &[u8], last: Option<i32>, client: Option<&str>) -> bool {
    let Some((length, rest)) = head.split_first_chunk() else {
        return false;
    };
    let Some(request) = Head::read(rest) else {
        return false;
    };
    let name = rest
        .get(8..)
        .and_then(|rest| rest.first_chunk().copied())
        .map_or(-2, i16::from_be_bytes);
    let is_name = match client {
        Some(client) => usize::try_from(name).is_ok_and(|length| length == client.len()) || name == -1,
        None => (-1..=255).contains(&name),
    };
    let left = i64::from(u32::from_be_bytes(*length)) - 10;
    request.is_known() && is_next(request.correlation, last) && is_name && i64::from(name) <= left
}
