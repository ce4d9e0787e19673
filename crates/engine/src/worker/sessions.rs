//! Calls of which the kernel could not tell whose they are: nothing was moved at a socket within them.
//!
//! What is certain comes first: a later call of the session within which its connection was touched says whose those before it were. A
//! server that reads ahead has its client's first request in memory when the handshake ends; its answer goes to the socket. A program
//! that encrypts in memory never touches one. Then it is the connection that alone can be meant, of all that all workers have of that
//! process, once there was time for something better: a connection may not be known yet when the first of its calls comes, and the
//! only one that is known is then another.

use std::sync::Arc;
use std::time::Duration;

use qtap_capture::{ConnectionId, Data, KernelTime, Layer, Pid, Unattributed};

use super::Worker;
use crate::early::EarlyCalls;
use crate::hash::HashMap;
use crate::unbound::{SessionKey, Unbound};

/// Sessions of one worker whose connection was found.
const SESSIONS: usize = 4096;
/// How long a call waits for what is certain, if its connection does not end before: a connection is known within some milliseconds.
const CERTAIN: Duration = Duration::from_millis(50);

/// Sessions of TLS libraries of which the kernel could not tell the connection.
pub(super) struct Sessions {
    /// The number of the worker.
    number: u32,
    early: EarlyCalls,
    /// Those whose connection was found here.
    found: HashMap<SessionKey, ConnectionId>,
}

impl Sessions {
    pub(super) fn new(unbound: &Unbound) -> Self {
        Self {
            number: unbound.join(),
            early: EarlyCalls::default(),
            found: HashMap::default(),
        }
    }

    /// The connection is over.
    pub(super) fn forget(&mut self, id: ConnectionId, unbound: &Arc<Unbound>, now: KernelTime) {
        if self.found.is_empty() {
            return;
        }
        self.found.retain(|session, other| {
            if *other == id {
                unbound.end(*session, id, now);
            }
            *other != id
        });
    }
}

impl Worker {
    /// A call of a session.
    pub(super) fn unattributed(&mut self, call: Unattributed, now: KernelTime) {
        let mut known = self.known(&call);
        if known.is_none() && self.is_of_another_worker(&call) {
            return;
        }
        if known.is_none() && self.sessions.early.is_crowded() {
            // It may be told by this whose it is, as those before it are.
            self.guess(now, None, now);
            known = self.known(&call);
        }
        if let Some(id) = known {
            self.deliver(id, call, now);
        } else {
            let lost = self.sessions.early.keep(call, now);
            self.lose_calls(&lost);
        }
    }

    /// The connection of the call, if its session was found here.
    fn known(&self, call: &Unattributed) -> Option<ConnectionId> {
        let found = self.sessions.found.get(&call.key()).copied();
        found.filter(|id| self.could_have(*id, call))
    }

    /// `data` is about to come. If it tells whose calls before it were, those come first.
    pub(super) fn before(&mut self, data: &Data, now: KernelTime) {
        if let (Layer::Calls, false, Some(session)) =
            (data.layer, self.sessions.early.is_empty(), data.session)
        {
            let session = (data.pid, session.get());
            let calls = self.sessions.early.take(session);
            if !calls.is_empty() {
                self.find(session, data.id, now);
            }
            for call in calls {
                let early = Data {
                    id: data.id,
                    ..call.data
                };
                self.with(data.id, now, |connection, cx| connection.data(early, cx));
            }
        }
    }

    /// Settles what waited for something certain in vain, and drops what waits for too long.
    pub(super) fn settle_sessions(&mut self, now: KernelTime) {
        let wait = u64::try_from(CERTAIN.as_nanos()).unwrap_or(u64::MAX);
        self.guess(KernelTime(now.0.saturating_sub(wait)), None, now);
        let lost = self.sessions.early.expire(now);
        self.lose_calls(&lost);
    }

    /// The connection is about to end: nothing certain will come.
    pub(super) fn settle_at_end(&mut self, id: ConnectionId, now: KernelTime) {
        if self.sessions.early.is_empty() {
            return;
        }
        if let Some(pid) = self.connections.get(&id).and_then(|connection| connection.pid()) {
            self.guess(now, Some(pid), now);
        }
    }

    /// The agent is about to stop.
    pub(super) fn settle_at_stop(&mut self, now: KernelTime) {
        self.guess(now, None, now);
        let lost = self.sessions.early.take_all();
        self.lose_calls(&lost);
    }

    /// Gives the calls that came until `since`, of one process or all, to the connections that alone can have made them.
    fn guess(&mut self, since: KernelTime, of: Option<Pid>, now: KernelTime) {
        for session in self.sessions.early.sessions(since) {
            if of.is_some_and(|pid| pid != session.0) {
                continue;
            }
            let Some(call) = self.sessions.early.first(session) else {
                continue;
            };
            if self.is_of_another_worker(call) {
                self.sessions.early.take(session);
                continue;
            }
            let Some(id) = self.only_candidate(call) else {
                continue;
            };
            self.find(session, id, now);
            for call in self.sessions.early.take(session) {
                self.deliver(id, call, now);
            }
        }
    }

    /// The connection that alone can have made the call: it is read by calls and has no session yet.
    fn only_candidate(&self, call: &Unattributed) -> Option<ConnectionId> {
        // What a session reads in memory came from the socket before: a connection without bytes until then is another's.
        let read = self.sessions.early.first_read(call.key());
        let read = read.unwrap_or(KernelTime(u64::MAX));
        let candidates = self.shared.unbound.candidates(call.pid, read);
        // Of a connection on another worker it is not known here what it can have made.
        let may_have = |id: &ConnectionId| !self.connections.contains_key(id) || self.could_have(*id, call);
        let mut able = candidates.into_iter().filter(may_have);
        let only = able.next()?;
        (able.next().is_none() && self.connections.contains_key(&only)).then_some(only)
    }

    /// Whether the call can have been one of that connection. Where nobody tells when a session is freed, the next one at its address
    /// passes for it.
    fn could_have(&self, id: ConnectionId, call: &Unattributed) -> bool {
        self.connections.get(&id).is_some_and(|connection| {
            connection.lived_at(call.data.time) && connection.goes_on_with(&call.data)
        })
    }

    fn is_of_another_worker(&self, call: &Unattributed) -> bool {
        let found = self.shared.unbound.found(call.key(), call.data.time);
        found.is_some_and(|id| !self.connections.contains_key(&id))
    }

    fn find(&mut self, session: SessionKey, id: ConnectionId, now: KernelTime) {
        let found = &mut self.sessions.found;
        if found.len() < SESSIONS || found.contains_key(&session) {
            found.insert(session, id);
            self.shared.unbound.find(session, id, now);
        }
    }

    fn deliver(&mut self, id: ConnectionId, call: Unattributed, now: KernelTime) {
        let data = Data { id, ..call.data };
        self.with(id, now, |connection, cx| {
            connection.join_calls(&data);
            connection.data(data, cx)
        });
    }

    /// Counts calls whose connection was not found, here or elsewhere, and those of a session that was found here which cannot have been its
    /// connection's.
    fn lose_calls(&self, calls: &[Unattributed]) {
        let unbound = &self.shared.unbound;
        let lost = |call: &&Unattributed| match unbound.found(call.key(), call.data.time) {
            Some(id) => self.connections.contains_key(&id),
            None => unbound.counts(self.sessions.number, call.pid),
        };
        let bytes = |call: &Unattributed| call.data.bytes.len() as u64;
        self.shared
            .stats
            .lost_unattributed
            .add(calls.iter().filter(lost).map(bytes).sum());
    }
}
