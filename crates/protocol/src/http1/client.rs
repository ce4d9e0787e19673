//! What is special to the client's direction: requests.

use super::{
    Answering, JOINED, Parser, Upload,
    body::Body,
    collect::RawHead,
    fields::{Framing, Transfer},
    head,
    lane::{Held, State},
    pairing,
    seek::Seek,
    transaction::{Half, Method, Transaction},
};
use crate::{Counts, Event, ParseError, Side, Time};

/// Requests without response that are remembered (`protocols.md` §15).
const PENDING_REQUESTS: usize = 4096;

impl Parser {
    /// A request head is whole.
    pub(super) fn open_request(
        &mut self,
        raw: RawHead,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        let (total, started) = (raw.total, raw.started);
        let read = head::request(raw, self.limits.head_fields);
        let sought = self.client.sought.take();
        let (head, framing) = match (read, sought) {
            (Some((head, framing)), None) => (head, framing),
            (Some((head, framing)), Some(seek)) if !head.partial => {
                self.request_found(&seek, out);
                (head, framing)
            }
            // What looked like a request line was payload.
            (_, sought) => {
                let dropped = total + sought.as_ref().map_or(0, Seek::dropped);
                let reason = sought.map_or("bad request line", |seek| seek.reason);
                self.client.state = State::Seek(Seek::at_line_start(Side::Client, reason, dropped));
                return self.quality.bad();
            }
        };
        self.quality.good();
        let is_paired = self.admit(time, out);
        self.attaching = false;
        let key = self.new_key();
        let counts = Counts {
            head_bytes: total,
            ..Counts::default()
        };
        let transaction = Transaction {
            key,
            method: Method::of(&head.method),
            upgrade: framing.upgrade.clone(),
            request: Half {
                counts,
                ..Half::default()
            },
            response: Half::default(),
            last: time,
            streaming: false,
            holds: true,
            ended: false,
        };
        out.push(Event::RequestHead {
            key,
            head: Box::new(head),
            started,
            time,
        });
        if is_paired {
            if self.queue.capacity() == 0 {
                // Room for one is all that most clients ever need.
                self.queue.reserve_exact(1);
            }
            self.queue.push_back(transaction);
            self.upload = Upload::Last;
        } else {
            self.upload = Upload::Loose(Box::new(transaction));
        }
        self.client.state = State::Body(request_body(&framing));
        Ok(())
    }

    /// A search ended with a request.
    fn request_found(&mut self, seek: &Seek, out: &mut Vec<Event>) {
        Self::report_search(seek, Side::Client, out);
        if seek.reason == JOINED && seek.dropped() > 0 && !self.attached_clean {
            // The rest of an older request was seen, but not its response.
            self.pairing.lose(pairing::ROUNDS_AFTER_BAD, None);
        }
    }

    /// Whether the response of the request that begins now can be told.
    fn admit(&mut self, time: Time, out: &mut Vec<Event>) -> bool {
        let awaiting = self.awaiting();
        if self.shaky && awaiting == 1 && self.pairing.is_sure() && !self.overlapped {
            // A client that waits, as far as was seen, has got the response that is missing here.
            self.end_due(time, out);
            self.shaky = false;
        } else if self.shaky {
            self.give_up_queue(time, out);
        } else {
            self.overlapped |= awaiting > 0;
        }
        let idle = self.server_waits() && self.awaiting() == 0;
        if !self.pairing.on_request(idle) {
            return false;
        }
        if self.queue.len() < PENDING_REQUESTS {
            return true;
        }
        self.abandon_queue(time, out);
        self.pairing.lose(pairing::ROUNDS_AFTER_GAP, None);
        out.push(Event::Resync {
            side: Side::Server,
            reason: "too many requests without response",
            dropped: 0,
        });
        self.pairing.on_request(false)
    }

    /// Whether the server has nothing under way, as far as is known. A request that comes in the middle of
    /// an orphan response tells that its length was misread: an answer to HEAD, if nothing of its body came.
    fn server_waits(&mut self) -> bool {
        match (&self.server.state, self.answering) {
            (State::Body(_), Answering::Orphan { touched: false }) => {
                self.orphan_over();
                true
            }
            (State::Body(_), Answering::Orphan { touched: true }) if !self.pairing.is_sure() => {
                self.answering = Answering::None;
                self.server.state = State::Seek(Seek::after_cut(
                    Side::Server,
                    "response out of step with requests",
                    0,
                ));
                false
            }
            (State::Head(lines), Answering::None) => lines.is_empty(),
            (State::Seek(_) | State::Held(_), _) => true,
            _ => false,
        }
    }

    /// The request under way ended.
    pub(super) fn request_over(&mut self, time: Time, out: &mut Vec<Event>) {
        if let Some(transaction) = self.current(Side::Client) {
            transaction.request.over = true;
            transaction.last = transaction.last.max(time);
            if !transaction.ended {
                out.push(Event::HalfEnd {
                    key: transaction.key,
                    side: Side::Client,
                    time,
                });
            }
        }
        self.upload_done(time, out);
        let lines = self.collector(Side::Client);
        let may_switch = self.undecided_switch().is_some();
        self.client.state = if may_switch {
            State::Held(Held::new(lines))
        } else {
            State::Head(lines)
        };
    }

    /// Nothing more of the request under way will come.
    pub(super) fn upload_done(&mut self, time: Time, out: &mut Vec<Event>) {
        match std::mem::replace(&mut self.upload, Upload::None) {
            Upload::Loose(mut transaction) => transaction.end(crate::Outcome::Incomplete, time, out),
            Upload::Last => self.finish_front(time, out),
            Upload::None => {}
        }
    }

    /// The last request, if the answer to it will tell whether the client still speaks HTTP.
    fn undecided_switch(&mut self) -> Option<&mut Transaction> {
        let is_being_answered = self.answering == Answering::First && self.queue.len() == 1;
        self.queue.back_mut().filter(|last| {
            let is_undecided = !last.response.over && !is_being_answered;
            last.may_switch() && last.holds && last.request.over && is_undecided
        })
    }

    /// Whether what the client sends must still wait.
    pub(super) fn holds_client(&mut self) -> bool {
        self.undecided_switch().is_some()
    }
}

/// How a request body is framed: any transfer coding first, then the length (RFC 9112 §6.3).
fn request_body(framing: &Framing) -> Body {
    match (framing.transfer, framing.length) {
        (Some(Transfer::Chunked), _) => Body::chunked(),
        (Some(Transfer::UntilClose), _) => Body::UntilClose,
        (None, Some(length)) => Body::Length(length),
        (None, None) => Body::Length(0),
    }
}
