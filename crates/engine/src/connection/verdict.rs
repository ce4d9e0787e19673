//! The verdict on a capture: each step of a healthy one, and why a step fell short (DESIGN §6).

use std::time::Duration;

use qtap_capture::{Closed, KernelTime, Loss};
use qtap_tls::Unreadable;

use super::Tally;
use super::wire::{Reading, TlsWire, Wire};
use crate::application::Application;
use crate::host::{Exclusion, ProcessTls};
use crate::{Check, CheckName, CheckState, ConnectionFacts, Health, HealthStatus, Reason, ReasonCode};

/// Everything that the verdict rests on.
pub(super) struct Evidence<'a> {
    pub(super) facts: &'a ConnectionFacts,
    pub(super) tally: &'a Tally,
    pub(super) wire: &'a Wire,
    pub(super) app: &'a Application,
    pub(super) exclusion: &'a Exclusion,
    pub(super) opened: KernelTime,
    pub(super) closed: Option<&'a Closed>,
    pub(super) process_tls: Option<&'a ProcessTls>,
    /// The event of its end was lost.
    pub(super) end_lost: bool,
}

/// Reasons found so far, each code once.
#[derive(Default)]
struct Reasons(Vec<Reason>);

impl Reasons {
    fn add(&mut self, code: ReasonCode, detail: impl Into<String>) {
        if !self.0.iter().any(|reason| reason.code == code) {
            self.0.push(Reason {
                code,
                detail: detail.into(),
            });
        }
    }
}

impl Evidence<'_> {
    /// Judges.
    pub(super) fn health(&self) -> Health {
        let mut reasons = Reasons::default();
        let checks = CheckName::ALL
            .map(|name| Check {
                name,
                state: self.check(name, &mut reasons),
            })
            .to_vec();
        let status = self.status(&checks);
        let [sent, received] = self.tally.captured;
        Health {
            status,
            checks,
            reasons: reasons.0,
            socket_bytes_sent: self.closed.map(|closed| closed.kernel_sent),
            socket_bytes_received: self.closed.map(|closed| closed.kernel_received),
            socket_bytes_unread: self.closed.map(|closed| closed.unread),
            captured_bytes_sent: sent,
            captured_bytes_received: received,
            gap_bytes: self.tally.gap_bytes(),
            data_event_count: self.tally.data_events,
            got_tls_client_hello: self.facts.tls.as_ref().is_some_and(|tls| tls.client_hello),
            got_protocol: self.facts.protocol.is_some(),
        }
    }

    fn status(&self, checks: &[Check]) -> HealthStatus {
        let state = |name| {
            checks
                .iter()
                .find(|check| check.name == name)
                .map(|check| check.state)
        };
        let missing = |name| state(name) == Some(CheckState::Missing);
        if self.exclusion.any() {
            HealthStatus::Ignored
        } else if missing(CheckName::TlsProbe) || missing(CheckName::Protocol) {
            HealthStatus::Blind
        } else if checks
            .iter()
            .any(|check| matches!(check.state, CheckState::Missing | CheckState::Partial))
        {
            HealthStatus::Degraded
        } else {
            HealthStatus::Healthy
        }
    }

    fn check(&self, name: CheckName, reasons: &mut Reasons) -> CheckState {
        match name {
            CheckName::Socket => self.socket(reasons),
            CheckName::Process => self.process(reasons),
            CheckName::TlsHello => self.tls_hello(reasons),
            CheckName::TlsProbe => self.tls_probe(reasons),
            CheckName::Protocol => self.protocol(reasons),
            CheckName::Data => self.data(reasons),
            CheckName::Bytes => self.bytes(reasons),
            CheckName::Transactions => self.transactions(reasons),
        }
    }

    fn socket(&self, reasons: &mut Reasons) -> CheckState {
        if self.end_lost {
            reasons.add(
                ReasonCode::EndUnknown,
                "the event that tells of its end was lost, and with it what had not come yet",
            );
        }
        if self.facts.joined_midstream {
            reasons.add(
                ReasonCode::JoinedMidstream,
                "the connection is older than the capture",
            );
            return CheckState::Partial;
        }
        if self.end_lost {
            CheckState::Partial
        } else {
            CheckState::Ok
        }
    }

    fn process(&self, reasons: &mut Reasons) -> CheckState {
        match &self.facts.process {
            Some(_) => {
                if self.exclusion.any() {
                    let by_strategy = self.exclusion.by_strategy;
                    let code = if by_strategy {
                        ReasonCode::FilteredStrategy
                    } else {
                        ReasonCode::FilteredProcess
                    };
                    reasons.add(code, "left out by configuration");
                }
                CheckState::Ok
            }
            None => {
                reasons.add(
                    ReasonCode::ProcessUnknown,
                    "the process ended before its facts could be read",
                );
                CheckState::Missing
            }
        }
    }

    fn tls_wire(&self) -> Option<&TlsWire> {
        match self.wire {
            Wire::Tls(tls) => Some(tls),
            _ => None,
        }
    }

    fn tls_hello(&self, reasons: &mut Reasons) -> CheckState {
        let Some(tls) = &self.facts.tls else {
            return CheckState::NotApplicable;
        };
        match (tls.client_hello, tls.server_hello) {
            (true, true) => CheckState::Ok,
            (false, false) if self.facts.joined_midstream => CheckState::Missing,
            (client, _) => {
                let which = if client { "server" } else { "client" };
                reasons.add(
                    ReasonCode::TlsHelloMissing,
                    format!("no whole {which} hello was seen"),
                );
                if client {
                    CheckState::Partial
                } else {
                    CheckState::Missing
                }
            }
        }
    }

    fn tls_probe(&self, reasons: &mut Reasons) -> CheckState {
        let Some(facts) = &self.facts.tls else {
            return CheckState::NotApplicable;
        };
        if self.exclusion.tls || self.exclusion.data {
            return CheckState::NotApplicable;
        }
        let Some(wire) = self.tls_wire() else {
            return CheckState::NotApplicable;
        };
        let tally = &wire.tally;
        if facts.source.is_none() {
            return self.tls_unread(wire, reasons);
        }
        let mut state = CheckState::Ok;
        if tally.unauthenticated_bytes > 0 {
            reasons.add(
                ReasonCode::TlsUnauthenticated,
                format!("{} bytes", tally.unauthenticated_bytes),
            );
            state = CheckState::Partial;
        }
        if tally.secret_missing || tally.no_secret_bytes > 0 {
            let detail = format!(
                "{} bytes passed before a secret or a call was seen",
                tally.no_secret_bytes
            );
            self.secret_missing(reasons, detail);
            state = CheckState::Partial;
        }
        if self.tally.calls_late && !self.facts.joined_midstream {
            reasons.add(
                ReasonCode::TlsProbeLate,
                "the calls were probed after the handshake",
            );
            state = CheckState::Partial;
        }
        state
    }

    /// TLS without a byte of plaintext: why?
    fn tls_unread(&self, wire: &TlsWire, reasons: &mut Reasons) -> CheckState {
        let payload_passed = wire.tally.secret_missing
            || wire.tally.no_secret_bytes > 0
            || wire.tally.unreadable.is_some()
            || wire.waiting_since.is_some();
        if self.closed.is_none() && !payload_passed && wire.reading == Reading::Secrets {
            return CheckState::NotApplicable;
        }
        if let Some(Unreadable::CipherSuite(suite)) = wire.tally.unreadable {
            reasons.add(
                ReasonCode::TlsCipherUnsupported,
                format!("cipher suite {suite:#06x}"),
            );
        }
        if let Some(Unreadable::Version(version)) = wire.tally.unreadable {
            reasons.add(
                ReasonCode::TlsCipherUnsupported,
                format!("protocol version {version:#06x}"),
            );
        }
        match self.process_tls {
            Some(ProcessTls {
                problem: Some((code, detail)),
                ..
            }) => reasons.add(*code, detail.clone()),
            Some(found) if found.implementations.is_empty() => {
                let exe = self.exe();
                let detail = format!("no TLS library known to qtap is mapped in {exe}");
                reasons.add(ReasonCode::TlsLibraryUnsupported, detail);
            }
            None => {
                let exe = self.exe();
                let detail = format!("no TLS library known to qtap was found in {exe}");
                reasons.add(ReasonCode::TlsLibraryUnsupported, detail);
            }
            Some(_) if self.facts.joined_midstream => {}
            Some(_) => self.secret_missing(reasons, "no secret of this connection was seen".to_owned()),
        }
        CheckState::Missing
    }

    fn exe(&self) -> &str {
        let process = self.facts.process.as_ref();
        process.map_or("the process", |process| process.exe.as_str())
    }

    /// A secret was not seen: because its library was probed too late, which takes the kernel some milliseconds after it was
    /// first mapped, or for reasons unknown, told by `otherwise`.
    fn secret_missing(&self, reasons: &mut Reasons, otherwise: String) {
        let since = self.process_tls.and_then(|found| found.secrets_since);
        match since.and_then(|since| since.0.checked_sub(self.opened.0)) {
            Some(late) if late > 0 => {
                let late = Duration::from_nanos(late).as_secs_f64() * 1e3;
                let detail = format!("a TLS library was probed {late:.1} ms after the connection opened");
                reasons.add(ReasonCode::TlsProbeLate, detail);
            }
            _ => reasons.add(ReasonCode::TlsSecretMissing, otherwise),
        }
    }

    fn protocol(&self, reasons: &mut Reasons) -> CheckState {
        if let Some((code, detail)) = &self.app.off {
            reasons.add(*code, detail.clone());
            let known = matches!(code, ReasonCode::NoStack | ReasonCode::ParserGaveUp)
                && self.facts.protocol.is_some();
            return if known {
                CheckState::Partial
            } else {
                CheckState::Missing
            };
        }
        if self.facts.protocol.is_some() {
            return CheckState::Ok;
        }
        // Nothing to detect: no plaintext has passed, and whether that is a fault is said by the TLS steps.
        CheckState::NotApplicable
    }

    fn data(&self, reasons: &mut Reasons) -> CheckState {
        if self.tally.data_events > 0 {
            return CheckState::Ok;
        }
        let kernel_moved = self
            .closed
            .is_some_and(|closed| closed.kernel_sent + closed.kernel_received > 0);
        if kernel_moved && !self.exclusion.data {
            // Why is said by the bytes step.
            if self.closed.is_none_or(|closed| !closed.io_uring) {
                reasons.add(ReasonCode::NoData, "the kernel moved bytes, none was captured");
            }
            return CheckState::Missing;
        }
        CheckState::NotApplicable
    }

    fn bytes(&self, reasons: &mut Reasons) -> CheckState {
        let causes = [
            (Loss::RingFull, ReasonCode::RingFull),
            (Loss::QueueFull, ReasonCode::QueueFull),
            (Loss::CallCap, ReasonCode::CallCap),
            (Loss::Fault, ReasonCode::MemoryFault),
            (Loss::Unreadable, ReasonCode::UnreadableBytes),
            (Loss::LoadShed, ReasonCode::LoadShed),
            (Loss::IoUring, ReasonCode::IoUring),
        ];
        let mut state = CheckState::Ok;
        for (loss, code) in causes {
            let bytes = self.tally.lost(loss);
            if bytes > 0 {
                reasons.add(code, format!("{bytes} bytes"));
                state = CheckState::Partial;
            }
        }
        if self.tally.backlog_dropped > 0 {
            let detail = format!(
                "{} bytes came before the process was known",
                self.tally.backlog_dropped
            );
            reasons.add(ReasonCode::MemoryBudget, detail);
            state = CheckState::Partial;
        }
        if self.tally.given_up > 0 {
            let detail = format!("{} bytes were given up for want of memory", self.tally.given_up);
            reasons.add(ReasonCode::MemoryBudget, detail);
            state = CheckState::Partial;
        }
        let Some(closed) = self.closed else { return state };
        for (way, kernel, seen) in [
            ("sent", closed.kernel_sent, closed.written),
            (
                "received",
                closed.kernel_received.saturating_sub(closed.unread),
                closed.read,
            ),
        ] {
            if kernel > seen {
                let detail = format!("the kernel {way} {kernel} bytes, calls that were seen moved {seen}");
                let code = if closed.io_uring {
                    ReasonCode::IoUring
                } else {
                    ReasonCode::BytesUnaccounted
                };
                reasons.add(code, detail);
                state = CheckState::Partial;
            }
        }
        state
    }

    fn transactions(&self, reasons: &mut Reasons) -> CheckState {
        let tally = self.app.tally();
        let mut state = CheckState::Ok;
        let mut partial = |code, detail: String| {
            reasons.add(code, detail);
            state = CheckState::Partial;
        };
        if tally.incomplete > 0 {
            let detail = format!(
                "{} of {} miss {} bytes",
                tally.incomplete, tally.finished, tally.gap_bytes
            );
            partial(ReasonCode::TransactionIncomplete, detail);
        }
        if tally.shed_bodies > 0 {
            let detail = format!("{} bodies were not kept", tally.shed_bodies);
            partial(ReasonCode::LoadShed, detail);
        }
        if tally.truncated_bodies > 0 {
            partial(
                ReasonCode::BodyTruncated,
                format!("{} bodies are longer than is kept", tally.truncated_bodies),
            );
        }
        if tally.partial_heads > 0 {
            partial(
                ReasonCode::HpackUnsynced,
                format!("{} heads lack fields", tally.partial_heads),
            );
        }
        if tally.resyncs > 0 {
            partial(
                ReasonCode::Resynchronised,
                format!("{} messages were passed over", tally.resyncs),
            );
        }
        if tally.finished == 0 && state == CheckState::Ok {
            return CheckState::NotApplicable;
        }
        state
    }
}
