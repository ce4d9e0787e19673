//! One connection: from its records to plaintext, transactions and reports.

mod account;
mod end;
mod gate;
mod kernel;
mod log;
mod route;
mod search;
mod streams;
mod tls;
mod verdict;
mod watch;
pub(crate) mod wire;

use std::time::Duration;

use qtap_capture::{Closed, ConnectionId, Data, Direction, KernelTime, Loss, Opened, Pid, Role, Verdict};
use qtap_protocol::{Side, Time};

use crate::application::Application;
use crate::context::Context;
use crate::host::Exclusion;
use crate::reassembly::Reassembler;
use crate::tunnel::Place;
use crate::{ConnectionFacts, Health};

use gate::Backlog;
use watch::Watch;
use wire::{Sniffer, Wire};

/// Numbers for the health of a connection.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    data_events: u64,
    /// Socket bytes in order so far, captured and skipped on request: `[egress, ingress]`.
    captured: [u64; 2],
    /// Socket bytes missing, by reason; skipped ones are not among them.
    gaps: [u64; Loss::COUNT],
    /// A call was read on a connection whose secrets had been given up.
    calls_late: bool,
    /// Records dropped because the backlog was full.
    backlog_dropped: u64,
    /// Bytes given up because all connections together held too much.
    given_up: u64,
    /// Application bytes, by the side that sent them.
    plaintext: [u64; 2],
    /// Bytes that passed in the clear before TLS began in mid-stream.
    before_tls: u64,
    /// Wire bytes that had passed unread when calls began to be read.
    calls_base: u64,
    /// Plaintext of calls that is missing, by reason.
    calls_gaps: [u64; Loss::COUNT],
    /// Positions at the socket from which on the kernel does the TLS: `[egress, ingress]`.
    kernel_from: [Option<u64>; 2],
}

impl Tally {
    fn gap(&mut self, loss: Loss, length: u64) {
        if let Some(count) = self.gaps.get_mut(loss as usize) {
            *count += length;
        }
    }

    /// Bytes missing for `loss`.
    fn lost(&self, loss: Loss) -> u64 {
        self.gaps.get(loss as usize).copied().unwrap_or_default()
    }

    fn call_gap(&mut self, loss: Loss, length: u64) {
        if let Some(count) = self.calls_gaps.get_mut(loss as usize) {
            *count += length;
        }
    }

    /// Plaintext of calls that is missing for `loss`.
    fn lost_of_calls(&self, loss: Loss) -> u64 {
        self.calls_gaps.get(loss as usize).copied().unwrap_or_default()
    }

    /// The same, for whatever reason.
    fn calls_gap(&self) -> u64 {
        self.calls_gaps.iter().sum()
    }

    fn gap_bytes(&self) -> u64 {
        self.gaps.iter().sum::<u64>() - self.lost(Loss::Skipped)
    }
}

/// Whether the worker is to keep a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Goes,
    Ended,
}

/// One connection.
pub(crate) struct Connection {
    id: ConnectionId,
    opened: Option<Opened>,
    facts: Option<Box<ConnectionFacts>>,
    backlog: Backlog,
    exclusion: Exclusion,
    socket: [Reassembler; 2],
    /// Positions at the socket up to which pieces were worked off.
    worked_off: [u64; 2],
    calls: [Reassembler; 2],
    /// Times of the last records that came in order, by layer and direction.
    last_seen: [[KernelTime; 2]; 2],
    /// When the first bytes were seen at the socket.
    first_bytes: Option<KernelTime>,
    /// When it was first heard of.
    created: KernelTime,
    reorder_since: Option<KernelTime>,
    wire: Wire,
    /// Looks for TLS in the middle of what is not known.
    watch: Option<Box<Watch>>,
    app: Application,
    tally: Tally,
    verdict: Verdict,
    /// No secret can be of use to it any more.
    settled: bool,
    needs_calls: Option<Pid>,
    /// The process under which it is listed among those that are read by calls and have no session yet.
    unbound: Option<Pid>,
    last_pid: Option<Pid>,
    closing: Option<(Closed, KernelTime)>,
    next_report: KernelTime,
    /// Of an open connection.
    last_report: KernelTime,
    /// Something was heard of it since, or is under way.
    stirred: bool,
    /// When stalls and timeouts were last looked for.
    last_check: KernelTime,
    part: u32,
    /// The agent stops, or the event of its end was lost: the next report is the last.
    stopping: bool,
    /// The event of its end was lost.
    end_lost: bool,
    /// A step of it panicked.
    failed: bool,
    /// All of it was read. It stays for commands that wait for what another connection may tell.
    is_over: bool,
    /// The verdict of the last report.
    judged: Option<Box<Health>>,
    /// Bytes held when the worker last counted them.
    pub(crate) counted: usize,
    /// The earliest wake-up that the worker has queued.
    pub(crate) scheduled: Option<KernelTime>,
}

/// `[egress, ingress]` index.
const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Egress => 0,
        Direction::Ingress => 1,
    }
}

const fn side_of(role: Role, direction: Direction) -> Side {
    match (role, direction) {
        (Role::Client, Direction::Egress) | (Role::Server, Direction::Ingress) => Side::Client,
        (Role::Client, Direction::Ingress) | (Role::Server, Direction::Egress) => Side::Server,
    }
}

pub(crate) fn after(time: KernelTime, wait: Duration) -> KernelTime {
    KernelTime(
        time.0
            .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
    )
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, now: KernelTime) -> Self {
        Self {
            id,
            opened: None,
            facts: None,
            backlog: Backlog::default(),
            exclusion: Exclusion::default(),
            socket: Default::default(),
            worked_off: [0; 2],
            calls: Default::default(),
            last_seen: Default::default(),
            first_bytes: None,
            created: now,
            reorder_since: None,
            wire: Wire::Sniffing(Sniffer::default()),
            watch: None,
            app: Application::new(false, Place::default()),
            tally: Tally::default(),
            verdict: Verdict::STREAM,
            settled: false,
            needs_calls: None,
            unbound: None,
            last_pid: None,
            closing: None,
            next_report: KernelTime(u64::MAX),
            last_report: now,
            stirred: true,
            last_check: now,
            part: 0,
            stopping: false,
            end_lost: false,
            failed: false,
            is_over: false,
            judged: None,
            counted: 0,
            scheduled: None,
        }
    }

    /// The process that last used it.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.last_pid
    }

    /// Bytes held for it.
    pub(crate) fn held(&self) -> usize {
        let reordering: usize = self.socket.iter().chain(&self.calls).map(Reassembler::held).sum();
        let tls = match &self.wire {
            Wire::Tls(tls) => tls.held(),
            _ => 0,
        };
        let watched = self.watch.as_ref().map_or(0, |watch| watch.held());
        self.backlog.bytes() + reordering + tls + watched + self.app.held()
    }

    /// When it wants to be woken next.
    pub(crate) fn deadline(&self, cx: &Context<'_>) -> KernelTime {
        if self.is_over {
            return self.app.parser_due();
        }
        let settings = cx.settings;
        let mut earliest = (self.next_report.min(self.app.streams_due()))
            .min(self.app.tunnels_due(cx))
            .min(self.app.parser_due());
        if let Some(check) = self.check_due(settings.stall) {
            earliest = earliest.min(check);
        }
        if self.opened.is_some() && self.facts.is_none() {
            earliest = earliest.min(after(self.backlog.since(), Duration::from_millis(5)));
        }
        if let Some(since) = self.reorder_since {
            earliest = earliest.min(after(since, settings.reorder_wait));
        }
        if let Wire::Tls(tls) = &self.wire
            && let Some(due) = tls.due(cx.now, settings)
        {
            earliest = earliest.min(due);
        }
        if let Some((_, since)) = self.closing {
            let wait = if self.is_searching() {
                settings.memory_wait
            } else {
                settings.close_wait
            };
            earliest = earliest.min(after(since, wait));
        }
        if self.end_lost {
            // It waits for nothing but its turn.
            earliest = cx.now;
        }
        earliest
    }

    /// When to look for a stall and for timeouts; never while nothing is under way, so that idle connections cost nothing.
    fn check_due(&self, stall: Duration) -> Option<KernelTime> {
        let progress = self.app.under_way_since()?;
        Some(after(progress.max(self.last_check), stall))
    }

    /// Something is heard of it: one that was silent since its last report has something to report again.
    fn stir(&mut self, cx: &Context<'_>) {
        if !self.stirred {
            self.stirred = true;
            let due = after(self.last_report, cx.settings.report_interval);
            let soon = after(cx.now, cx.settings.first_report);
            self.next_report = self.next_report.min(due.max(soon));
        }
    }

    /// It opened.
    pub(crate) fn open(&mut self, opened: Opened, cx: &mut Context<'_>) {
        cx.stats.opened.add(1);
        self.last_pid.get_or_insert(opened.pid);
        if opened.midstream {
            self.wire = Wire::Sniffing(Sniffer::new(true));
            self.app = Application::new(true, Place::default());
        }
        self.backlog.begin(cx.host.ticket(), cx.now);
        self.last_seen = [[opened.time; 2]; 2];
        self.opened = Some(opened);
        self.try_gate(cx);
    }

    /// Bytes on it.
    pub(crate) fn data(&mut self, data: Data, cx: &mut Context<'_>) -> Life {
        if self.failed {
            cx.stats.lost_failed.add(data.bytes.len() as u64);
            return Life::Goes;
        }
        if self.exclusion.whole || self.is_over {
            return Life::Goes;
        }
        self.stir(cx);
        if self.facts.is_none() && !self.try_gate(cx) || self.has_backlog() {
            let dropped = self.backlog.push(data, cx.settings.connection_bytes);
            self.tally.backlog_dropped += dropped;
            cx.stats.lost_backlog.add(dropped);
            return Life::Goes;
        }
        if self.exclusion.whole {
            return Life::Goes;
        }
        self.take(data, cx);
        self.finish_if_complete(cx)
    }

    /// Its socket is gone; last records may still come.
    pub(crate) fn close(&mut self, closed: Closed, cx: &mut Context<'_>) -> Life {
        self.closing = Some((closed, cx.now));
        if self.facts.is_none() {
            self.try_gate(cx);
        }
        self.finish_if_complete(cx)
    }

    /// A wake-up that it asked for.
    pub(crate) fn tick(&mut self, cx: &mut Context<'_>) -> Life {
        if self.is_over {
            self.wake_parser(cx);
            return self.finish(cx);
        }
        if self.end_lost {
            return self.lose_end(cx);
        }
        if self.facts.is_none() {
            self.try_gate(cx);
        }
        let now = cx.now;
        if self
            .reorder_since
            .is_some_and(|since| after(since, cx.settings.reorder_wait) <= now)
        {
            self.give_up_reordering(cx);
        }
        self.look_for_secrets(cx);
        self.check_secret(cx);
        if self.check_due(cx.settings.stall).is_some_and(|due| due <= now) {
            self.last_check = now;
            if let Some(mut facts) = self.facts.take() {
                let outcome = self.app.check(&mut facts, cx);
                self.facts = Some(facts);
                self.follow(outcome, cx);
            }
        }
        self.wake_parser(cx);
        if now >= self.app.streams_due()
            && let Some(facts) = &self.facts
        {
            self.app.report_streams(facts, cx);
        }
        if now >= self.app.tunnels_due(cx) {
            self.app.check_tunnels(cx);
        }
        if now >= self.next_report && self.closing.is_none() {
            self.last_report = now;
            self.stirred = self.app.under_way_since().is_some();
            let interval = if self.stirred {
                cx.settings.report_interval
            } else {
                cx.settings.idle_report_interval
            };
            self.next_report = after(now, interval);
            self.report(None, cx);
        }
        // Before its process is known nothing of it can be told; without an open event nothing ever can.
        let gated = self.opened.is_some() && self.facts.is_none() || self.has_backlog();
        let wait = if self.is_searching() {
            cx.settings.memory_wait
        } else if self.is_examined(cx) {
            cx.settings.close_wait
        } else {
            cx.settings.examine_wait
        };
        let is_over = self
            .closing
            .as_ref()
            .is_some_and(|&(_, since)| after(since, wait) <= now);
        if is_over && !gated {
            return self.finish(cx);
        }
        self.finish_if_complete(cx)
    }

    /// Tells of commands that waited long enough, or need not wait any more.
    fn wake_parser(&mut self, cx: &mut Context<'_>) {
        if cx.now >= self.app.parser_due()
            && let Some(mut facts) = self.facts.take()
        {
            let outcome = self.app.wake(&mut facts, cx);
            self.facts = Some(facts);
            self.follow(outcome, cx);
        }
    }

    fn set_verdict(&mut self, verdict: Verdict, cx: &Context<'_>) {
        if self.verdict != verdict {
            self.verdict = verdict;
            cx.host.verdict(self.id, verdict);
        }
    }

    /// Memory is short: gives up what it holds.
    pub(crate) fn relieve(&mut self, cx: &mut Context<'_>) -> Life {
        let before = self.held();
        if self.is_over {
            self.stop_waiting(cx);
            return self.finish(cx);
        }
        self.backlog.clear();
        self.give_up_reordering(cx);
        self.give_up_secret(cx);
        if let Some(mut facts) = self.facts.take() {
            let outcome = self.app.relieve(&mut facts, cx);
            self.facts = Some(facts);
            self.follow(outcome, cx);
        }
        let freed = before.saturating_sub(self.held()) as u64;
        self.tally.given_up += freed;
        cx.stats.lost_memory.add(freed);
        self.finish_if_complete(cx)
    }

    /// Releases what it asked of the rest of the agent. Called once, when the worker lets go of it.
    pub(crate) fn release(&mut self, cx: &Context<'_>) {
        if let Some(pid) = self.needs_calls.take() {
            cx.host.calls_done(pid);
        }
    }

    /// Whether nothing of it is looked at before its process is known.
    pub(crate) fn waits_for_process(&self) -> bool {
        self.opened.is_some() && self.facts.is_none() && !self.failed
    }

    /// Whether it had begun by `time` and was not over yet.
    pub(crate) fn lived_at(&self, time: KernelTime) -> bool {
        // One that is older than the agent began whenever it was.
        let began = (self.opened.as_ref()).is_none_or(|opened| opened.midstream || opened.time <= time);
        let ended = (self.closing.as_ref()).is_some_and(|(closed, _)| closed.time < time);
        began && !ended
    }

    /// Whether it was known before `time`, and nothing of its end is.
    pub(crate) fn began_before(&self, time: KernelTime) -> bool {
        self.closing.is_none() && self.created < time
    }

    /// It is no more, and the event that told so was lost: says what is known, as the last report.
    pub(crate) fn lose_end(&mut self, cx: &mut Context<'_>) -> Life {
        if self.is_over {
            // It was told.
            return Life::Goes;
        }
        if !self.end_lost {
            cx.stats.lost_ends.add(1);
            self.end_lost = true;
        }
        if self.opened.is_some() && self.facts.is_none() && !self.try_gate(cx) || self.has_backlog() {
            // Nothing may be told before its process is known and what waited for it is read; the next wake-up goes on.
            return Life::Goes;
        }
        self.app.lose_end();
        self.shut_down(cx);
        Life::Ended
    }

    /// The agent stops: says what is known, as the last report; it tells no time of closing.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        if self.exclusion.whole {
            return;
        }
        if self.is_over {
            self.stop_waiting(cx);
            self.finish(cx);
            return;
        }
        if let Some(mut facts) = self.facts.take() {
            self.app.close(Time(cx.now.0), &mut facts, cx);
            self.app.release(&mut facts, cx);
            self.facts = Some(facts);
            self.stopping = true;
            self.report(None, cx);
        }
    }
}
