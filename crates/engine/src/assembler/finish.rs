//! The end of a transaction.

use std::time::Duration;

use qtap_capture::KernelTime;
use qtap_protocol::{Counts, Outcome, StreamKey, Time};

use super::upgrade::{is_tunnel, upgrade_of};
use super::{Assembler, Open};
use crate::context::Context;
use crate::{ConnectionFacts, Interest, Transaction, calls};

impl Assembler {
    pub(super) fn finish(
        &mut self,
        key: StreamKey,
        open: Box<Open>,
        outcome: Outcome,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        let mut open = *open;
        let messages = self.streams.end(&mut open, time, &mut self.tally, cx);
        let is_websocket = matches!(messages, Some(crate::Messages::WebSocket(_)));
        // A stream of HTTP/2 that became a WebSocket ends with that, as a connection does (P-W2).
        let outcome = match outcome {
            Outcome::Complete | Outcome::Canceled if is_websocket => Outcome::Upgraded,
            outcome => outcome,
        };
        let outcome = match outcome {
            // So does a tunnel on a stream (P-C1).
            Outcome::Complete | Outcome::Canceled if is_tunnel(&open) => Outcome::Upgraded,
            outcome => outcome,
        };
        if outcome == Outcome::Upgraded || is_websocket {
            open.upgraded_to = upgrade_of(&open);
        }
        let outcome = match outcome {
            Outcome::Canceled if self.end_lost => Outcome::Incomplete,
            outcome => outcome,
        };
        let request_coding = open.request.field("content-encoding");
        let response_coding = open
            .response
            .as_ref()
            .and_then(|head| head.field("content-encoding"));
        let [request_body, response_body] = open.bodies;
        let request_body = request_body.finish(request_coding, cx.budget);
        let response_body = response_body.finish(response_coding, cx.budget);
        let wanted = matches!(open.interest, Interest::Body(_));
        let [mut request_half, mut response_half] = open.halves;
        request_half.body = request_body;
        response_half.body = response_body;
        let call = open.call;
        let halves = [&mut request_half, &mut response_half];
        let grpc = call.and_then(|call| calls::finish(call, outcome, halves, facts));
        if !wanted {
            // Nobody asked for the bodies: that they were not kept is no truncation.
            request_half.body.truncated = false;
            response_half.body.truncated = false;
        }
        let mut shed_bodies = 0;
        if open.shed {
            for body in [&mut request_half.body, &mut response_half.body] {
                body.truncated = body.total > 0;
                shed_bodies += u64::from(body.truncated);
                cx.stats.lost_shed.add(body.total - body.gap_bytes);
            }
        }
        let started = request_half.first_byte.unwrap_or(time);
        let finished = cx.clock.at(KernelTime(time.0));
        let transaction = Transaction {
            id: open.id,
            protocol: self.protocol,
            stream: self.place.key(key).0,
            // Not asked of the clock twice: it may be set in between.
            started: finished - Duration::from_nanos(time.0.saturating_sub(started.0)),
            finished,
            request: open.request,
            response: open.response,
            request_half,
            response_half,
            interim: open.interim,
            outcome,
            upgraded_to: open.upgraded_to,
            grpc,
            partial: false,
            messages,
        };
        self.count(&transaction, shed_bodies);
        cx.stats.protocols.of(self.protocol).transactions.add(1);
        if open.interest == Interest::None {
            self.tally.refused_by_plugins += 1;
        } else {
            cx.stats.transactions.add(1);
            cx.consumer.transaction(facts, &transaction);
        }
    }

    fn count(&mut self, transaction: &Transaction, shed_bodies: u64) {
        self.tally.finished += 1;
        self.tally.gap_bytes += transaction.gap_bytes();
        let bodies = [&transaction.request_half.body, &transaction.response_half.body];
        let truncated = bodies.iter().filter(|body| body.truncated).count() as u64;
        self.tally.truncated_bodies += truncated - shed_bodies;
        self.tally.shed_bodies += shed_bodies;
        match transaction.outcome {
            Outcome::Incomplete | Outcome::Timeout => self.tally.incomplete += 1,
            Outcome::Canceled => self.tally.canceled += 1,
            _ if transaction.gap_bytes() > 0 => self.tally.incomplete += 1,
            _ => {}
        }
    }
}

/// Counts in which bytes that were passed over on request are no gap.
pub(super) fn without_skipped(counts: Counts, skipped: u64) -> Counts {
    Counts {
        gap_bytes: counts.gap_bytes.saturating_sub(skipped),
        ..counts
    }
}
