//! What is special to the server's direction: responses.

use bytes::Bytes;

use super::{
    Answering, Parser, Upload,
    body::Body,
    collect::RawHead,
    fields::{Framing, Transfer},
    head,
    lane::{Held, State},
    pairing,
    seek::Seek,
    transaction::{Method, Transaction},
};
use crate::{Event, Outcome, ParseError, ResponseHead, Side, Time, Upgrade};

impl Parser {
    /// The next response belongs to a request that has not been delivered yet.
    pub(super) fn holds_server(&self) -> bool {
        self.pairing.is_sure() && !self.attaching && self.awaiting() == 0
    }

    /// Lets response bytes wait that come ahead of their request.
    pub(super) fn hold_if_early(&mut self, data: &mut Bytes) {
        let is_between = self.server.sought.is_none() && self.answering == Answering::None;
        let holds = is_between && self.holds_server();
        let State::Head(lines) = &mut self.server.state else {
            return;
        };
        lines.skip_blank(data);
        let is_early = lines.is_empty() && holds && !data.is_empty();
        if is_early && let State::Head(lines) = self.server.take() {
            self.server.state = State::Held(Held::new(lines));
        }
    }

    /// A response head is whole; `rest` is what follows it in the same piece.
    pub(super) fn open_response(
        &mut self,
        raw: RawHead,
        rest: &mut Bytes,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        let (total, started) = (raw.total, raw.started);
        let read = head::response(raw, self.limits.head_fields);
        let sought = self.server.sought.take();
        let was_sought = sought.is_some();
        let (head, framing) = match (read, sought) {
            (Some((head, framing)), None) => (head, framing),
            (Some((head, framing)), Some(seek)) if !head.partial => {
                Self::report_search(&seek, Side::Server, out);
                (head, framing)
            }
            // What looked like a status line was payload.
            (_, sought) => {
                let dropped = total + sought.as_ref().map_or(0, Seek::dropped);
                let reason = sought.map_or("bad status line", |seek| seek.reason);
                self.server.state = State::Seek(Seek::at_line_start(Side::Server, reason, dropped));
                return self.quality.bad();
            }
        };
        self.quality.good();
        // A single open request is certain only while no request can have been missed: a hole in its body may go beyond the body, which
        // of TLS is known with the next record only.
        let is_holed =
            |transaction: &Transaction| !transaction.request.over && transaction.request.counts.gap_bytes > 0;
        let is_certain = self.awaiting() == 1 && self.pairing.is_sure() && !self.queue.iter().any(is_holed);
        if std::mem::take(&mut self.shaky) && !is_certain {
            self.give_up_queue(time, out);
        }
        if self.awaiting() == 0 {
            let is_unexpected = was_sought && self.pairing.is_sure() && !self.attaching;
            if is_unexpected {
                self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None);
            }
            self.open_orphan(total, head.status, &framing, out);
        } else {
            self.open_answer(head, &framing, (total, started, time), rest, out);
        }
        Ok(())
    }

    /// A response that no request is known for.
    fn open_orphan(&mut self, total: u64, status: u16, framing: &Framing, out: &mut Vec<Event>) {
        out.push(Event::Orphan { bytes: total });
        self.server.state = match (status, response_body(Method::Other, status, framing)) {
            (101, _) => State::Seek(Seek::after_cut(
                Side::Server,
                "protocol changed by unknown request",
                0,
            )),
            (100..=199, _) => State::Head(self.collector(Side::Server)),
            // Perhaps without a body, the answer to HEAD: not to be followed to the end of the connection.
            (_, Body::UntilClose) => {
                State::Seek(Seek::after_cut(Side::Server, "response of unknown length", 0))
            }
            (_, body) => {
                self.answering = Answering::Orphan { touched: false };
                State::Body(body)
            }
        };
    }

    /// A response to the first request of the queue.
    fn open_answer(
        &mut self,
        head: ResponseHead,
        framing: &Framing,
        (total, started, time): (u64, Time, Time),
        rest: &mut Bytes,
        out: &mut Vec<Event>,
    ) {
        let lines = self.collector(Side::Server);
        let Some(first) = self.queue.front_mut() else {
            return;
        };
        let (key, status) = (first.key, head.status);
        first.response.counts.head_bytes += total;
        first.last = time;
        if (100..=199).contains(&status) && status != 101 {
            self.server.state = State::Head(lines);
            if !first.ended {
                out.push(Event::Interim { key, status, time });
            }
            return;
        }
        let is_tunnel = first.method == Method::Connect && (200..=299).contains(&status);
        let body = response_body(first.method, status, framing);
        first.streaming |= framing.streaming;
        if first.ended {
            out.push(Event::Orphan { bytes: total });
        } else {
            out.push(Event::ResponseHead {
                key,
                head: Box::new(head),
                started,
                time,
            });
        }
        if is_tunnel {
            self.upgrade(Upgrade::Tunnel, rest, time, out);
        } else if status == 101 {
            let token = framing
                .upgrade
                .clone()
                .or_else(|| first.upgrade.clone())
                .unwrap_or_default();
            self.upgrade(upgrade_of(token), rest, time, out);
        } else {
            self.answering = Answering::First;
            self.server.state = State::Body(body);
        }
    }

    /// The response under way ended.
    pub(super) fn response_over(&mut self, time: Time, out: &mut Vec<Event>) {
        if matches!(self.answering, Answering::Orphan { .. }) {
            self.orphan_over();
            return;
        }
        self.server.state = State::Head(self.collector(Side::Server));
        self.answering = Answering::None;
        if self.queue.len() > 1 && self.pairing.is_sure() {
            self.pairing.note_pipelining();
        }
        if let Some(first) = self.queue.front_mut() {
            first.response.over = true;
            first.last = first.last.max(time);
            if !first.ended {
                out.push(Event::HalfEnd {
                    key: first.key,
                    side: Side::Server,
                    time,
                });
            }
        }
        self.finish_front(time, out);
    }

    /// A response without known request ended.
    pub(super) fn orphan_over(&mut self) {
        self.server.state = State::Head(self.collector(Side::Server));
        self.answering = Answering::None;
        self.attached_clean = true;
        self.pairing.on_orphan_end();
    }

    /// The first request of the queue turned the connection into something else.
    fn upgrade(&mut self, to: Upgrade, rest: &mut Bytes, time: Time, out: &mut Vec<Event>) {
        let client = match self.client.take() {
            State::Held(held) => held.join(),
            State::Head(lines) => lines.into_kept(),
            State::Seek(seek) => {
                Self::report_search(&seek, Side::Client, out);
                Bytes::new()
            }
            State::Body(_) | State::Closed => Bytes::new(),
        };
        self.server.state = State::Closed;
        self.upgraded = true;
        let Some(mut first) = self.queue.pop_front() else {
            return;
        };
        if !first.ended {
            out.push(Event::HalfEnd {
                key: first.key,
                side: Side::Server,
                time,
            });
        }
        first.end(Outcome::Upgraded, time, out);
        if self.queue.is_empty() && matches!(self.upload, Upload::Last) {
            self.upload = Upload::None;
        }
        self.abandon_queue(time, out);
        self.upload_done(time, out);
        out.push(Event::Upgraded {
            key: first.key,
            to,
            client,
            server: std::mem::take(rest),
            time,
        });
    }
}

fn upgrade_of(token: String) -> Upgrade {
    match token.as_str() {
        "websocket" => Upgrade::WebSocket,
        "h2c" => Upgrade::H2c,
        _ => Upgrade::Other(token),
    }
}

/// How a response body is framed (RFC 9112 §6.3, P-H1).
fn response_body(method: Method, status: u16, framing: &Framing) -> Body {
    let is_without = method == Method::Head || matches!(status, 100..=199 | 204 | 304);
    match (framing.transfer, framing.length) {
        _ if is_without => Body::Length(0),
        (Some(Transfer::Chunked), _) => Body::chunked(),
        (Some(Transfer::UntilClose), _) => Body::UntilClose,
        (None, Some(length)) => Body::Length(length),
        (None, None) => Body::UntilClose,
    }
}
