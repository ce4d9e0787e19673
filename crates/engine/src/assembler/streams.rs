//! Transactions that go on after their response head, among those under way.

use std::time::Duration;

use qtap_capture::KernelTime;
use qtap_protocol::{Counts, Outcome, Side, StreamKey, Time};

use super::{Assembler, Open, TransactionTally, upgrade_of};
use crate::context::Context;
use crate::streaming::Live;
use crate::{ConnectionFacts, Messages, Transaction};

/// Those of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    count: usize,
    /// Bytes that their readers hold.
    held: usize,
    /// When the first of them wants to report.
    due: KernelTime,
}

impl Streams {
    pub(super) const NONE: Self = Self {
        count: 0,
        held: 0,
        due: KernelTime(u64::MAX),
    };

    /// `open` goes on, if it does.
    pub(super) fn begin(&mut self, open: &Open) {
        if let Some(live) = &open.live {
            self.count += 1;
            self.held += live.held();
            self.due = self.due.min(live.due());
        }
    }

    /// Hands bytes or a hole to the messages of `open`. Tells whether they are part of a body as well.
    pub(super) fn read(
        &mut self,
        open: &mut Open,
        cx: &Context<'_>,
        read: impl FnOnce(&mut Live, &Context<'_>),
    ) -> bool {
        let Some(live) = &mut open.live else { return true };
        let before = live.held();
        read(live, cx);
        self.held = (self.held + live.held()).saturating_sub(before);
        self.due = self.due.min(live.due());
        !live.is_websocket()
    }

    /// `open` ended.
    pub(super) fn end(
        &mut self,
        open: &mut Open,
        time: Time,
        tally: &mut TransactionTally,
        cx: &Context<'_>,
    ) -> Option<Messages> {
        let live = open.live.take()?;
        self.count -= 1;
        self.held = self.held.saturating_sub(live.held());
        let messages = live.end(time, cx);
        tally.resyncs += messages.searches();
        Some(messages)
    }
}

impl Assembler {
    /// Whether something is under way besides what may rest for long.
    pub(crate) fn has_pending(&self) -> bool {
        self.open_count() > self.streams.count
    }

    /// Bytes that the readers of messages hold.
    pub(crate) const fn streams_held(&self) -> usize {
        self.streams.held
    }

    /// When a transaction wants to report that goes on for long.
    pub(crate) const fn streams_due(&self) -> KernelTime {
        self.streams.due
    }

    /// Whether `key` is a WebSocket under way.
    pub(crate) fn is_websocket(&self, key: StreamKey) -> bool {
        let live = self.open.get(&key).and_then(|open| open.live.as_ref());
        live.is_some_and(|live| live.is_websocket())
    }

    /// Bytes of `side` that certainly are payload of a WebSocket to which the connection was handed over.
    pub(crate) fn certain(&self, side: Side) -> u64 {
        if self.streams.count == 0 {
            return 0;
        }
        let mut carried = self.open.values().filter(|open| open.carried.is_some());
        let live = carried.next().and_then(|open| open.live.as_ref());
        live.map_or(0, |live| live.certain(side))
    }

    /// Gives up what the messages of transactions hold.
    pub(crate) fn relieve_streams(&mut self, cx: &Context<'_>) {
        if self.streams.count == 0 {
            return;
        }
        let lives = self.open.values_mut().filter_map(|open| open.live.as_mut());
        let held = lives.map(|live| {
            live.relieve(cx);
            live.held()
        });
        self.streams.held = held.sum();
    }

    /// Tells the state of those that are due; `counts` are the bytes of a transaction so far, as its parser knows them.
    pub(crate) fn report_streams(
        &mut self,
        counts: impl Fn(StreamKey) -> Option<[Counts; 2]>,
        facts: &ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        let (protocol, place) = (self.protocol, self.place);
        self.streams.due = KernelTime(u64::MAX);
        for (key, open) in &mut self.open {
            let Some(live) = &mut open.live else { continue };
            let messages = if live.due() <= cx.now {
                live.report(cx)
            } else {
                None
            };
            self.streams.due = self.streams.due.min(live.due());
            let Some(messages) = messages else { continue };
            let is_websocket = matches!(messages, Messages::WebSocket(_));
            let mut halves = open.halves.clone();
            let carried = open.carried.unwrap_or_default();
            let passed = counts(*key).unwrap_or_default();
            for (((half, body), carried), passed) in
                halves.iter_mut().zip(&open.bodies).zip(carried).zip(passed)
            {
                half.counts = sum(carried, passed);
                half.body = body.so_far();
            }
            let [request_half, response_half] = halves;
            let finished = cx.clock.at(cx.now);
            let started = request_half.first_byte.map_or(cx.now.0, |first| first.0);
            let transaction = Transaction {
                id: open.id.clone(),
                protocol,
                stream: place.key(*key).0,
                started: finished - Duration::from_nanos(cx.now.0.saturating_sub(started)),
                finished,
                request: open.request.clone(),
                response: open.response.clone(),
                request_half,
                response_half,
                interim: open.interim.clone(),
                outcome: if is_websocket {
                    Outcome::Upgraded
                } else {
                    Outcome::Complete
                },
                upgraded_to: is_websocket.then(|| upgrade_of(open)).flatten(),
                grpc: None,
                partial: true,
                messages: Some(messages),
            };
            cx.consumer.progress(facts, &transaction);
        }
    }
}

pub(super) fn sum(one: Counts, other: Counts) -> Counts {
    Counts {
        head_bytes: one.head_bytes + other.head_bytes,
        body_bytes: one.body_bytes + other.body_bytes,
        gap_bytes: one.gap_bytes + other.gap_bytes,
    }
}
