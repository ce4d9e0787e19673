//! Calls that came before anything told whose they are.
//!
//! A program that encrypts in memory writes its request into the library first and the ciphertext to the socket after; where the
//! connection is older than the agent, only that ciphertext tells that it is TLS and read by calls.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use qtap_capture::{Direction, KernelTime, Unattributed};

use crate::unbound::SessionKey;

/// Calls kept.
const CALLS: usize = 1024;
/// Bytes of theirs kept.
const BYTES: usize = 1024 * 1024;
/// How long one is kept: the ciphertext follows at once.
const WAIT: Duration = Duration::from_secs(2);

/// Calls that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EarlyCalls {
    waiting: VecDeque<(KernelTime, Unattributed)>,
    bytes: usize,
}

impl EarlyCalls {
    /// Keeps a call; returns those that had to go for it.
    pub(crate) fn keep(&mut self, call: Unattributed, now: KernelTime) -> Vec<Unattributed> {
        self.bytes += call.data.bytes.len();
        self.waiting.push_back((now, call));
        let mut lost = Vec::new();
        while self.waiting.len() > CALLS || self.bytes > BYTES {
            lost.extend(self.drop_oldest());
        }
        lost
    }

    /// Drops and returns what has waited too long.
    pub(crate) fn expire(&mut self, now: KernelTime) -> Vec<Unattributed> {
        let wait = u64::try_from(WAIT.as_nanos()).unwrap_or(u64::MAX);
        let mut lost = Vec::new();
        while (self.waiting.front()).is_some_and(|(since, _)| since.0.saturating_add(wait) < now.0) {
            lost.extend(self.drop_oldest());
        }
        lost
    }

    /// Whether no call waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether half of the room is taken.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting.len() > CALLS / 2 || self.bytes > BYTES / 2
    }

    /// The sessions with calls that came until `until`, in their order.
    pub(crate) fn sessions(&self, until: KernelTime) -> Vec<SessionKey> {
        let mut seen = HashSet::new();
        let old = (self.waiting.iter()).take_while(|(since, _)| *since <= until);
        old.map(|(_, call)| call.key())
            .filter(|session| seen.insert(*session))
            .collect()
    }

    /// The first call of a session that waits.
    pub(crate) fn first(&self, session: SessionKey) -> Option<&Unattributed> {
        let mut calls = self.waiting.iter().map(|(_, call)| call);
        calls.find(|call| call.key() == session)
    }

    /// When the first call of a session that waits and that read something ended.
    pub(crate) fn first_read(&self, session: SessionKey) -> Option<KernelTime> {
        let mut calls = self.waiting.iter().map(|(_, call)| call);
        let reads = |call: &&Unattributed| {
            call.key() == session && call.data.direction == Direction::Ingress && !call.data.bytes.is_empty()
        };
        calls.find(reads).map(|call| call.data.time)
    }

    /// The calls of a session, in order.
    pub(crate) fn take(&mut self, session: SessionKey) -> Vec<Unattributed> {
        let mut taken = Vec::new();
        for (since, call) in std::mem::take(&mut self.waiting) {
            if call.key() == session {
                self.bytes -= call.data.bytes.len();
                taken.push(call);
            } else {
                self.waiting.push_back((since, call));
            }
        }
        taken
    }

    /// All calls, in order.
    pub(crate) fn take_all(&mut self) -> Vec<Unattributed> {
        self.bytes = 0;
        self.waiting.drain(..).map(|(_, call)| call).collect()
    }

    fn drop_oldest(&mut self) -> Option<Unattributed> {
        let (_, oldest) = self.waiting.pop_front()?;
        self.bytes -= oldest.data.bytes.len();
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qtap_capture::{ConnectionId, Data, Layer, Pid};

    use super::*;

    fn call(session: u64, position: u64, bytes: &'static [u8]) -> Unattributed {
        Unattributed {
            pid: Pid(1),
            tid: 1,
            session,
            data: Data {
                id: ConnectionId(0),
                time: KernelTime(0),
                pid: Pid(1),
                tid: 1,
                direction: Direction::Egress,
                layer: Layer::Calls,
                position,
                bytes: Bytes::from_static(bytes),
                missing: None,
                call_start: true,
                other_settled: 0,
                session: None,
            },
        }
    }

    #[test]
    fn a_session_gets_its_own_calls_in_order_and_once() {
        let mut early = EarlyCalls::default();
        for (session, position) in [(7, 0), (8, 0), (7, 3)] {
            assert!(
                early
                    .keep(call(session, position, b"abc"), KernelTime(position))
                    .is_empty()
            );
        }
        assert_eq!(early.sessions(KernelTime(0)), [(Pid(1), 7), (Pid(1), 8)]);
        let positions: Vec<_> = (early.take((Pid(1), 7)).iter())
            .map(|call| call.data.position)
            .collect();
        assert_eq!(positions, [0, 3]);
        assert!(early.first((Pid(1), 7)).is_none() && early.first((Pid(1), 8)).is_some());
        assert!(early.take((Pid(1), 7)).is_empty() && early.take((Pid(2), 8)).is_empty());
        assert_eq!(early.take((Pid(1), 8)).len(), 1);
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn what_is_too_old_or_too_much_goes() {
        static LARGE: [u8; BYTES] = [0; BYTES];
        let mut early = EarlyCalls::default();
        assert!(early.keep(call(1, 0, b"abc"), KernelTime(0)).is_empty());
        assert!(early.expire(KernelTime(2_000_000_000)).is_empty());
        assert_eq!(early.expire(KernelTime(2_000_000_001)).len(), 1);
        let lost: usize = (0..CALLS as u64 + 2)
            .map(|position| early.keep(call(1, position, b"a"), KernelTime(0)).len())
            .sum();
        assert!(lost == 2 && early.is_crowded());
        assert_eq!(early.keep(call(1, 0, &LARGE), KernelTime(0)).len(), CALLS);
        assert_eq!((early.take_all().len(), early.bytes), (1, 0));
    }
}
