//! One connection: from its records to plaintext, transactions and reports.

mod end;
mod gate;
mod log;
mod tls;
mod verdict;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qtap_capture::{
    Closed, ConnectionId, Data, Direction, KernelTime, Layer, Loss, Opened, Pid, Role, Verdict,
};
use qtap_protocol::{Side, Time};
use qtap_tls::Secret;

use crate::application::{After, Application, Plain};
use crate::context::Context;
use crate::host::{Exclusion, ProcessLookup};
use crate::reassembly::{Piece, Reassembler};
use crate::settings::{Settings, TlsMode};
use crate::{ConnectionFacts, TlsSource};

use gate::Backlog;
use wire::{Reading, Sniffed, Sniffer, Wire};

/// Least body bytes certain to follow for which a verdict to skip them is worth its while.
const WORTH_SKIPPING: u64 = 64 << 10;

/// Numbers for the health of a connection.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    data_events: u64,
    /// Socket bytes in order so far, captured and skipped on request: `[egress, ingress]`.
    captured: [u64; 2],
    /// Socket bytes missing, by reason; skipped ones are not among them.
    gaps: [u64; 6],
    /// A call was read on a connection whose secrets had been given up.
    calls_late: bool,
    /// Records dropped because the backlog was full.
    backlog_dropped: u64,
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
    calls: [Reassembler; 2],
    reorder_since: Option<KernelTime>,
    wire: Wire,
    app: Application,
    tally: Tally,
    verdict: Verdict,
    /// No secret can be of use to it any more.
    settled: bool,
    needs_calls: Option<Pid>,
    last_pid: Option<Pid>,
    closing: Option<(Closed, KernelTime)>,
    next_report: KernelTime,
    next_check: KernelTime,
    part: u32,
    /// The agent stops: the next report is the last.
    stopping: bool,
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

fn after(time: KernelTime, wait: Duration) -> KernelTime {
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
            calls: Default::default(),
            reorder_since: None,
            wire: Wire::Sniffing(Sniffer::default()),
            app: Application::new(false),
            tally: Tally::default(),
            verdict: Verdict::STREAM,
            settled: false,
            needs_calls: None,
            last_pid: None,
            closing: None,
            next_report: KernelTime(u64::MAX),
            next_check: now,
            part: 0,
            stopping: false,
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
        self.backlog.bytes() + reordering + tls + self.app.held()
    }

    /// When it wants to be woken next.
    pub(crate) fn deadline(&self, cx: &Context<'_>) -> KernelTime {
        let settings = cx.settings;
        let mut earliest = self.next_report.min(self.next_check);
        if self.facts.is_none() {
            earliest = earliest.min(after(self.backlog.since(), Duration::from_millis(5)));
        }
        if let Some(since) = self.reorder_since {
            earliest = earliest.min(after(since, settings.reorder_wait));
        }
        if let Wire::Tls(tls) = &self.wire
            && let Some(since) = tls.waiting_since
        {
            let half = after(since, settings.secret_wait / 2);
            earliest = earliest.min(if half > cx.now {
                half
            } else {
                after(since, settings.secret_wait)
            });
        }
        if let Some((_, since)) = self.closing {
            earliest = earliest.min(after(since, settings.close_wait));
        }
        earliest
    }

    /// It opened.
    pub(crate) fn open(&mut self, opened: Opened, cx: &mut Context<'_>) {
        cx.stats.opened.add(1);
        self.last_pid.get_or_insert(opened.pid);
        if opened.midstream {
            self.wire = Wire::Sniffing(Sniffer::new(true));
            self.app = Application::new(true);
        }
        self.backlog.begin(cx.host.ticket(), cx.now);
        self.opened = Some(opened);
        self.try_gate(cx);
    }

    /// Bytes on it.
    pub(crate) fn data(&mut self, data: Data, cx: &mut Context<'_>) -> Life {
        if self.exclusion.whole {
            return Life::Goes;
        }
        if self.facts.is_none() && !self.try_gate(cx) {
            let dropped = self.backlog.push(data, cx.settings.connection_bytes);
            self.tally.backlog_dropped += dropped;
            cx.stats.lost_backlog.add(dropped);
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
        self.check_secret(cx);
        if now >= self.next_check {
            self.next_check = after(now, cx.settings.stall);
            if let Some(mut facts) = self.facts.take() {
                let outcome = self.app.check(&mut facts, cx);
                self.facts = Some(facts);
                self.follow(outcome, cx);
            }
        }
        if now >= self.next_report && self.closing.is_none() {
            self.next_report = after(now, cx.settings.report_interval);
            self.report(None, cx);
        }
        // Before its process is known nothing of it can be told; without an open event nothing ever can.
        let gated = self.opened.is_some() && self.facts.is_none();
        let wait = if self.is_examined(cx) {
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

    /// A secret of its process. Tells whether it is this connection's own.
    pub(crate) fn offer(&mut self, secret: &Secret, cx: &mut Context<'_>) -> bool {
        let Wire::Tls(tls) = &mut self.wire else {
            return false;
        };
        if tls.reading != Reading::Secrets {
            return false;
        }
        let mut events = Vec::new();
        let own = tls.session.offer(secret, &mut events);
        self.tls_events(events, cx);
        own
    }

    /// Whether it has waited for half of the time allowed for a secret, or is over: unlikely ones are worth a trial.
    pub(crate) fn waits_in_vain(&self, now: KernelTime, settings: &Settings) -> bool {
        let Wire::Tls(tls) = &self.wire else { return false };
        tls.reading == Reading::Secrets
            && tls
                .waiting_since
                .is_some_and(|since| self.closing.is_some() || after(since, settings.secret_wait / 2) <= now)
    }

    /// Whether a secret may still be wanted.
    pub(crate) fn wants_secrets(&self) -> bool {
        matches!(&self.wire, Wire::Tls(tls) if tls.reading == Reading::Secrets && tls.tally.unreadable.is_none())
    }

    /// Whether the secrets that wait in the pool are worth a trial after bytes of it: until it has all it can ever need, and
    /// once more to claim those it has.
    pub(crate) fn seeks_secrets(&mut self) -> bool {
        let settled = matches!(&self.wire, Wire::Tls(tls) if tls.session.is_settled());
        let was_settled = std::mem::replace(&mut self.settled, settled);
        self.wants_secrets() && !(settled && was_settled)
    }

    /// Whether its plaintext is looked for in calls, so that calls without a connection may be its own.
    pub(crate) fn wants_calls(&self) -> bool {
        self.facts.is_some() && matches!(&self.wire, Wire::Tls(tls) if tls.reading == Reading::Calls)
    }

    /// Facts of the process are needed before anything of the connection may be looked at: its strategy and the
    /// filters may leave it out. Opens the gate when they are known or the wait is over.
    fn try_gate(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(opened) = &self.opened else { return false };
        let process = match cx.host.process(opened.pid, self.backlog.ticket()) {
            ProcessLookup::Known(process) => Some(process),
            ProcessLookup::Pending if after(self.backlog.since(), cx.settings.process_wait) > cx.now => {
                return false;
            }
            ProcessLookup::Missing if after(self.backlog.since(), cx.settings.missing_wait) > cx.now => {
                return false;
            }
            ProcessLookup::Pending | ProcessLookup::Missing => None,
        };
        if let Some(process) = &process {
            self.exclusion = cx.host.exclusion(process);
            if self.exclusion.whole {
                cx.stats.excluded.add(1);
                cx.host.ignore(opened.pid);
                self.set_verdict(Verdict::COUNT_ONLY, cx);
                self.backlog.clear();
                self.wire = Wire::Off;
            }
        }
        self.begin(process, cx);
        true
    }

    fn begin(&mut self, process: Option<Arc<qtap_process::Process>>, cx: &mut Context<'_>) {
        let Some(opened) = &self.opened else { return };
        let time = cx.clock.at(opened.time);
        let facts = ConnectionFacts {
            id: self.id,
            public_id: cx.ids.next(time),
            role: opened.role,
            direction: crate::address::label(opened.role, opened.remote.ip()),
            local: opened.local,
            remote: opened.remote,
            opened: time,
            joined_midstream: opened.midstream,
            cookie: opened.cookie,
            process,
            tls: None,
            tls_implementations: None,
            protocol: None,
            domain: None,
        };
        if !self.exclusion.whole {
            log::open(&facts, opened);
            self.next_report = after(opened.time, cx.settings.first_report).max(cx.now);
            self.next_check = after(cx.now, cx.settings.stall);
        }
        if let Some((_, since)) = &mut self.closing {
            *since = cx.now;
        }
        let (pid, joined) = (opened.pid, opened.midstream);
        self.facts = Some(Box::new(facts));
        if joined && !self.exclusion.any() {
            // If it is TLS, only its calls can be read, and the next one may come at once.
            self.want_calls(pid, cx);
        }
        if self.exclusion.data {
            self.wire = Wire::Off;
            self.set_verdict(Verdict::COUNT_ONLY, cx);
        }
        for data in self.backlog.drain() {
            self.take(data, cx);
        }
    }

    fn take(&mut self, data: Data, cx: &mut Context<'_>) {
        self.last_pid = Some(data.pid);
        let (direction, layer) = (data.direction, data.layer);
        let is_hole = matches!(data.missing, Some((_, Loss::QueueFull)));
        if layer == Layer::Socket && !is_hole {
            self.tally.data_events += 1;
            cx.stats.bytes.add(data.bytes.len() as u64);
        }
        self.settle(layer, direction.opposite(), data.other_settled, data.time, cx);
        let mut pieces = Vec::new();
        self.pass_skipped(layer, direction, data.position, data.time, &mut pieces);
        if let Some(stream) = self.stream(layer, direction) {
            stream.push(
                data.position,
                data.bytes,
                data.missing,
                data.time,
                data.call_start,
                &mut pieces,
            );
        }
        self.note_reordering(cx);
        for piece in pieces {
            self.piece(direction, layer, piece, cx);
        }
        if layer == Layer::Socket {
            self.skip_unwanted(direction, cx);
        }
    }

    /// What has not come before `end` is lost. Told before anything behind it comes, so that a response is not taken for the
    /// answer to the request before the one that is missing.
    fn settle(
        &mut self,
        layer: Layer,
        direction: Direction,
        end: u64,
        time: KernelTime,
        cx: &mut Context<'_>,
    ) {
        let mut pieces = Vec::new();
        self.pass_skipped(layer, direction, end, time, &mut pieces);
        if let Some(stream) = self.stream(layer, direction) {
            stream.settle(end, Loss::RingFull, time, &mut pieces);
        }
        for piece in pieces {
            self.piece(direction, layer, piece, cx);
        }
    }

    /// What the kernel was told to pass over before `end` is not lost.
    fn pass_skipped(
        &mut self,
        layer: Layer,
        direction: Direction,
        end: u64,
        time: KernelTime,
        pieces: &mut Vec<Piece>,
    ) {
        let skipped = self
            .verdict
            .skip_until
            .get(index(direction))
            .copied()
            .unwrap_or_default();
        if let Some(stream) = self.stream(layer, direction)
            && layer == Layer::Socket
            && !stream.is_waiting()
        {
            stream.settle(end.min(skipped), Loss::Skipped, time, pieces);
        }
    }

    fn note_reordering(&mut self, cx: &Context<'_>) {
        let waiting = self.socket.iter().chain(&self.calls).any(Reassembler::is_waiting);
        match (waiting, self.reorder_since) {
            (true, None) => self.reorder_since = Some(cx.now),
            (false, Some(_)) => self.reorder_since = None,
            _ => {}
        }
    }

    fn give_up_reordering(&mut self, cx: &mut Context<'_>) {
        self.reorder_since = None;
        for (layer, direction) in LAYERS {
            let mut pieces = Vec::new();
            if let Some(stream) = self.stream(layer, direction) {
                stream.skip_to_early(Loss::RingFull, &mut pieces);
            }
            for piece in pieces {
                self.piece(direction, layer, piece, cx);
            }
        }
        self.note_reordering(cx);
    }

    fn stream(&mut self, layer: Layer, direction: Direction) -> Option<&mut Reassembler> {
        match layer {
            Layer::Socket => self.socket.get_mut(index(direction)),
            Layer::Calls => self.calls.get_mut(index(direction)),
        }
    }

    fn piece(&mut self, direction: Direction, layer: Layer, piece: Piece, cx: &mut Context<'_>) {
        let Some(role) = self.facts.as_ref().map(|facts| facts.role) else {
            return;
        };
        let side = side_of(role, direction);
        match layer {
            Layer::Socket => {
                self.count(direction, &piece, cx);
                self.socket_piece(side, piece, cx);
            }
            Layer::Calls => self.calls_piece(side, piece, cx),
        }
    }

    fn count(&mut self, direction: Direction, piece: &Piece, cx: &Context<'_>) {
        let Some(captured) = self.tally.captured.get_mut(index(direction)) else {
            return;
        };
        match piece {
            Piece::Bytes { data, .. } => *captured += data.len() as u64,
            Piece::Gap {
                length,
                loss: Loss::Skipped,
                ..
            } => {
                *captured += length;
                self.tally.gap(Loss::Skipped, *length);
            }
            Piece::Gap { length, loss, .. } => {
                self.tally.gap(*loss, *length);
                cx.stats.gap_bytes.add(*length);
            }
        }
    }

    /// Bytes at the socket.
    fn socket_piece(&mut self, side: Side, piece: Piece, cx: &mut Context<'_>) {
        match &mut self.wire {
            Wire::Off => {}
            Wire::Plain => {
                let (piece, time) = plain(piece);
                self.app_piece(side, piece, time, cx);
            }
            Wire::Tls(tls) => {
                let mut events = Vec::new();
                match piece {
                    Piece::Bytes { data, time, .. } => {
                        tls.session.bytes(side, data, Time(time.0), &mut events)
                    }
                    Piece::Gap { length, time, .. } => {
                        tls.session.gap(side, length, Time(time.0), &mut events)
                    }
                }
                self.tls_events(events, cx);
            }
            Wire::Sniffing(sniffer) => match piece {
                Piece::Bytes { data, time, .. } => {
                    let sniffed = sniffer.add(side, data, Time(time.0));
                    self.sniffed(sniffed, cx);
                }
                Piece::Gap { .. } => {
                    // The first bytes are lost: what follows can begin anywhere.
                    sniffer.midstream = true;
                    if sniffer.is_empty() {
                        self.app.reset_detection(true);
                    }
                }
            },
        }
    }

    fn sniffed(&mut self, sniffed: Sniffed, cx: &mut Context<'_>) {
        let Wire::Sniffing(sniffer) = &mut self.wire else {
            return;
        };
        let midstream = sniffer.midstream;
        match sniffed {
            Sniffed::NeedMore => {}
            Sniffed::Plain => {
                let pieces = std::mem::take(sniffer).into_pieces();
                self.wire = Wire::Plain;
                for (side, data, time) in pieces {
                    self.app_piece(side, Plain::Bytes(data), time, cx);
                }
            }
            Sniffed::Tls => {
                let pieces = std::mem::take(sniffer).into_pieces();
                self.begin_tls(midstream, cx);
                let mut events = Vec::new();
                if let Wire::Tls(tls) = &mut self.wire {
                    for (side, data, time) in pieces {
                        tls.session.bytes(side, data, time, &mut events);
                    }
                }
                self.tls_events(events, cx);
            }
        }
    }

    /// Plaintext from a call of the TLS library.
    fn calls_piece(&mut self, side: Side, piece: Piece, cx: &mut Context<'_>) {
        let proof_of_tls = match &self.wire {
            Wire::Tls(tls) if tls.reading == Reading::Secrets => return,
            Wire::Tls(_) => false,
            // The call proves what the first bytes could not: they lay in the middle of a record.
            Wire::Sniffing(_) | Wire::Plain => {
                self.app.protocol.is_none() && cx.settings.tls != TlsMode::Secrets
            }
            Wire::Off => return,
        };
        if proof_of_tls {
            let midstream = self.facts.as_ref().is_some_and(|facts| facts.joined_midstream);
            self.begin_tls(midstream, cx);
            if let Wire::Tls(tls) = &mut self.wire {
                tls.reading = Reading::Calls;
            }
            self.app.reset_detection(true);
            self.set_verdict(Verdict::CALLS_ONLY, cx);
        } else if !matches!(self.wire, Wire::Tls(_)) {
            return;
        }
        if let Some(tls) = self.facts.as_mut().and_then(|facts| facts.tls.as_mut()) {
            tls.source = Some(TlsSource::Calls);
        }
        let (piece, time) = plain(piece);
        self.app_piece(side, piece, time, cx);
    }

    fn app_piece(&mut self, side: Side, piece: Plain, time: Time, cx: &mut Context<'_>) {
        if self.exclusion.http {
            return;
        }
        let Some(facts) = &mut self.facts else { return };
        let outcome = self.app.piece(side, piece, time, facts, cx);
        self.follow(outcome, cx);
    }

    /// `side` will send no more plaintext.
    fn app_eof(&mut self, side: Side, time: Time, cx: &mut Context<'_>) {
        let Some(facts) = &mut self.facts else { return };
        let outcome = self.app.eof(side, time, facts, cx);
        self.follow(outcome, cx);
    }

    fn follow(&mut self, outcome: After, cx: &mut Context<'_>) {
        match outcome {
            After::Continue => {}
            After::TurnedOff => {
                let raw_needed = matches!(&self.wire, Wire::Tls(_)) && self.app.upgraded.is_none();
                if !raw_needed || self.app.off.is_some() {
                    self.set_verdict(Verdict::COUNT_ONLY, cx);
                    if !matches!(self.wire, Wire::Tls(_)) {
                        self.wire = Wire::Off;
                    }
                }
            }
            After::Restart { client, server, time } => {
                if matches!(self.wire, Wire::Plain) {
                    self.wire = Wire::Sniffing(Sniffer::default());
                }
                for (side, data) in [(Side::Client, client), (Side::Server, server)] {
                    if !data.is_empty() {
                        self.again(side, data, time, cx);
                    }
                }
            }
        }
    }

    /// Bytes that a parser handed back after an upgrade.
    fn again(&mut self, side: Side, data: Bytes, time: Time, cx: &mut Context<'_>) {
        if let Wire::Sniffing(sniffer) = &mut self.wire {
            let sniffed = sniffer.add(side, data, time);
            self.sniffed(sniffed, cx);
        } else {
            self.app_piece(side, Plain::Bytes(data), time, cx);
        }
    }

    /// Tells the kernel to pass over body bytes that are certain to come and that nobody wants. Plaintext
    /// sockets only: there, positions of the body are positions of the socket. To be called when every piece up to the
    /// stream's position is worked off.
    fn skip_unwanted(&mut self, direction: Direction, cx: &mut Context<'_>) {
        if !matches!(self.wire, Wire::Plain) {
            return;
        }
        let Some(role) = self.facts.as_ref().map(|facts| facts.role) else {
            return;
        };
        let length = self.app.skippable(side_of(role, direction));
        if length < WORTH_SKIPPING {
            return;
        }
        let Some(stream) = self.socket.get(index(direction)) else {
            return;
        };
        // A margin keeps the end of the body, where the next message begins, in sight.
        let until = (stream.position() + length).saturating_sub(16 << 10);
        let mut verdict = self.verdict;
        if let Some(slot) = verdict.skip_until.get_mut(index(direction))
            && until > *slot
        {
            *slot = until;
            self.set_verdict(verdict, cx);
        }
    }

    fn set_verdict(&mut self, verdict: Verdict, cx: &Context<'_>) {
        if self.verdict != verdict {
            self.verdict = verdict;
            cx.host.verdict(self.id, verdict);
        }
    }

    /// Releases what it asked of the rest of the agent. Called once, when the worker lets go of it.
    pub(crate) fn release(&mut self, cx: &Context<'_>) {
        if let Some(pid) = self.needs_calls.take() {
            cx.host.calls_done(pid);
        }
    }

    /// The agent stops: says what is known, as the last report; it tells no time of closing.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        if self.exclusion.whole {
            return;
        }
        if let Some(mut facts) = self.facts.take() {
            self.app.close(Time(cx.now.0), &mut facts, cx);
            self.facts = Some(facts);
            self.stopping = true;
            self.report(None, cx);
        }
    }
}

const LAYERS: [(Layer, Direction); 4] = [
    (Layer::Socket, Direction::Egress),
    (Layer::Socket, Direction::Ingress),
    (Layer::Calls, Direction::Egress),
    (Layer::Calls, Direction::Ingress),
];

fn plain(piece: Piece) -> (Plain, Time) {
    match piece {
        Piece::Bytes { data, time, .. } => (Plain::Bytes(data), Time(time.0)),
        Piece::Gap {
            length,
            loss: Loss::Skipped,
            time,
        } => (Plain::Skipped(length), Time(time.0)),
        Piece::Gap { length, time, .. } => (Plain::Gap(length), Time(time.0)),
    }
}
