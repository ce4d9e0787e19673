//! What all workers know of the sessions of TLS libraries whose connection the kernel could not tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use qtap_capture::{ConnectionId, KernelTime, Pid};

/// A TLS session of a process.
pub(crate) type SessionKey = (Pid, u64);

/// Of more connections of a process nobody tries to tell which a session is of.
const CANDIDATES: usize = 16;
/// Sessions found.
const FOUND: usize = 1 << 14;
/// How long one is remembered after its connection: longer than a call waits.
const REMEMBERED_NS: u64 = 5_000_000_000;

/// Connections that are read by calls and have no session yet, and sessions that were found to be of one. Connections of one process
/// lie on several workers, and each of them sees every call of which the kernel could not tell whose it is: what one worker has or
/// finds, the others must not take for their own. Asked and told once or twice for each connection that is read by calls.
#[derive(Debug, Default)]
pub struct Unbound(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    workers: u32,
    /// Each with the time of its first bytes.
    connections: HashMap<Pid, BTreeMap<ConnectionId, KernelTime>>,
    found: HashMap<SessionKey, Found>,
}

#[derive(Debug)]
struct Found {
    connection: ConnectionId,
    /// When the worker let go of the connection.
    ended: Option<KernelTime>,
}

impl Unbound {
    /// One more worker; returns its number.
    pub(crate) fn join(&self) -> u32 {
        let mut table = self.lock();
        table.workers += 1;
        table.workers - 1
    }

    /// Whether it falls to the worker of this `number` to count what is lost of `pid`.
    pub(crate) fn counts(&self, number: u32, pid: Pid) -> bool {
        pid.0.checked_rem(self.lock().workers) == Some(number)
    }

    /// The connection, of which bytes were seen `since`, has no session yet.
    pub(crate) fn enter(&self, pid: Pid, id: ConnectionId, since: KernelTime) {
        self.lock().connections.entry(pid).or_default().insert(id, since);
    }

    /// It has one, or is over.
    pub(crate) fn leave(&self, pid: Pid, id: ConnectionId) {
        let mut table = self.lock();
        if let Some(ids) = table.connections.get_mut(&pid) {
            ids.remove(&id);
            if ids.is_empty() {
                table.connections.remove(&pid);
            }
        }
    }

    /// The connections of `pid` without a session of which bytes had been seen by `time`; none if there are many without one.
    pub(crate) fn candidates(&self, pid: Pid, time: KernelTime) -> Vec<ConnectionId> {
        let table = self.lock();
        let ids = (table.connections.get(&pid)).filter(|ids| ids.len() <= CANDIDATES);
        let seen = ids.into_iter().flatten().filter(|(_, since)| **since <= time);
        seen.map(|(id, _)| *id).collect()
    }

    /// The session is one of `id`. Forgets some that are over where there are many; of more, nothing is remembered.
    pub(crate) fn find(&self, session: SessionKey, id: ConnectionId, now: KernelTime) {
        let mut table = self.lock();
        if table.found.len() >= FOUND {
            (table.found).retain(|_, found| {
                found
                    .ended
                    .is_none_or(|end| end.0.saturating_add(REMEMBERED_NS) > now.0)
            });
        }
        if table.found.len() < FOUND {
            let found = Found {
                connection: id,
                ended: None,
            };
            table.found.insert(session, found);
        }
    }

    /// The connection of a call that was made at `time`, if its session was found.
    pub(crate) fn found(&self, session: SessionKey, time: KernelTime) -> Option<ConnectionId> {
        let table = self.lock();
        let found = table.found.get(&session)?;
        // Where nobody tells when a session is freed the next one at its address passes for it.
        found
            .ended
            .is_none_or(|end| time <= end)
            .then_some(found.connection)
    }

    /// The connection of the session is over.
    pub(crate) fn end(&self, session: SessionKey, id: ConnectionId, now: KernelTime) {
        if let Some(found) = self.lock().found.get_mut(&session)
            && found.connection == id
        {
            found.ended = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: Pid = Pid(7);

    #[test]
    fn connections_without_a_session_are_those_of_all_workers() {
        let unbound = Unbound::default();
        let (early, late) = (KernelTime(10), KernelTime(20));
        unbound.enter(PID, ConnectionId(1), early);
        unbound.enter(PID, ConnectionId(2), late);
        unbound.enter(Pid(8), ConnectionId(3), early);
        assert_eq!(unbound.candidates(PID, late), [ConnectionId(1), ConnectionId(2)]);
        assert_eq!(unbound.candidates(PID, KernelTime(19)), [ConnectionId(1)]);
        unbound.leave(PID, ConnectionId(1));
        unbound.leave(PID, ConnectionId(2));
        assert!(unbound.candidates(PID, late).is_empty());
        assert_eq!(unbound.lock().connections.len(), 1);
        for id in 0..=CANDIDATES as u64 {
            unbound.enter(PID, ConnectionId(id), early);
        }
        assert!(unbound.candidates(PID, late).is_empty(), "too many to tell");
    }

    #[test]
    fn a_session_is_its_connections_until_that_is_over() {
        let unbound = Unbound::default();
        unbound.find((PID, 5), ConnectionId(1), KernelTime(10));
        assert_eq!(unbound.found((PID, 5), KernelTime(20)), Some(ConnectionId(1)));
        unbound.end((PID, 5), ConnectionId(2), KernelTime(20));
        unbound.end((PID, 5), ConnectionId(1), KernelTime(30));
        assert_eq!(unbound.found((PID, 5), KernelTime(30)), Some(ConnectionId(1)));
        assert_eq!(unbound.found((PID, 5), KernelTime(31)), None);
        assert_eq!(unbound.found((PID, 6), KernelTime(10)), None);
    }

    #[test]
    fn sessions_that_are_over_make_room() {
        let unbound = Unbound::default();
        for session in 0..=FOUND as u64 {
            unbound.find((PID, session), ConnectionId(session), KernelTime(1));
            unbound.end((PID, session), ConnectionId(session), KernelTime(1));
        }
        assert_eq!(unbound.lock().found.len(), FOUND);
        unbound.find((PID, u64::MAX), ConnectionId(1), KernelTime(2 + REMEMBERED_NS));
        assert_eq!(unbound.lock().found.len(), 1);
    }

    #[test]
    fn one_worker_counts_what_all_of_them_lose() {
        let unbound = Unbound::default();
        let workers = [unbound.join(), unbound.join(), unbound.join()];
        for pid in 1..20 {
            let counting = workers.iter().filter(|number| unbound.counts(**number, Pid(pid)));
            assert_eq!(counting.count(), 1);
        }
    }
}
