//! Transactions that go on after their response head: WebSockets and event streams. Their messages are read while they pass, and
//! reported while they last.

mod events;
mod websocket;

use std::time::Duration;

use bytes::Bytes;
use qtap_capture::KernelTime;
use qtap_protocol::{RequestHead, ResponseHead, Side, Time, Version, sse, websocket as ws};

pub use events::EventStream;
pub use websocket::WebSocket;

use crate::context::Context;

/// First report of one that lasts.
const FIRST_REPORT: Duration = Duration::from_secs(10);
/// Further ones, while something moves.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Least between two when what is kept reaches its limit.
const LEAST_INTERVAL: Duration = Duration::from_secs(10);
/// Messages or events kept between two reports.
const KEPT_MESSAGES: usize = 1000;

/// What the messages of a transaction came to.
#[derive(Clone, Debug)]
pub enum Messages {
    /// A WebSocket.
    WebSocket(Box<WebSocket>),
    /// Server-sent events.
    Events(Box<EventStream>),
}

impl Messages {
    /// Times that a message had to be searched, because of a loss or a fault.
    pub(crate) fn searches(&self) -> u64 {
        match self {
            Self::WebSocket(socket) => socket.traffic.iter().map(|traffic| traffic.searches).sum(),
            Self::Events(_) => 0,
        }
    }
}

/// Messages kept until the next report, bounded.
#[derive(Debug)]
struct Kept<T> {
    limit: usize,
    bytes: usize,
    messages: Vec<T>,
    dropped: u64,
}

impl<T> Kept<T> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            messages: Vec::new(),
            dropped: 0,
        }
    }

    /// Keeps a message with `payload` bytes, or counts it.
    fn push(&mut self, message: T, payload: usize, cx: &Context<'_>) {
        if self.limit == 0 {
            return;
        }
        let fits = self.messages.len() < KEPT_MESSAGES && self.bytes + payload <= self.limit;
        let cost = payload + size_of::<T>();
        if !fits {
            self.dropped += 1;
        } else if cx.budget.take(cost) {
            self.bytes += payload;
            self.messages.push(message);
        } else {
            self.dropped += 1;
            cx.stats.lost_memory.add(payload as u64);
        }
    }

    fn is_full(&self) -> bool {
        self.dropped > 0
            || self.messages.len() >= KEPT_MESSAGES
            || (self.limit > 0 && self.bytes >= self.limit)
    }

    /// Hands out what is kept, and how many were not.
    fn take(&mut self, cx: &Context<'_>) -> (Vec<T>, u64) {
        cx.budget.give(self.cost());
        self.bytes = 0;
        (
            std::mem::take(&mut self.messages),
            std::mem::take(&mut self.dropped),
        )
    }

    fn cost(&self) -> usize {
        self.bytes + self.messages.len() * size_of::<T>()
    }
}

#[derive(Debug)]
enum Reader {
    WebSocket(Box<websocket::Live>),
    Events(Box<events::Live>),
}

/// One that is under way.
#[derive(Debug)]
pub(crate) struct Live {
    reader: Reader,
    stirred: bool,
    last_report: KernelTime,
    next_report: KernelTime,
}

fn after(time: KernelTime, wait: Duration) -> KernelTime {
    KernelTime(time.0.saturating_add(wait.as_nanos() as u64))
}

impl Live {
    /// Reads on after `response` if what follows are messages. Keeps up to `limit` bytes of them at a time.
    pub(crate) fn begin(
        request: &RequestHead,
        response: &ResponseHead,
        limit: usize,
        now: KernelTime,
    ) -> Option<Self> {
        let reader = if ws::is_agreed(request, response) {
            Reader::WebSocket(Box::new(websocket::Live::new(response, limit)))
        } else if response.field("content-type").is_some_and(sse::is_event_stream) {
            Reader::Events(Box::new(events::Live::new(response, limit)))
        } else {
            return None;
        };
        Some(Self::new(reader, now))
    }

    /// Reads a WebSocket that is older than the capture, if that is what `request` stands for.
    pub(crate) fn join(request: &RequestHead, limit: usize, now: KernelTime) -> Option<Self> {
        let is_joined = request.version == Version::Http11 && request.protocol.is_some();
        is_joined.then(|| Self::new(Reader::WebSocket(Box::new(websocket::Live::joined(limit))), now))
    }

    fn new(reader: Reader, now: KernelTime) -> Self {
        Self {
            reader,
            stirred: true,
            last_report: now,
            next_report: after(now, FIRST_REPORT),
        }
    }

    pub(crate) const fn is_websocket(&self) -> bool {
        matches!(self.reader, Reader::WebSocket(_))
    }

    /// Bytes held besides the messages that are kept, which count to the budget already.
    pub(crate) fn held(&self) -> usize {
        match &self.reader {
            Reader::WebSocket(live) => live.held(),
            Reader::Events(live) => live.held(),
        }
    }

    /// Bytes of a half.
    pub(crate) fn bytes(&mut self, side: Side, data: &Bytes, time: Time, cx: &Context<'_>) {
        match &mut self.reader {
            Reader::WebSocket(live) => live.bytes(side, data, time, cx),
            Reader::Events(live) if side == Side::Server => live.bytes(data, time, cx),
            Reader::Events(_) => return,
        }
        self.stir(cx.now);
    }

    /// Missing bytes, or such as were passed over on request.
    pub(crate) fn gap(&mut self, side: Side, length: u64, skipped: bool, time: Time, cx: &Context<'_>) {
        match &mut self.reader {
            Reader::WebSocket(live) => live.gap(side, length, skipped, time, cx),
            Reader::Events(live) if side == Side::Server => live.gap(),
            Reader::Events(_) => return,
        }
        self.stir(cx.now);
    }

    /// Bytes that certainly follow and that nobody wants.
    pub(crate) fn certain(&self, side: Side) -> u64 {
        match &self.reader {
            Reader::WebSocket(live) => live.certain(side),
            Reader::Events(_) => 0,
        }
    }

    fn is_full(&self) -> bool {
        match &self.reader {
            Reader::WebSocket(live) => live.kept.is_full(),
            Reader::Events(live) => live.kept.is_full(),
        }
    }

    fn stir(&mut self, now: KernelTime) {
        if !std::mem::replace(&mut self.stirred, true) {
            self.next_report = after(self.last_report, REPORT_INTERVAL).max(now);
        }
        if self.is_full() {
            let soon = after(self.last_report, LEAST_INTERVAL).max(now);
            self.next_report = self.next_report.min(soon);
        }
    }

    /// When it wants to report; never while nothing moves.
    pub(crate) const fn due(&self) -> KernelTime {
        self.next_report
    }

    /// Its state for a report at `now`, if anything moved since the last one.
    pub(crate) fn report(&mut self, cx: &Context<'_>) -> Option<Messages> {
        self.last_report = cx.now;
        if !std::mem::replace(&mut self.stirred, false) {
            self.next_report = KernelTime(u64::MAX);
            return None;
        }
        self.next_report = after(cx.now, REPORT_INTERVAL);
        Some(match &mut self.reader {
            Reader::WebSocket(live) => Messages::WebSocket(Box::new(live.state(cx))),
            Reader::Events(live) => Messages::Events(Box::new(live.state(cx))),
        })
    }

    /// It is over.
    pub(crate) fn end(self, time: Time, cx: &Context<'_>) -> Messages {
        match self.reader {
            Reader::WebSocket(live) => Messages::WebSocket(Box::new(live.end(time, cx))),
            Reader::Events(live) => Messages::Events(Box::new(live.end(cx))),
        }
    }

    /// Memory is short.
    pub(crate) fn relieve(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Reader::WebSocket(live) => live.relieve(cx),
            Reader::Events(live) => live.relieve(cx),
        }
    }
}
