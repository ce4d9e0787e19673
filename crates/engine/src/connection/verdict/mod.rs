//! The verdict on a capture: each step of a healthy one, and why a step fell short (DESIGN §6).

mod tls;

use qtap_capture::{Closed, KernelTime, Loss};

use super::Tally;
use super::wire::Wire;
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
        let is_filtered = matches!(self.app.off, Some((ReasonCode::FilteredProcess, _)));
        if self.exclusion.any() || is_filtered {
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

    fn protocol(&self, reasons: &mut Reasons) -> CheckState {
        if let Some((code, detail)) = &self.app.off {
            reasons.add(*code, detail.clone());
            let known = matches!(
                code,
                ReasonCode::NoStack | ReasonCode::ParserGaveUp | ReasonCode::FilteredProcess
            ) && self.facts.protocol.is_some();
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
            let (bytes, of_calls) = (self.tally.lost(loss), self.tally.lost_of_calls(loss));
            let detail = match (bytes, of_calls) {
                (0, 0) => continue,
                (_, 0) => format!("{bytes} bytes"),
                (0, _) => format!("{of_calls} bytes of calls"),
                _ => format!("{bytes} bytes, {of_calls} of calls"),
            };
            reasons.add(code, detail);
            state = CheckState::Partial;
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
        for (way, kernel, seen, kernel_tls) in [
            (
                "sent",
                closed.kernel_sent,
                closed.written,
                self.tally.kernel_from[0],
            ),
            (
                "received",
                closed.kernel_received.saturating_sub(closed.unread),
                closed.read,
                self.tally.kernel_from[1],
            ),
        ] {
            // Where the kernel makes records of what calls move, it counts more than they do, and nobody knows by how much.
            if kernel > seen && kernel_tls.is_none() {
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
        if let Some(cause) = tally.tunnels.cause {
            let detail = format!(
                "{} of {} tunnels: {cause}",
                tally.tunnels.unread, tally.tunnels.count
            );
            partial(ReasonCode::TunnelUnread, detail);
        }
        if tally.finished == 0 && state == CheckState::Ok {
            return CheckState::NotApplicable;
        }
        state
    }
}
