//! A connection of TLS whose handshake was not seen, or whose secrets were not: they may be in the memory of its process.
//!
//! Its bytes are kept meanwhile, within the bounds of a session. In mid-stream its calls are looked for as well, and whichever comes first is how
//! it is read.

use std::time::Duration;

use qtap_capture::KernelTime;
use qtap_protocol::Time;
use qtap_tls::{Joined, Session};

use super::wire::{Reading, Wire};
use super::{Connection, after};
use crate::context::Context;
use crate::host::MemorySearch;
use crate::settings::TlsMode;

/// Time between two looks at what a search found.
const LOOK: Duration = Duration::from_millis(20);
/// How long what one direction is read by is not looked for in the other after it was not found.
const PAUSE: Duration = Duration::from_secs(60);
/// Searches whose secrets are tried on what waits: the first may be older than what it is tried on.
const SEARCHES: u8 = 2;

/// The wait for secrets that are found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Since when something waits that they can be tried on.
    since: Option<KernelTime>,
    /// The last one whose secrets opened nothing, and how many did not.
    tried: Option<u64>,
    tries: u8,
    /// When to look next.
    next: KernelTime,
}

impl Search {
    /// When it is to be looked at.
    pub(super) fn due(&self, session: &Session) -> Option<KernelTime> {
        session.wants_found().then_some(self.next)
    }
}

impl Connection {
    /// Whether secrets of a connection that was joined in mid-stream may be searched for.
    pub(super) fn may_search(&self, cx: &Context<'_>) -> bool {
        let Some(pid) = self.last_pid else { return false };
        cx.settings.tls != TlsMode::Calls && cx.host.may_search_memory(pid)
    }

    /// Whether it waits for secrets that are found.
    pub(super) fn is_searching(&self) -> bool {
        matches!(&self.wire, Wire::Tls(tls) if tls.search.is_some() && tls.session.wants_found())
    }

    /// Half of the wait for a secret of a handshake that was seen is over: its library was probed too late. Searches for it, once.
    pub(super) fn search_for_missed(&mut self, cx: &mut Context<'_>) {
        let Wire::Tls(tls) = &self.wire else { return };
        if tls.was_searched || self.closing.is_some() || !tls.waits_in_vain(cx.now, cx.settings) {
            return;
        }
        // Where nothing is known of the process, its calls may be all there is.
        let is_known = self.last_pid.is_some_and(|pid| cx.host.tls(pid).is_some());
        let may_search = is_known && self.may_search(cx);
        let Wire::Tls(tls) = &mut self.wire else { return };
        tls.was_searched = true;
        if may_search && tls.session.seek_found(Time(cx.now.0)) {
            tls.search = Some(Search::default());
            self.look_for_secrets(cx);
        }
    }

    /// Tries what a search found, if there is something to try it on.
    pub(super) fn look_for_secrets(&mut self, cx: &mut Context<'_>) {
        let (Wire::Tls(tls), Some(pid)) = (&mut self.wire, self.last_pid) else {
            return;
        };
        let Some(search) = &mut tls.search else { return };
        if !tls.session.awaits_found() {
            tls.search = None;
            return;
        }
        if !tls.session.wants_found() || cx.now < search.next {
            return;
        }
        let since = *search.since.get_or_insert(cx.now);
        search.next = after(cx.now, LOOK);
        let is_over = after(since, cx.settings.memory_wait) <= cx.now;
        match cx.host.search_memory(pid, search.tried) {
            MemorySearch::Impossible => self.give_up_search(cx),
            MemorySearch::Pending if is_over => {
                cx.stats.memory_late.add(1);
                self.give_up_search(cx);
            }
            MemorySearch::Pending => {}
            MemorySearch::Found(found) => {
                let now = Time(cx.now.0);
                let joined = self.with_session(cx, |session, events| session.join(&found, now, events));
                self.after_trials(found.id, joined.unwrap_or(Joined::No), is_over, cx);
            }
        }
    }

    fn after_trials(&mut self, id: u64, joined: Joined, is_over: bool, cx: &mut Context<'_>) {
        let Wire::Tls(tls) = &mut self.wire else { return };
        let Some(search) = &mut tls.search else { return };
        match joined {
            Joined::Yes => {
                cx.stats.memory_joined.add(1);
                tls.search = None;
            }
            Joined::Unfinished if !is_over => search.next = cx.now,
            // What has come in one direction opened, and in the other nothing has come.
            Joined::No if !tls.session.wants_found() => search.since = None,
            Joined::No | Joined::Unfinished => {
                search.tries = search.tries.saturating_add(1);
                search.tried = Some(id);
                if search.tries >= SEARCHES || is_over {
                    cx.stats.memory_unmatched.add(1);
                    cx.stats.memory_cut.add(u64::from(tls.session.was_cut()));
                    self.give_up_search(cx);
                }
            }
        }
    }

    /// None is found: what waits is given up.
    pub(super) fn give_up_search(&mut self, cx: &mut Context<'_>) {
        let Wire::Tls(tls) = &mut self.wire else { return };
        let Some(search) = &mut tls.search else { return };
        if tls.session.is_joined() {
            tls.tally.secret_missing = true;
            *search = Search {
                next: after(cx.now, PAUSE),
                ..Search::default()
            };
        } else {
            tls.search = None;
        }
        let now = Time(cx.now.0);
        self.with_session(cx, |session, events| session.give_up_found(now, events));
        self.check_secret(cx);
    }

    /// A secret was found: its calls are of no use.
    pub(super) fn joined(&mut self, cx: &Context<'_>) {
        self.tally.calls_late = false;
        if let Wire::Tls(tls) = &mut self.wire {
            tls.reading = Reading::Secrets;
        }
        if let Some(pid) = self.needs_calls.take() {
            cx.host.calls_done(pid);
        }
    }
}
