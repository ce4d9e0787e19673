//! Debug lines of a healthy capture, with the names and fields that runbooks know (capture.md §15).

use qtap_capture::{Closed, Opened, Role};

use crate::{ConnectionFacts, ConnectionReport};

/// `socket open event` and `opening connection` (capture.md §15).
pub(super) fn open(facts: &ConnectionFacts, opened: &Opened) {
    let source = match opened.role {
        Role::Client => "client",
        Role::Server => "server",
    };
    let address_family = if opened.remote.is_ipv4() { "ipv4" } else { "ipv6" };
    tracing::debug!(
        conn_id = %facts.public_id, timestamp = opened.time.0, source, conn_pid_id = format_args!("PID:{} TGID:{} FD:{} FUNCTION:{source}", opened.pid.0, opened.tid, opened.fd),
        pid = opened.pid.0, cookie = opened.cookie, address_family, socket_type = "tcp",
        local = %opened.local, remote = %opened.remote, is_redirected = false, "socket open event"
    );
    let exe = facts.process.as_ref().map_or("", |process| process.exe.as_str());
    tracing::debug!(conn_id = %facts.public_id, cookie = facts.cookie, exe, "opening connection");
}

/// `processing tls handshake event` (capture.md §15).
pub(super) fn hello(facts: &ConnectionFacts) {
    if let Some(tls) = &facts.tls {
        let exe = facts.process.as_ref().map_or("", |process| process.exe.as_str());
        tracing::debug!(
            conn_id = %facts.public_id, cookie = facts.cookie, exe, msg.SNI = tls.sni.as_deref(),
            msg.Version = tls.version.or_else(|| tls.versions_offered.iter().max().copied()),
            msg.ALPNs = ?tls.alpn_offered, "processing tls handshake event"
        );
    }
}

/// `connection report` and `socket close event` (capture.md §15).
pub(super) fn report(report: &ConnectionReport, closed: Option<&Closed>) {
    let facts = &report.facts;
    let exe = facts.process.as_ref().map_or("", |process| process.exe.as_str());
    if let Some(closed) = closed {
        tracing::debug!(
            conn_id = %facts.public_id, cookie = facts.cookie, exe, timestamp = closed.time.0,
            write_bytes = closed.written, read_bytes = closed.read, "socket close event"
        );
        tracing::debug!(conn_id = %facts.public_id, cookie = facts.cookie, exe, "closing connection");
    }
    let health = &report.health;
    let strategy = facts.process.as_ref().map(|process| process.strategy.name());
    tracing::debug!(
        conn_id = %facts.public_id, cookie = facts.cookie, exe, domain = facts.domain.as_deref(),
        destinationProtocol = "tcp", strategy,
        protocol = facts.protocol.map(|protocol| protocol.name()), is_tls = facts.tls.is_some(), report.duration = report.duration_ns,
        report.gotTLSClientHelloEvent = health.got_tls_client_hello, report.gotProtocolEvent = health.got_protocol,
        report.dataEventCount = health.data_event_count, health = health.status.name(), gaps = health.gap_bytes, finalized = report.finalized,
        "connection report"
    );
}
