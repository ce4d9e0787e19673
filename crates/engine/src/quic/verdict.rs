//! The verdict on a connection of QUIC, in the same steps as on any other (DESIGN §6).

use qtap_protocol::detect::Protocol;

use super::flow::Moved;
use crate::host::Exclusion;
use crate::{Check, CheckName, CheckState, ConnectionFacts, Health, HealthStatus, Reason, ReasonCode};

/// What the verdict rests on.
pub(super) struct Evidence<'a> {
    pub(super) facts: &'a ConnectionFacts,
    pub(super) exclusion: &'a Exclusion,
    pub(super) moved: Moved,
    /// Other connections were on its socket, which is not connected to a peer.
    pub(super) is_shared: bool,
    pub(super) datagrams: u64,
    pub(super) finalized: bool,
}

impl Evidence<'_> {
    /// Judges.
    pub(super) fn health(&self) -> Health {
        let mut reasons = Vec::new();
        let checks = CheckName::ALL
            .map(|name| Check {
                name,
                state: self.check(name, &mut reasons),
            })
            .to_vec();
        let status = if self.exclusion.any() {
            HealthStatus::Ignored
        } else {
            HealthStatus::Blind
        };
        let counted = |bytes: Option<u64>| bytes.filter(|_| self.finalized);
        Health {
            status,
            checks,
            reasons,
            socket_bytes_sent: counted(self.moved.sent),
            socket_bytes_received: counted(self.moved.received),
            socket_bytes_unread: None,
            captured_bytes_sent: 0,
            captured_bytes_received: 0,
            gap_bytes: 0,
            data_event_count: self.datagrams,
            got_tls_client_hello: self.facts.tls.as_ref().is_some_and(|tls| tls.client_hello),
            got_protocol: self.facts.protocol == Some(Protocol::Http3),
        }
    }

    fn check(&self, name: CheckName, reasons: &mut Vec<Reason>) -> CheckState {
        let mut add = |code, detail: String| reasons.push(Reason { code, detail });
        match name {
            CheckName::Socket => CheckState::Ok,
            CheckName::Process if self.facts.process.is_none() => {
                add(
                    ReasonCode::ProcessUnknown,
                    "the process ended before its facts could be read".to_owned(),
                );
                CheckState::Missing
            }
            CheckName::Process => {
                if self.exclusion.any() {
                    let code = if self.exclusion.by_strategy {
                        ReasonCode::FilteredStrategy
                    } else {
                        ReasonCode::FilteredProcess
                    };
                    add(code, "left out by configuration".to_owned());
                }
                CheckState::Ok
            }
            CheckName::TlsHello => {
                let tls = self.facts.tls.as_ref();
                let (client, server) = tls.map_or((false, false), |tls| (tls.client_hello, tls.server_hello));
                if client && server {
                    return CheckState::Ok;
                }
                let which = if client { "server" } else { "client" };
                add(
                    ReasonCode::TlsHelloMissing,
                    format!("no whole {which} hello was seen"),
                );
                CheckState::Partial
            }
            CheckName::TlsProbe if self.exclusion.any() => CheckState::NotApplicable,
            CheckName::TlsProbe => {
                let version = self.facts.quic.as_ref().and_then(|quic| quic.version);
                let version = version.map_or(String::new(), |version| format!(" version {version}"));
                add(
                    ReasonCode::QuicUnsupported,
                    format!("what QUIC{version} carries is not decrypted"),
                );
                CheckState::Missing
            }
            CheckName::Bytes => self.bytes(reasons),
            // Known and not parsed.
            CheckName::Protocol if self.facts.protocol == Some(Protocol::Http3) => CheckState::Partial,
            // No payload is looked at.
            CheckName::Protocol | CheckName::Data | CheckName::Transactions => CheckState::NotApplicable,
        }
    }

    fn bytes(&self, reasons: &mut Vec<Reason>) -> CheckState {
        let what = match (self.moved.sent, self.moved.received) {
            (Some(_), Some(_)) => return CheckState::Ok,
            (Some(_), None) => "received",
            (None, Some(_)) => "sent",
            (None, None) => "sent and received",
        };
        let why = if self.is_shared {
            "other connections are on the same socket"
        } else {
            "the kernel side has no count of its socket"
        };
        reasons.push(Reason {
            code: ReasonCode::QuicBytesUnknown,
            detail: format!("bytes {what} are not known: {why}"),
        });
        CheckState::Partial
    }
}
