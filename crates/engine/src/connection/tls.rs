//! TLS of a connection: where its plaintext comes from, and when that changes.

use qtap_capture::KernelTime;
use qtap_capture::{Pid, Verdict};
use qtap_protocol::Time;
use qtap_tls::{Secret, Session, Unreadable};

use super::search::Search;
use super::wire::{Reading, TlsWire, Wire};
use super::{Connection, log};
use crate::TlsFacts;
use crate::context::{Context, keep};
use crate::reassembly::Reassembler;
use crate::settings::{Settings, TlsMode};
use crate::unbound::Unbound;

/// Of a connection whose ciphertext is of no use and whose calls are not probed: nothing comes but what the kernel decrypts.
const UNREAD: Verdict = Verdict::CALLS_ONLY;

impl Connection {
    pub(super) fn begin_tls(&mut self, midstream: bool, cx: &mut Context<'_>) {
        if let Some(facts) = &mut self.facts {
            facts.tls.get_or_insert_with(TlsFacts::default);
        }
        if self.exclusion.tls {
            self.wire = Wire::Off;
            self.set_verdict(Verdict::COUNT_ONLY, cx);
            return;
        }
        let reading = match cx.settings.tls {
            TlsMode::Calls => Reading::Calls,
            TlsMode::Secrets => Reading::Secrets,
            TlsMode::Auto if midstream => Reading::Calls,
            TlsMode::Auto => Reading::Secrets,
        };
        let mut session = Session::new(qtap_tls::Limits::default(), midstream);
        if cx.settings.export_secrets {
            session.export_secrets();
        }
        let searches = midstream && self.may_search(cx);
        if searches {
            session.await_found();
        }
        let mut tls = Box::new(TlsWire::new(session, reading));
        tls.search = searches.then(Search::default);
        self.wire = Wire::Tls(tls);
        if midstream {
            self.app.restart(true, self.facts.as_deref_mut(), cx);
        }
        if reading == Reading::Calls {
            self.read_calls(midstream, cx);
        }
    }

    /// Calls the session, which tells its events to a list, and works these off.
    pub(super) fn with_session<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Session, &mut Vec<qtap_tls::Event>) -> T,
    ) -> Option<T> {
        let Wire::Tls(tls) = &mut self.wire else {
            return None;
        };
        let mut events = std::mem::take(&mut cx.scratch.tls);
        let result = call(&mut tls.session, &mut events);
        self.tls_events(&mut events, cx);
        keep(&mut cx.scratch.tls, events);
        Some(result)
    }

    fn tls_events(&mut self, events: &mut Vec<qtap_tls::Event>, cx: &mut Context<'_>) {
        let (Wire::Tls(tls), Some(facts)) = (&mut self.wire, &mut self.facts) else {
            return;
        };
        let plain = std::mem::take(&mut cx.scratch.plain);
        let mut output = tls.digest(events.drain(..), plain, facts, cx.now);
        for own in &output.own {
            cx.host.own_secret(own);
        }
        if output.hello {
            log::hello(facts);
        }
        if output.joined {
            self.joined(cx);
        }
        let Wire::Tls(tls) = &mut self.wire else { return };
        if output.newly_bound
            && let Some(origin) = tls.session.take_proven()
            && let Some(pid) = self.last_pid
        {
            cx.host.origin_proved(pid, origin);
        }
        if output.newly_bound && self.verdict == Verdict::STREAM {
            self.set_verdict(
                Verdict {
                    calls: false,
                    ..Verdict::STREAM
                },
                cx,
            );
        }
        for (side, piece, time) in output.plain.drain(..) {
            self.app_piece(side, piece, time, cx);
        }
        keep(&mut cx.scratch.plain, output.plain);
        for (side, time) in output.ended {
            self.app_eof(side, time, cx);
        }
        if let Some(reason) = output.unreadable {
            self.unreadable(reason, cx);
        }
        if output.hello {
            self.stop_raw_after_hello(cx);
        }
    }

    /// Decryption cannot work: the calls may.
    pub(super) fn unreadable(&mut self, reason: Unreadable, cx: &mut Context<'_>) {
        if matches!(&self.wire, Wire::Tls(tls) if tls.reading == Reading::Calls) {
            // Ciphertext was of use for the hellos only, and is no more.
            self.set_verdict(Verdict::CALLS_ONLY, cx);
            return;
        }
        cx.stats.tls_unreadable.add(1);
        if reason == Unreadable::NotTls {
            self.set_verdict(Verdict::COUNT_ONLY, cx);
            self.wire = Wire::Off;
            return;
        }
        match cx.settings.tls {
            TlsMode::Secrets => self.set_verdict(UNREAD, cx),
            TlsMode::Auto | TlsMode::Calls => {
                let late = !self.calls_were_probed(cx);
                self.read_calls(late, cx);
            }
        }
    }

    /// Whether the calls of its process were already probed for others when it opened, so that none of its own was missed.
    fn calls_were_probed(&self, cx: &Context<'_>) -> bool {
        let since = self.last_pid.and_then(|pid| cx.host.tls(pid)?.calls_since);
        matches!((since, &self.opened), (Some(since), Some(opened)) if since <= opened.time && !opened.midstream)
    }

    /// Takes the plaintext from the library's calls from here on. `late`: bytes may have passed already.
    pub(super) fn read_calls(&mut self, late: bool, cx: &mut Context<'_>) {
        if let Wire::Tls(tls) = &mut self.wire {
            tls.reading = Reading::Calls;
            tls.waiting_since = None;
            if late {
                self.tally.calls_late = true;
                self.app.restart(true, self.facts.as_deref_mut(), cx);
            }
        }
        if let Some(pid) = self.last_pid {
            self.want_calls(pid, cx);
        }
        self.stop_raw_after_hello(cx);
    }

    /// When calls give the plaintext, ciphertext is of use only for the hellos.
    pub(super) fn stop_raw_after_hello(&mut self, cx: &mut Context<'_>) {
        let hellos = self.facts.as_ref().and_then(|facts| facts.tls.as_ref());
        let seen = hellos.is_some_and(|tls| tls.client_hello && tls.server_hello);
        let midstream = self.facts.as_ref().is_some_and(|facts| facts.joined_midstream);
        if let Wire::Tls(tls) = &self.wire
            && tls.reading == Reading::Calls
            && tls.search.is_none()
            && (seen || midstream || tls.tally.unreadable.is_some())
        {
            self.set_verdict(Verdict::CALLS_ONLY, cx);
        }
    }

    pub(super) fn want_calls(&mut self, pid: Pid, cx: &Context<'_>) {
        if self.needs_calls.is_none() && cx.settings.tls != TlsMode::Secrets {
            self.needs_calls = Some(pid);
            cx.host.need_calls(pid);
        }
    }

    /// Ciphertext that waited long enough for its secret: gives up decryption and turns to the calls.
    pub(super) fn check_secret(&mut self, cx: &mut Context<'_>) {
        self.search_for_missed(cx);
        if matches!(&self.wire, Wire::Tls(tls) if tls.is_overdue(cx.now, cx.settings)) {
            self.give_up_secret(cx);
        }
    }

    /// Gives up ciphertext that waits for a secret, if any does, and turns to the calls.
    pub(super) fn give_up_secret(&mut self, cx: &mut Context<'_>) {
        if self.is_searching() {
            self.give_up_search(cx);
            return;
        }
        let Wire::Tls(tls) = &mut self.wire else { return };
        if tls.waiting_since.is_none() || tls.reading == Reading::Calls {
            return;
        }
        tls.tally.secret_missing = true;
        self.judge_origins(cx);
        cx.stats.tls_unreadable.add(1);
        let now = Time(cx.now.0);
        self.with_session(cx, |session, events| session.give_up(now, events));
        match cx.settings.tls {
            TlsMode::Secrets => self.set_verdict(UNREAD, cx),
            TlsMode::Auto | TlsMode::Calls => self.read_calls(true, cx),
        }
    }

    /// Tells of the functions whose secrets should have opened its first records and did not. To be called before they are given up.
    pub(super) fn judge_origins(&mut self, cx: &Context<'_>) {
        let (Wire::Tls(tls), Some(pid)) = (&mut self.wire, self.last_pid) else {
            return;
        };
        if tls.reading == Reading::Secrets && tls.waiting_since.is_some() {
            for (origin, is_certain) in tls.failed_origins() {
                cx.host.origin_failed(pid, origin, is_certain);
            }
        }
    }

    /// A secret of its process; `is_meant`: by the thread that derived it, it is most likely this connection's. Tells whether it is
    /// its own, or that of a tunnel in it.
    pub(crate) fn offer(&mut self, secret: &Secret, is_meant: bool, cx: &mut Context<'_>) -> bool {
        self.offer_to_wire(secret, is_meant, cx) || self.app.offer(secret, cx)
    }

    fn offer_to_wire(&mut self, secret: &Secret, is_meant: bool, cx: &mut Context<'_>) -> bool {
        let Wire::Tls(tls) = &mut self.wire else {
            return false;
        };
        if tls.reading != Reading::Secrets && !tls.session.seeks_export() {
            return false;
        }
        if is_meant {
            tls.note_meant(secret);
        }
        let own = self.with_session(cx, |session, events| session.offer(secret, events));
        own.unwrap_or_default()
    }

    /// Whether it has waited for half of the time allowed for a secret, or is over: unlikely ones are worth a trial.
    pub(crate) fn waits_in_vain(&self, now: KernelTime, settings: &Settings) -> bool {
        if self.is_over {
            return false;
        }
        let is_over = self.closing.is_some();
        let waits = matches!(&self.wire, Wire::Tls(tls) if tls.waits_in_vain(now, settings)
            || is_over && tls.reading == Reading::Secrets && tls.waiting_since.is_some());
        waits || (is_over && self.app.is_waiting()) || self.app.waits_in_vain(now, settings)
    }

    /// Whether a secret may still be wanted.
    pub(crate) fn wants_secrets(&self) -> bool {
        if self.is_over {
            return false;
        }
        let Wire::Tls(tls) = &self.wire else {
            return self.app.seeks_secrets();
        };
        (tls.reading == Reading::Secrets && tls.tally.unreadable.is_none())
            || tls.session.seeks_export()
            || self.app.seeks_secrets()
    }

    /// Whether TLS inside of a tunnel waits for its secrets, which the connection may have been offered before there was anything to
    /// try them on.
    pub(crate) fn seeks_inside(&self) -> bool {
        self.app.is_waiting()
    }

    /// Whether the secrets that wait in the pool are worth a trial after bytes of it: until it has all it can ever need, and
    /// once more to claim those it has.
    pub(crate) fn seeks_secrets(&mut self) -> bool {
        let settled = matches!(&self.wire, Wire::Tls(tls) if tls.session.is_settled());
        let was_settled = std::mem::replace(&mut self.settled, settled);
        self.wants_secrets() && (!(settled && was_settled) || self.app.seeks_secrets())
    }

    /// Whether its plaintext is looked for in calls.
    pub(super) fn wants_calls(&self) -> bool {
        self.facts.is_some() && matches!(&self.wire, Wire::Tls(tls) if tls.reading == Reading::Calls)
    }

    /// Lists it as one that calls without a connection may be of, as long as it is.
    pub(crate) fn list_unbound(&mut self, unbound: &Unbound) {
        let is_untouched = |stream: &Reassembler| stream.position() == 0 && !stream.is_waiting();
        let is_unbound = self.wants_calls() && self.closing.is_none() && self.calls.iter().all(is_untouched);
        let pid = self.last_pid.filter(|_| is_unbound);
        if pid == self.unbound {
            return;
        }
        self.unlist_unbound(unbound);
        if let Some(pid) = pid {
            unbound.enter(pid, self.id, self.first_bytes.unwrap_or_default());
            self.unbound = Some(pid);
        }
    }

    /// It is over.
    pub(crate) fn unlist_unbound(&mut self, unbound: &Unbound) {
        if let Some(pid) = self.unbound.take() {
            unbound.leave(pid, self.id);
        }
    }
}
