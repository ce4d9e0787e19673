//! One connection of QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use qtap_capture::{ConnectionId, Direction, KernelTime, Opened, Pid, QuicDatagram, Role};
use qtap_process::Process;
use qtap_protocol::detect::Protocol;
use qtap_tls::quic::{Opening, is_http3};

use super::index::Key;
use super::verdict::Evidence;
use crate::account::{Entry, ProcessKey, Reading};
use crate::connection::Life;
use crate::context::Context;
use crate::host::{Exclusion, ProcessLookup};
use crate::{ConnectionFacts, ConnectionReport, Health, HealthStatus, QuicFacts, TlsFacts, Transport};

/// Without a byte for so long it is over: endpoints give up as early, or keep it alive (RFC 9000 §10.1).
const IDLE: Duration = Duration::from_secs(30);
/// So long a server has to answer before the attempt is forgotten, if who made it is not known.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Time between two questions for the process.
const GATE_WAIT: Duration = Duration::from_millis(5);
/// Numbers of the kernel side do not come so far.
const FIRST_ID: u64 = 1 << 63;

/// Payload of UDP that it moved, as far as it is known: sent, received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) sent: Option<u64>,
    pub(super) received: Option<u64>,
}

impl Moved {
    fn total(self) -> u64 {
        self.sent.unwrap_or_default() + self.received.unwrap_or_default()
    }
}

/// A connection.
pub(super) struct Flow {
    opened: Opened,
    socket: u64,
    remote: Option<SocketAddr>,
    is_connected: bool,
    pub(super) opening: Opening,
    /// Under which it is found.
    pub(super) keys: Vec<Key>,
    /// Others were on its socket at the same time, at some time.
    pub(super) is_shared: bool,
    /// Bytes held for it when they were last counted.
    pub(super) held: usize,
    /// What the socket had moved, and what had been sent to the peer, when it began.
    before: [u64; 2],
    sent_before: u64,
    datagrams: u64,
    ticket: u64,
    since: KernelTime,
    facts: Option<Box<ConnectionFacts>>,
    exclusion: Exclusion,
    moved: Moved,
    /// When something was last seen to move.
    last_active: KernelTime,
    next_look: KernelTime,
    last_report: KernelTime,
    /// Something is new since the last report.
    stirred: bool,
    part: u32,
    end: Option<KernelTime>,
    judged: Option<Box<Health>>,
    /// The wake-up that is queued.
    pub(super) scheduled: Option<KernelTime>,
}

fn after(time: KernelTime, wait: Duration) -> KernelTime {
    KernelTime(
        time.0
            .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
    )
}

impl Flow {
    /// A connection that begins with this datagram.
    pub(super) fn new(number: u64, opening: Opening, quic: &QuicDatagram, cx: &Context<'_>) -> Self {
        let datagram = &quic.datagram;
        let role = match datagram.direction {
            Direction::Egress => Role::Client,
            Direction::Ingress => Role::Server,
        };
        let unknown = SocketAddr::new(datagram.local.ip(), 0);
        let held = opening.held();
        Self {
            opened: Opened {
                id: ConnectionId(FIRST_ID + number),
                time: datagram.time,
                pid: datagram.pid,
                tid: datagram.tid,
                fd: -1,
                role,
                local: datagram.local,
                remote: datagram.remote.unwrap_or(unknown),
                ipv6_socket: datagram.local.is_ipv6(),
                cookie: 0,
                midstream: false,
                shed: false,
                netns: datagram.netns,
            },
            socket: datagram.socket,
            remote: datagram.remote,
            is_connected: quic.is_connected,
            opening,
            keys: Vec::new(),
            is_shared: false,
            held,
            before: quic.bytes_before,
            sent_before: quic.sent_before,
            datagrams: 1,
            ticket: cx.host.ticket(),
            since: cx.now,
            facts: None,
            exclusion: Exclusion::default(),
            moved: Moved::default(),
            last_active: datagram.time,
            next_look: after(datagram.time, cx.settings.first_report).max(cx.now),
            last_report: datagram.time,
            stirred: true,
            part: 0,
            end: None,
            judged: None,
            scheduled: None,
        }
    }

    pub(super) fn waits_for_process(&self) -> bool {
        self.facts.is_none()
    }

    pub(super) fn role(&self) -> Role {
        self.opened.role
    }

    pub(super) fn pid(&self) -> Pid {
        self.opened.pid
    }

    pub(super) fn socket(&self) -> u64 {
        self.socket
    }

    /// Whether a datagram of its socket may be one of it, by the peer.
    pub(super) fn may_be_with(&self, quic: &QuicDatagram) -> bool {
        match (self.remote, quic.datagram.remote) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        }
    }

    /// A packet of this datagram proved to be its own.
    pub(super) fn see(&mut self, quic: &QuicDatagram) {
        self.datagrams += 1;
        self.stirred = true;
        self.last_active = self.last_active.max(quic.datagram.time);
        self.held = self.opening.held();
        if self.remote.is_none()
            && let Some(remote) = quic.datagram.remote
        {
            self.remote = Some(remote);
            self.opened.remote = remote;
            self.sent_before = quic.sent_before;
        }
    }

    /// When it wants to be woken next.
    pub(super) fn deadline(&self, cx: &Context<'_>) -> KernelTime {
        let soon = after(cx.now, GATE_WAIT);
        match (&self.facts, self.remote) {
            (Some(_), _) => self.next_look.max(soon),
            (None, Some(_)) => soon,
            (None, None) => after(self.opened.time, UNANSWERED).max(soon),
        }
    }

    /// A wake-up, or something new.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) -> Life {
        if self.remote.is_none() {
            let is_over = self.end.is_some() || after(self.opened.time, UNANSWERED) <= cx.now;
            if is_over {
                cx.stats.quic_unanswered.add(1);
                return Life::Ended;
            }
            return Life::Goes;
        }
        if self.facts.is_none() && !self.try_gate(cx) {
            return Life::Goes;
        }
        self.learn();
        if self.end.is_none() && self.opening.closed().is_some() {
            self.end = Some(self.last_active);
        }
        if let Some(end) = self.end {
            self.look(cx);
            self.report(Some(end), true, cx);
            return Life::Ended;
        }
        if cx.now < self.next_look {
            return Life::Goes;
        }
        self.look(cx);
        if after(self.last_active, IDLE) <= cx.now {
            self.report(Some(self.last_active), true, cx);
            return Life::Ended;
        }
        self.next_look = after(cx.now, cx.settings.report_interval);
        if self.stirred || after(self.last_report, cx.settings.idle_report_interval) <= cx.now {
            self.report(None, false, cx);
        }
        Life::Goes
    }

    /// Its process ended.
    pub(super) fn end(&mut self, time: KernelTime, cx: &mut Context<'_>) -> Life {
        self.end = Some(time);
        self.tick(cx)
    }

    /// There is no room for it any more.
    pub(super) fn evict(&mut self, cx: &mut Context<'_>) -> Life {
        if self.remote.is_none() {
            cx.stats.quic_unanswered.add(1);
            return Life::Ended;
        }
        self.shut_down(cx)
    }

    /// The agent stops, or forgets it: says what is known, as the last report, which tells no time of closing.
    pub(super) fn shut_down(&mut self, cx: &mut Context<'_>) -> Life {
        if self.remote.is_some() {
            if self.facts.is_none() && !self.try_gate(cx) {
                self.begin(None, cx);
            }
            self.learn();
            self.look(cx);
            self.report(None, true, cx);
        }
        Life::Ended
    }

    /// Facts of the process come first: the filters may leave it out.
    fn try_gate(&mut self, cx: &mut Context<'_>) -> bool {
        let settings = cx.settings;
        let is_over = |wait| after(self.since, wait) <= cx.now;
        let process = match cx.host.process(self.opened.pid, self.opened.time, self.ticket) {
            ProcessLookup::Known(process) => Some(process),
            ProcessLookup::Pending if !is_over(settings.process_wait) => return false,
            ProcessLookup::Missing if !is_over(settings.missing_wait) => return false,
            ProcessLookup::Pending | ProcessLookup::Missing => None,
        };
        if let Some(process) = &process {
            self.exclusion = cx.host.exclusion(process);
            if self.exclusion.whole {
                cx.stats.excluded.add(1);
                cx.host.ignore(process);
            }
        }
        self.begin(process, cx);
        true
    }

    fn begin(&mut self, process: Option<Arc<Process>>, cx: &Context<'_>) {
        let facts = ConnectionFacts {
            tls: Some(TlsFacts::default()),
            quic: Some(QuicFacts::default()),
            protocol: Some(Protocol::Quic),
            ..ConnectionFacts::at_open(&self.opened, Transport::Udp, process, cx)
        };
        self.facts = Some(Box::new(facts));
    }

    /// Takes over what the hellos say.
    fn learn(&mut self) {
        let (Some(facts), opening) = (&mut self.facts, &self.opening) else {
            return;
        };
        let quic = facts.quic.get_or_insert_default();
        quic.version = Some(opening.version().number());
        quic.error = opening.closed();
        let tls = facts.tls.get_or_insert_default();
        if let Some(hello) = opening.client_hello()
            && !tls.client_hello
        {
            tls.client_hello = true;
            tls.sni.clone_from(&hello.sni);
            tls.alpn_offered.clone_from(&hello.alpn);
            tls.versions_offered.clone_from(&hello.versions);
            if is_http3(&hello.alpn) {
                facts.protocol = Some(Protocol::Http3);
            }
            if let Some(sni) = &hello.sni {
                facts.domain = Some(sni.as_str().into());
                facts.domain_by_dns = false;
            }
            let exe = facts.process.as_ref().map_or("", |process| process.exe.as_str());
            tracing::debug!(
                conn_id = %facts.public_id, exe, remote = %facts.remote, msg.SNI = tls.sni.as_deref(),
                msg.ALPNs = ?tls.alpn_offered, quic = quic.version, "quic client hello"
            );
        }
        if let Some(hello) = opening.server_hello() {
            tls.server_hello = true;
            tls.version = Some(hello.version);
            tls.cipher_suite = Some(hello.cipher_suite);
        }
    }

    /// What it has moved by now.
    fn moved(&self, cx: &Context<'_>) -> Moved {
        let Some(socket) = cx.host.quic_bytes(self.socket, None) else {
            return Moved::default();
        };
        if self.is_connected || !self.is_shared {
            let [sent, received] = socket.bytes;
            let [sent_before, received_before] = self.before;
            return Moved {
                sent: Some(sent.saturating_sub(sent_before)),
                received: Some(received.saturating_sub(received_before)),
            };
        }
        let to_peer = self
            .remote
            .and_then(|remote| cx.host.quic_bytes(self.socket, Some(remote)));
        Moved {
            sent: to_peer
                .filter(|_| !socket.unsplit)
                .map(|counts| counts.bytes[0].saturating_sub(self.sent_before)),
            received: None,
        }
    }

    /// Looks whether something moved since the last time.
    fn look(&mut self, cx: &Context<'_>) {
        let moved = self.moved(cx);
        if moved.total() > self.moved.total() {
            self.stirred = true;
            // Between two looks; the end of a process is known better.
            self.last_active = self.last_active.max(cx.now);
        }
        self.moved = moved;
    }

    fn report(&mut self, closed: Option<KernelTime>, finalized: bool, cx: &mut Context<'_>) {
        if self.exclusion.whole {
            return;
        }
        let Some(facts) = &mut self.facts else { return };
        if let Some(found) = cx.host.tls(self.opened.pid)
            && (facts.tls_implementations.is_none() || !found.implementations.is_empty())
        {
            facts.tls_implementations = Some(found.implementations);
        }
        let facts = (**facts).clone();
        let Some(health) = self.judge(finalized) else {
            return;
        };
        let last = closed.unwrap_or(cx.now);
        let duration_ns = last.0.saturating_sub(self.opened.time.0);
        let report = ConnectionReport {
            part: self.part,
            finalized,
            closed: closed.map(|_| facts.opened + Duration::from_nanos(duration_ns)),
            duration_ns,
            bytes_sent: self.moved.sent.unwrap_or_default(),
            bytes_received: self.moved.received.unwrap_or_default(),
            transactions: 0,
            upgraded_to: None,
            reset: false,
            health,
            facts,
        };
        self.part += 1;
        self.last_report = cx.now;
        self.stirred = false;
        cx.stats.reports.add(1);
        cx.consumer.connection(&report);
        if finalized {
            self.judged = Some(Box::new(report.health));
        }
    }

    fn judge(&self, finalized: bool) -> Option<Health> {
        let evidence = Evidence {
            facts: self.facts.as_deref()?,
            exclusion: &self.exclusion,
            moved: self.moved,
            is_shared: self.is_shared && !self.is_connected,
            datagrams: self.datagrams,
            finalized,
        };
        Some(evidence.health())
    }

    /// What goes into the account of its process; `None` while it is not known whether it is a connection.
    pub(super) fn entry(&self, cx: &Context<'_>) -> Option<Entry> {
        self.remote?;
        let process = self.facts.as_ref().and_then(|facts| facts.process.clone());
        let key = process.as_ref().map_or(
            ProcessKey {
                pid: self.opened.pid,
                start_ns: 0,
            },
            |process| ProcessKey::of(process),
        );
        let left_out = self.exclusion.any();
        let moved = match &self.judged {
            Some(_) => self.moved,
            None => self.moved(cx),
        };
        let reading = match (left_out, &self.facts) {
            (true, _) => Reading::Excluded,
            (false, Some(_)) => Reading::Unread,
            (false, None) => Reading::Pending,
        };
        let wire = match reading {
            Reading::Unread => [moved.sent.unwrap_or_default(), moved.received.unwrap_or_default()],
            _ => [0; 2],
        };
        let health = match &self.judged {
            Some(health) => Some((**health).clone()),
            None if self.exclusion.whole => None,
            None => self.judge(false),
        };
        let (status, reasons) = match health {
            Some(health) => (Some(health.status), health.reasons),
            None => (self.exclusion.whole.then_some(HealthStatus::Ignored), Vec::new()),
        };
        Some(Entry {
            key,
            process,
            reading,
            is_tls: true,
            is_quic: true,
            wire,
            plaintext: [0; 2],
            unread: wire.iter().sum(),
            unwanted: 0,
            status,
            reasons,
        })
    }
}
