//! The steps of TLS.

use std::time::Duration;

use qtap_tls::Unreadable;

use super::{Evidence, Reasons};
use crate::connection::wire::{Reading, TlsWire, Wire};
use crate::host::ProcessTls;
use crate::{CheckState, ReasonCode, TlsSource};

/// Of a process in which there is a JVM.
const JAVA: &str = "the process runs Java, whose TLS is byte code in the JVM, which probes cannot reach";

fn is_java(found: &ProcessTls) -> bool {
    found.implementations.contains(&"javassl")
}

impl Evidence<'_> {
    fn tls_wire(&self) -> Option<&TlsWire> {
        match self.wire {
            Wire::Tls(tls) => Some(tls),
            _ => None,
        }
    }

    pub(super) fn tls_hello(&self, reasons: &mut Reasons) -> CheckState {
        let Some(tls) = &self.facts.tls else {
            return CheckState::NotApplicable;
        };
        match (tls.client_hello, tls.server_hello) {
            (true, true) => CheckState::Ok,
            (false, false) if self.facts.joined_midstream => CheckState::Missing,
            (true, false) if self.ended_in_the_clear() => CheckState::Ok,
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

    pub(super) fn tls_probe(&self, reasons: &mut Reasons) -> CheckState {
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
        if facts.source == Some(TlsSource::Kernel) && self.is_half_unread(wire) {
            if let Some(Unreadable::CipherSuite(suite)) = tally.unreadable {
                let detail =
                    format!("cipher suite {suite:#06x}, in the direction that the kernel does not do");
                reasons.add(ReasonCode::TlsCipherUnsupported, detail);
            }
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

    /// It is over, and each byte of it was of a record in the clear: a peer gave up, or refused, before there were keys.
    fn ended_in_the_clear(&self) -> bool {
        let (Some(closed), Some(tls)) = (self.closed, self.tls_wire()) else {
            return false;
        };
        !self.facts.joined_midstream && tls.session.read_bytes() == closed.written + closed.read
    }

    /// Whether the kernel does the TLS of one direction, and the other is neither decrypted nor taken from calls.
    fn is_half_unread(&self, wire: &TlsWire) -> bool {
        wire.reading == Reading::Secrets && wire.tally.unreadable.is_some() && wire.kernel != [true; 2]
    }

    /// TLS without a byte of plaintext: why?
    fn tls_unread(&self, wire: &TlsWire, reasons: &mut Reasons) -> CheckState {
        if self.ended_in_the_clear() {
            let detail = "the connection ended before anything was encrypted";
            reasons.add(ReasonCode::TlsHandshakeUnfinished, detail);
            return CheckState::NotApplicable;
        }
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
            // What native libraries the JVM has mapped besides is probed, and has nothing to do with this connection.
            Some(found) if is_java(found) => reasons.add(ReasonCode::JavaTlsUnsupported, JAVA),
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
            // A secret would not help.
            Some(_) if self.facts.joined_midstream || wire.tally.unreadable.is_some() => {}
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
}
