//! The checklist of a healthy capture, in words.

use std::fmt::Write as _;

use qtap_engine::{CheckName, CheckState, ConnectionReport, HealthStatus};
use qtap_plugin::schema::tls_version_name;

use super::collector::Seen;

/// Rendering for people; colour only where asked.
pub(super) struct Checklist {
    pub(super) color: bool,
}

impl Checklist {
    /// One connection with its eight steps, each failed one with cause and remedy.
    pub(super) fn connection(&self, seen: &Seen) -> String {
        let report = &seen.report;
        let facts = &report.facts;
        let process = facts.process.as_ref();
        let who = process.map_or_else(
            || "?".to_owned(),
            |process| format!("{}[{}]", process.binary(), process.pid.0),
        );
        let arrow = if facts.role == qtap_capture::Role::Client {
            "→"
        } else {
            "←"
        };
        let mut text = format!(
            "{who} {arrow} {} ({})  {}\n",
            facts.endpoint_id(),
            facts.remote,
            self.paint(
                status_color(report.health.status),
                &report.health.status.name().to_uppercase()
            ),
        );
        for check in &report.health.checks {
            let (mark, color) = match check.state {
                CheckState::Ok => ("✓", 32),
                CheckState::Missing => ("✗", 31),
                CheckState::Partial => ("~", 33),
                CheckState::NotApplicable => ("-", 90),
            };
            let said = self.detail(check.name, check.state, seen);
            let _ = writeln!(
                text,
                "  {} {:<13} {said}",
                self.paint(color, mark),
                check.name.name()
            );
        }
        for reason in &report.health.reasons {
            let _ = writeln!(
                text,
                "  {} {}: {}",
                self.paint(33, "!"),
                reason.code.code(),
                reason.detail
            );
            let _ = writeln!(text, "    what to do: {}", reason.code.remedy());
        }
        text
    }

    fn detail(&self, name: CheckName, state: CheckState, seen: &Seen) -> String {
        if state == CheckState::NotApplicable {
            return "does not apply".to_owned();
        }
        let report = &seen.report;
        let facts = &report.facts;
        match name {
            CheckName::Socket => format!("{} → {}, {}", facts.local, facts.remote, facts.direction.name()),
            CheckName::Process => facts.process.as_ref().map_or_else(
                || "unknown".to_owned(),
                |process| format!("{}, pid {}, uid {}", process.exe, process.pid.0, process.user.id),
            ),
            CheckName::TlsHello => hello(report),
            CheckName::TlsProbe => tls(report),
            CheckName::Protocol => facts
                .protocol
                .map_or("unknown", |protocol| protocol.name())
                .to_owned(),
            CheckName::Data => format!("{} records", report.health.data_event_count),
            CheckName::Bytes => bytes(report),
            CheckName::Transactions => transactions(seen),
        }
    }

    fn paint(&self, color: u8, text: &str) -> String {
        if self.color {
            format!("\x1b[{color}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// The last line: what all connections together came to.
    pub(super) fn summary(&self, status: HealthStatus, connections: usize) -> String {
        let plural = if connections == 1 { "" } else { "s" };
        format!(
            "verdict: {}, {connections} connection{plural}\n",
            self.paint(status_color(status), status.name())
        )
    }
}

const fn status_color(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Healthy => 32,
        HealthStatus::Degraded => 33,
        HealthStatus::Blind => 31,
        HealthStatus::Ignored => 90,
    }
}

fn hello(report: &ConnectionReport) -> String {
    let Some(tls) = &report.facts.tls else {
        return String::new();
    };
    let version = tls.version.or_else(|| tls.versions_offered.iter().max().copied());
    let version = version.map_or_else(|| "version unknown".to_owned(), tls_version_name);
    let alpn = if tls.alpn_offered.is_empty() {
        "none".to_owned()
    } else {
        tls.alpn_offered.join(", ")
    };
    format!(
        "SNI {}, {version}, ALPN {alpn}",
        tls.sni.as_deref().unwrap_or("none")
    )
}

fn tls(report: &ConnectionReport) -> String {
    let implementations = report
        .facts
        .tls_implementations
        .as_deref()
        .unwrap_or_default()
        .join(", ");
    let found = if implementations.is_empty() {
        "no known library".to_owned()
    } else {
        implementations
    };
    match report.facts.tls.as_ref().and_then(|tls| tls.source) {
        Some(source) => format!("plaintext by {} ({found})", source.name()),
        None => format!("no plaintext ({found})"),
    }
}

fn bytes(report: &ConnectionReport) -> String {
    let health = &report.health;
    let side = |captured: u64, kernel: Option<u64>| match kernel {
        Some(kernel) => format!("{captured} of {kernel}"),
        None => captured.to_string(),
    };
    let mut text = format!(
        "sent {}, received {}",
        side(health.captured_bytes_sent, health.socket_bytes_sent),
        side(health.captured_bytes_received, health.socket_bytes_received),
    );
    if let Some(unread @ 1..) = health.socket_bytes_unread {
        text.push_str(&format!(" ({unread} never read by the process)"));
    }
    text
}

fn transactions(seen: &Seen) -> String {
    const SHOWN: usize = 3;
    let mut text = seen
        .lines
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    let total = usize::try_from(seen.report.transactions).unwrap_or(usize::MAX);
    if total > SHOWN {
        let _ = write!(text, "; and {} more", total - SHOWN);
    }
    text
}
