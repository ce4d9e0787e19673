//! WebSockets.

use bytes::Bytes;
use qtap_protocol::websocket::{Agreement, Closing, Kind, Message, Session, Traffic};
use qtap_protocol::{ResponseHead, Side, Time};

use super::Kept;
use crate::context::Context;

/// A WebSocket so far: counts from its beginning, messages since the report before.
#[derive(Clone, Debug, Default)]
pub struct WebSocket {
    /// Subprotocol and extensions.
    pub agreement: Agreement,
    /// What the client and the server sent.
    pub traffic: [Traffic; 2],
    /// Their close frames.
    pub closing: [Option<Closing>; 2],
    /// Messages in order of their ends; kept only if bodies are wanted.
    pub messages: Vec<Message>,
    /// Messages since the report before that were not kept, because of a limit.
    pub dropped: u64,
}

#[derive(Debug)]
pub(super) struct Live {
    session: Session,
    pub(super) kept: Kept<Message>,
    fresh: Vec<Message>,
}

impl Live {
    pub(super) fn new(response: &ResponseHead, limit: usize) -> Self {
        Self {
            session: Session::new(Agreement::read(response), limit),
            kept: Kept::new(limit),
            fresh: Vec::new(),
        }
    }

    /// One that is older than the capture.
    pub(super) fn joined(limit: usize) -> Self {
        Self {
            session: Session::joined(limit),
            kept: Kept::new(limit),
            fresh: Vec::new(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.session.held()
    }

    pub(super) fn certain(&self, side: Side) -> u64 {
        self.session.certain(side)
    }

    pub(super) fn bytes(&mut self, side: Side, data: &Bytes, time: Time, cx: &Context<'_>) {
        self.session.bytes(side, data, time, &mut self.fresh);
        self.keep(cx);
    }

    pub(super) fn gap(&mut self, side: Side, length: u64, skipped: bool, time: Time, cx: &Context<'_>) {
        if skipped {
            self.session.skip(side, length, time, &mut self.fresh);
        } else {
            self.session.gap(side, length, time, &mut self.fresh);
        }
        self.keep(cx);
    }

    fn keep(&mut self, cx: &Context<'_>) {
        for message in self.fresh.drain(..) {
            let payload = message.payload.len();
            self.kept.push(message, payload, cx);
        }
    }

    pub(super) fn state(&mut self, cx: &Context<'_>) -> WebSocket {
        let (messages, dropped) = self.kept.take(cx);
        let sides = [Side::Client, Side::Server];
        WebSocket {
            agreement: self.session.agreement().clone(),
            traffic: sides.map(|side| self.session.traffic(side).clone()),
            closing: sides.map(|side| self.session.closing(side).cloned()),
            messages,
            dropped,
        }
    }

    pub(super) fn end(mut self, time: Time, cx: &Context<'_>) -> WebSocket {
        self.session.close(time, &mut self.fresh);
        self.keep(cx);
        self.state(cx)
    }

    pub(super) fn relieve(&mut self, cx: &Context<'_>) {
        self.session.relieve();
        let (messages, dropped) = self.kept.take(cx);
        let lost = messages
            .iter()
            .filter(|message| message.kind != Kind::Close)
            .count();
        self.kept.dropped = dropped + lost as u64;
    }
}
