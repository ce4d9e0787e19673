//! A connection in the account of its process.

use qtap_capture::{Closed, Direction, Loss, Verdict};
use qtap_tls::Unreadable;

use super::wire::{Reading as Source, TlsWire, Wire};
use super::{Connection, index, side_of};
use crate::account::{Entry, ProcessKey, Reading};
use crate::context::Context;
use crate::reassembly::Reassembler;
use crate::{HealthStatus, KeyOutcome, TlsSource};

/// Bytes of a record that are not the application's: header, nonce, content type, tag (at most).
const RECORD_OVERHEAD: u64 = 5 + 24;

/// Bytes of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    wire: [u64; 2],
    unread: u64,
    unwanted: u64,
}

impl Connection {
    /// What goes into the account of its process. `position`: how far the kernel side is, if the connection is open. `None` while
    /// nothing is known but its number.
    pub(crate) fn entry(&self, position: Option<[u64; 2]>, cx: &Context<'_>) -> Option<Entry> {
        let opened = self.opened.as_ref()?;
        let facts = self.facts.as_deref();
        let process = facts.and_then(|facts| facts.process.clone());
        let key = process.as_ref().map_or(
            ProcessKey {
                pid: opened.pid,
                start_ns: 0,
            },
            |process| ProcessKey::of(process),
        );
        let left_out = self.exclusion.whole || self.exclusion.data || self.exclusion.tls;
        let is_tls = facts.is_some_and(|facts| facts.tls.is_some());
        let closed = self.closing.as_ref().map(|(closed, _)| closed);
        let bytes = match (left_out, facts.is_some()) {
            (false, true) => self.bytes_on_the_wire(closed, position),
            _ => Bytes::default(),
        };
        let mut entry = Entry {
            key,
            process,
            reading: self.reading(left_out, bytes, closed),
            is_tls,
            is_quic: false,
            wire: bytes.wire,
            plaintext: self.plaintext(),
            unread: bytes.unread,
            unwanted: bytes.unwanted,
            status: None,
            reasons: Vec::new(),
        };
        if entry.reading == Reading::Unused {
            // What nobody used has nothing wrong with it.
            return Some(entry);
        }
        let health = match &self.judged {
            Some(health) => Some((**health).clone()),
            None if self.exclusion.whole => None,
            None => {
                let tls = self.pid().and_then(|pid| cx.host.tls(pid));
                self.judge(closed, tls.as_ref(), cx)
            }
        };
        entry.status = match health {
            Some(health) => {
                entry.reasons = health.reasons;
                Some(health.status)
            }
            None => self.exclusion.whole.then_some(HealthStatus::Ignored),
        };
        Some(entry)
    }

    fn reading(&self, left_out: bool, bytes: Bytes, closed: Option<&Closed>) -> Reading {
        if left_out {
            return Reading::Excluded;
        }
        if bytes.wire == [0; 2] {
            return Reading::Unused;
        }
        match &self.wire {
            Wire::Plain => Reading::Plain,
            Wire::Sniffing(_) => Reading::Pending,
            Wire::Off if self.app.off.is_some() => Reading::Plain,
            Wire::Off => Reading::Unread,
            Wire::Tls(tls) => match self.tls_source() {
                Some(TlsSource::Secrets) => Reading::Secrets,
                Some(TlsSource::Calls) => Reading::Calls,
                Some(TlsSource::Kernel) => Reading::Kernel,
                None if closed.is_some() || has_failed(tls) => Reading::Unread,
                None => Reading::Pending,
            },
        }
    }

    fn tls_source(&self) -> Option<TlsSource> {
        self.facts.as_deref()?.tls.as_ref()?.source
    }

    /// Plaintext by direction.
    fn plaintext(&self) -> [u64; 2] {
        let Some(facts) = self.facts.as_deref() else {
            return [0; 2];
        };
        [Direction::Egress, Direction::Ingress].map(|direction| {
            let side = side_of(facts.role, direction);
            self.tally
                .plaintext
                .get(side.index())
                .copied()
                .unwrap_or_default()
        })
    }

    fn bytes_on_the_wire(&self, closed: Option<&Closed>, position: Option<[u64; 2]>) -> Bytes {
        let own = [Direction::Egress, Direction::Ingress]
            .map(|direction| self.socket.get(index(direction)).map_or(0, Reassembler::position));
        // Of what is not copied only the kernel side knows how much it is; of what is, it is ahead of us.
        let is_hidden = self.verdict.stream_until == Verdict::COUNT_ONLY.stream_until;
        let (wire, unseen) = match (closed, position) {
            (Some(closed), _) => {
                let seen = [closed.written, closed.read];
                let received = closed.kernel_received.saturating_sub(closed.unread);
                let wire = [closed.kernel_sent.max(seen[0]), received.max(seen[1])];
                (wire, wire.iter().sum::<u64>() - seen.iter().sum::<u64>())
            }
            (None, Some(position)) if is_hidden => ([own[0].max(position[0]), own[1].max(position[1])], 0),
            (None, _) => (own, 0),
        };
        let total: u64 = wire.iter().sum();
        let not_copied = self.tally.lost(Loss::Skipped) + total - own.iter().sum::<u64>().min(total) - unseen;
        let is_off = self.app.off.is_some();
        let (unread, unwanted) = match &self.wire {
            Wire::Plain | Wire::Sniffing(_) => (self.tally.gap_bytes() + unseen, not_copied),
            Wire::Off if is_off => (self.tally.gap_bytes() + unseen, not_copied),
            Wire::Off => (total.saturating_sub(self.tally.plaintext.iter().sum()), 0),
            Wire::Tls(tls) => {
                let read = tls.session.read_bytes() + self.tally.before_tls;
                match self.tls_source() {
                    Some(TlsSource::Calls) => (self.tally.calls_base + self.tally.calls_gap(), 0),
                    Some(TlsSource::Kernel) => {
                        let sealed = tls.tally.no_secret_bytes + tls.tally.unauthenticated_bytes;
                        (self.tally.gap_bytes() + self.tally.calls_gap() + sealed, 0)
                    }
                    _ if is_off => {
                        let held = tls.session.buffered() as u64;
                        (total.saturating_sub(read + held + not_copied), not_copied)
                    }
                    _ => (total.saturating_sub(read + tls.session.buffered() as u64), 0),
                }
            }
        };
        Bytes {
            wire,
            unread: unread.min(total),
            unwanted: unwanted.min(total - unread.min(total)),
        }
    }

    /// The first plaintext of a call came, `length` bytes: what passed before and was not decrypted is not read. Nothing is when
    /// the calls were probed from the beginning.
    pub(super) fn note_first_call(&mut self, length: u64) {
        let is_first = self.tls_source() != Some(TlsSource::Calls);
        let midstream = self.facts.as_deref().is_some_and(|facts| facts.joined_midstream);
        if !is_first || !(self.tally.calls_late || midstream) {
            return;
        }
        let Wire::Tls(tls) = &self.wire else { return };
        let passed: u64 = self.socket.iter().map(Reassembler::position).sum();
        let its_record = length + RECORD_OVERHEAD;
        self.tally.calls_base =
            passed.saturating_sub(tls.session.read_bytes() + self.tally.before_tls + its_record);
    }

    /// Tells the key log what became of its keys, when it is over.
    pub(crate) fn tell_of_keys(&self, cx: &Context<'_>) {
        if !cx.settings.export_secrets {
            return;
        }
        let (Wire::Tls(tls), Some(facts)) = (&self.wire, self.facts.as_deref()) else {
            return;
        };
        let outcome = if tls.session.has_exported() {
            KeyOutcome::Told
        } else if facts.joined_midstream {
            KeyOutcome::Midstream
        } else if matches!(tls.tally.unreadable, Some(Unreadable::CipherSuite(_))) {
            KeyOutcome::Unproven
        } else if tls.reading == Source::Calls {
            KeyOutcome::Calls
        } else {
            KeyOutcome::NoSecret
        };
        cx.host.keys_of_connection(outcome);
    }
}

/// Payload passed and nothing of it could be read.
fn has_failed(tls: &TlsWire) -> bool {
    let tally = &tls.tally;
    tally.secret_missing
        || tally.no_secret_bytes > 0
        || tally.unreadable.is_some()
        || tls.reading == Source::Calls
}
