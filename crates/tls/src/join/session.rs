//! The part of a session that joins in.

use super::{FoundSecrets, Hit, Joined, Partner};
use crate::session::Session;
use crate::suite::Protocol;
use crate::{Event, Side, Time, Unreadable};

/// What is joined is TLS 1.3.
const VERSION: u16 = 0x0304;

impl Session {
    /// Of a session in mid-stream: secrets may be found ([`Session::join`]), so that bytes are kept for them, as many as may wait.
    pub fn await_found(&mut self) {
        self.may_join = self.midstream && self.shared.unreadable.is_none();
    }

    /// Whether found secrets are of use, or will be when bytes have come.
    #[must_use]
    pub fn awaits_found(&self) -> bool {
        self.may_join || self.client.joining.is_some() || self.server.joining.is_some()
    }

    /// Whether something has come that a found secret can be tried on.
    #[must_use]
    pub fn wants_found(&self) -> bool {
        [&self.client, &self.server]
            .iter()
            .any(|flow| flow.joining.as_ref().is_some_and(|joining| joining.saw_record()))
    }

    /// Whether trials of found secrets ended at a bound: one of those may be its own all the same.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        [&self.client, &self.server]
            .iter()
            .any(|flow| flow.joining.as_ref().is_some_and(|joining| joining.is_cut()))
    }

    /// Whether it was joined by a found secret in one direction at least.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Tries secrets that were found on what has come, for some milliseconds.
    pub fn join(&mut self, found: &FoundSecrets, time: Time, out: &mut Vec<Event>) -> Joined {
        let mut outcomes = [Joined::Yes; 2];
        // The first once more, with what the second has told.
        for side in [Side::Client, Side::Server, Side::Client] {
            let partner = self.partner;
            let flow = self.flow(side);
            let outcome = match flow.try_found(found, partner) {
                Ok(hit) => {
                    self.take_hit(side, hit, time, out);
                    Joined::Yes
                }
                Err(outcome) => outcome,
            };
            if let Some(place) = outcomes.get_mut(side.index()) {
                *place = outcome;
            }
        }
        self.forget_secrets();
        outcomes.into_iter().max().unwrap_or(Joined::Yes)
    }

    fn take_hit(&mut self, side: Side, hit: Hit, time: Time, out: &mut Vec<Event>) {
        let is_first = !self.is_joined;
        if is_first {
            self.is_joined = true;
            self.shared.handshake.joined(hit.suite);
            self.partner = Partner {
                suite: Some(hit.suite),
                group: Some(hit.group),
            };
            out.push(Event::Joined {
                version: VERSION,
                cipher_suite: hit.suite_id,
                time,
            });
        }
        self.flow(side).join(hit);
        if is_first {
            for flow in [&mut self.client, &mut self.server] {
                flow.retry_found();
            }
        }
        self.shared.generation += 1;
        self.advance(time, out);
    }

    /// No secret will be found: what waits for one is given up, or, where the handshake was seen, goes on waiting for one that comes
    /// otherwise. A direction of a session that was joined in the other one goes on waiting for others.
    pub fn give_up_found(&mut self, time: Time, out: &mut Vec<Event>) {
        self.may_join = false;
        if self.shared.unreadable.is_some() {
            return;
        }
        if !self.is_joined {
            if self.partner.suite.is_none() {
                self.fail(Unreadable::NoHandshake, time, out);
                return;
            }
            for flow in [&mut self.client, &mut self.server] {
                flow.end_joining();
            }
            self.shared.generation += 1;
            self.advance(time, out);
            return;
        }
        for flow in [&mut self.client, &mut self.server] {
            if flow.joining.is_some() {
                while flow.drop_front(&mut self.shared, out) {}
                flow.retry_found();
            }
        }
    }

    /// The handshake went by unseen: both directions wait for secrets that are found.
    pub(crate) fn begin_joining(&mut self, time: Time) {
        self.may_join = false;
        self.midstream = false;
        let work = self.limits.found_work;
        for flow in [&mut self.client, &mut self.server] {
            flow.begin_joining(work, true, time);
        }
    }

    /// The handshake was seen, and its secrets were not: what waits for them may be opened by secrets that are found. Tells whether that is so.
    pub fn seek_found(&mut self, time: Time) -> bool {
        let suite = self.shared.handshake.suite();
        let is_tls13 = suite.is_some_and(|suite| suite.protocol == Protocol::Tls13);
        if !is_tls13 || self.shared.unreadable.is_some() || !self.is_waiting() {
            return false;
        }
        self.partner.suite = suite;
        let work = self.limits.found_work;
        for flow in [&mut self.client, &mut self.server] {
            if !flow.is_final() && flow.joining.is_none() {
                flow.begin_joining(work, false, time);
            }
        }
        true
    }
}
