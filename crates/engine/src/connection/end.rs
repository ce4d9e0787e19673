//! The end of a connection, and the reports on it.

use std::time::Duration;

use qtap_capture::{Closed, Direction, Layer, Loss, Verdict};
use qtap_protocol::{Side, Time};

use super::wire::{Reading, Wire};
use super::{Connection, Life, index, log, verdict};
use crate::application::NEVER;
use crate::context::Context;
use crate::host::ProcessTls;
use crate::reassembly::Reassembler;
use crate::{ConnectionReport, Health};

impl Connection {
    /// After its end: finishes as soon as every record up to the last position was seen.
    pub(super) fn finish_if_complete(&mut self, cx: &mut Context<'_>) -> Life {
        let Some((closed, _)) = &self.closing else {
            return Life::Goes;
        };
        if self.failed {
            return Life::Ended;
        }
        if self.opened.is_none() || self.facts.is_none() || self.has_backlog() {
            return Life::Goes;
        }
        let [egress, ingress] = &self.socket;
        let [calls_egress, calls_ingress] = &self.calls;
        let seen = |stream: &Reassembler, end: u64| stream.position() >= end;
        let wants_calls = self.wants_calls() && self.verdict.calls;
        let complete = ((seen(egress, closed.written) || self.verdict_hides(Direction::Egress))
            && (seen(ingress, closed.read) || self.verdict_hides(Direction::Ingress))
            || cx.load.hid(self.opened_shed(), closed.time, closed.time))
            && (!wants_calls
                || seen(calls_egress, closed.calls_written) && seen(calls_ingress, closed.calls_read));
        let waiting =
            matches!(&self.wire, Wire::Tls(tls) if tls.waiting_since.is_some()) || !self.is_examined(cx);
        if self.exclusion.whole || (complete && !waiting) {
            self.finish(cx)
        } else {
            Life::Goes
        }
    }

    /// A step of it panicked: nothing that it holds can be relied upon any more. It stays until its end, so that what still comes of it is counted.
    pub(crate) fn fail(&mut self, cx: &Context<'_>) {
        self.release(cx);
        self.set_verdict(Verdict::COUNT_ONLY, cx);
        *self = Self {
            failed: true,
            verdict: self.verdict,
            last_pid: self.last_pid,
            unbound: self.unbound,
            counted: self.counted,
            scheduled: self.scheduled,
            ..Self::new(self.id, self.created)
        };
    }

    /// Whether the libraries of its process were looked at, if it is TLS: a short-lived program is gone before that,
    /// and its connection waits a little for the finding.
    pub(super) fn is_examined(&self, cx: &Context<'_>) -> bool {
        let is_tls = self.facts.as_ref().is_some_and(|facts| facts.tls.is_some());
        !is_tls || self.pid().is_none_or(|pid| cx.host.tls(pid).is_some())
    }

    /// Whether the verdict in force leaves socket bytes uncopied, so that positions do not tell completeness. The kernel copies plaintext
    /// of its own TLS to whom wants that of calls.
    pub(super) fn verdict_hides(&self, direction: Direction) -> bool {
        let copies_nothing = self.verdict.stream_until == Verdict::COUNT_ONLY.stream_until;
        copies_nothing && !(self.verdict.calls && self.is_by_kernel(direction))
    }

    pub(super) fn finish(&mut self, cx: &mut Context<'_>) -> Life {
        let Some((closed, _)) = self.closing.clone() else {
            return Life::Ended;
        };
        if self.facts.is_none() {
            // The open event was lost with the control ring; nothing can be said of the connection.
            cx.stats.lost_control.add(1);
            return Life::Ended;
        }
        if self.exclusion.whole {
            self.account_unwanted(&closed, cx);
            return Life::Ended;
        }
        if !self.is_over {
            self.read_to_end(&closed, cx);
        }
        if self.app.parser_due() < NEVER {
            return Life::Goes;
        }
        self.report(Some(&closed), cx);
        Life::Ended
    }

    /// Ends what is under way.
    fn read_to_end(&mut self, closed: &Closed, cx: &mut Context<'_>) {
        self.is_over = true;
        self.account_rest(closed, cx);
        if let Wire::Tls(tls) = &mut self.wire {
            tls.tally.secret_missing |= tls.session.is_waiting() && tls.reading == Reading::Secrets;
        }
        self.judge_origins(cx);
        let end = Time(closed.time.0);
        self.with_session(cx, |session, events| session.close(end, events));
        if !closed.reset {
            // An orderly end: what runs to the close of the connection is whole.
            for side in [Side::Client, Side::Server] {
                self.app_eof(side, Time(closed.time.0), cx);
            }
        }
        if let Some(facts) = &mut self.facts {
            self.app.close(Time(closed.time.0), facts, cx);
        }
    }

    /// Tells of commands that wait, as they are.
    pub(super) fn stop_waiting(&mut self, cx: &mut Context<'_>) {
        if let Some(facts) = &mut self.facts {
            self.app.release(facts, cx);
        }
    }

    /// Everything up to the final positions that did not come is lost, or was not copied on request.
    pub(super) fn account_rest(&mut self, closed: &Closed, cx: &mut Context<'_>) {
        let ends = [
            (Layer::Socket, Direction::Egress, closed.written),
            (Layer::Socket, Direction::Ingress, closed.read),
            (Layer::Calls, Direction::Egress, closed.calls_written),
            (Layer::Calls, Direction::Ingress, closed.calls_read),
        ];
        for (layer, direction, end) in ends {
            if layer == Layer::Calls && !self.verdict.calls {
                // The kernel left them out as it was told.
                continue;
            }
            let mut pieces = Vec::new();
            let loss = if layer == Layer::Socket && self.verdict_hides(direction) {
                Loss::Skipped
            } else {
                self.unseen_loss(layer, direction, closed.time, cx)
            };
            self.pass_skipped(layer, direction, end, closed.time, &mut pieces);
            if let Some(stream) = self.stream(layer, direction) {
                stream.give_up(end, loss, closed.time, &mut pieces);
            }
            for piece in pieces {
                self.piece(direction, layer, piece, cx);
            }
        }
        self.account_unwanted(closed, cx);
    }

    /// What was lost of stretches that were passed over, since nobody wanted them by then: counted, so that what is lost and what is missed
    /// come out even.
    fn account_unwanted(&self, closed: &Closed, cx: &Context<'_>) {
        let missed = self.tally.lost(Loss::RingFull);
        (cx.stats.unwanted_ring_full).add(closed.lost_ring_full.saturating_sub(missed));
        let superseded = self.socket.iter().chain(&self.calls).map(Reassembler::superseded);
        cx.stats.unwanted_queue_full.add(superseded.sum());
    }

    pub(super) fn report(&mut self, closed: Option<&Closed>, cx: &mut Context<'_>) {
        self.learn_name(cx);
        let Some(facts) = &mut self.facts else { return };
        let pid = self
            .last_pid
            .or_else(|| facts.process.as_ref().map(|process| process.pid));
        let tls = pid.and_then(|pid| cx.host.tls(pid));
        if let Some(found) = &tls
            && (facts.tls_implementations.is_none() || !found.implementations.is_empty())
        {
            facts.tls_implementations = Some(found.implementations.clone());
        }
        let facts = (**facts).clone();
        let opened = self.opened.as_ref().map_or(cx.now, |opened| opened.time);
        let Some(health) = self.judge(closed, tls.as_ref(), cx) else {
            return;
        };
        let position = |streams: &[Reassembler; 2], direction| {
            streams.get(index(direction)).map_or(0, Reassembler::position)
        };
        let duration_ns = closed
            .map_or(cx.now, |closed| closed.time)
            .0
            .saturating_sub(opened.0);
        let report = ConnectionReport {
            part: self.part,
            finalized: closed.is_some() || self.stopping,
            // By the clock as it was then: it may have been set since.
            closed: closed.map(|_| facts.opened + Duration::from_nanos(duration_ns)),
            duration_ns,
            bytes_sent: closed.map_or_else(
                || position(&self.socket, Direction::Egress),
                |closed| self.wire_bytes(closed)[0],
            ),
            bytes_received: closed.map_or_else(
                || position(&self.socket, Direction::Ingress),
                |closed| self.wire_bytes(closed)[1],
            ),
            transactions: self.app.tally().finished,
            upgraded_to: self.app.upgraded.clone(),
            reset: closed.is_some_and(|closed| closed.reset),
            health,
            facts,
        };
        self.part += 1;
        cx.stats.reports.add(1);
        log::report(&report, closed);
        cx.consumer.connection(&report);
        if report.finalized {
            self.judged = Some(Box::new(report.health));
        }
    }

    /// The verdict as of now; `None` while its process is not known.
    pub(super) fn judge(
        &self,
        closed: Option<&Closed>,
        process_tls: Option<&ProcessTls>,
        cx: &Context<'_>,
    ) -> Option<Health> {
        let evidence = verdict::Evidence {
            facts: self.facts.as_deref()?,
            tally: &self.tally,
            wire: &self.wire,
            app: &self.app,
            exclusion: &self.exclusion,
            opened: self.opened.as_ref().map_or(cx.now, |opened| opened.time),
            closed,
            process_tls,
            end_lost: self.end_lost,
        };
        Some(evidence.health())
    }
}
