//! Calls that came before anything told whose they are.
//!
//! A program that encrypts in memory writes its request into the library first and the ciphertext to the socket after; where the
//! connection is older than the agent, only that ciphertext tells that it is TLS and read by calls.

use std::collections::VecDeque;
use std::time::Duration;

use qtap_capture::{KernelTime, Pid, Unattributed};

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
    /// Keeps a call; returns how many bytes had to go for it.
    pub(crate) fn keep(&mut self, call: Unattributed, now: KernelTime) -> u64 {
        self.bytes += call.data.bytes.len();
        self.waiting.push_back((now, call));
        let mut lost = 0;
        while self.waiting.len() > CALLS || self.bytes > BYTES {
            lost += self.drop_oldest();
        }
        lost
    }

    /// Drops what has waited too long; returns its bytes.
    pub(crate) fn expire(&mut self, now: KernelTime) -> u64 {
        let wait = u64::try_from(WAIT.as_nanos()).unwrap_or(u64::MAX);
        let mut lost = 0;
        while (self.waiting.front()).is_some_and(|(since, _)| since.0.saturating_add(wait) < now.0) {
            lost += self.drop_oldest();
        }
        lost
    }

    /// Whether no call waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The calls to a session object of a process, in order.
    pub(crate) fn take(&mut self, pid: Pid, object: u64) -> Vec<Unattributed> {
        let mut taken = Vec::new();
        for (since, call) in std::mem::take(&mut self.waiting) {
            if call.pid == pid && call.object == object {
                self.bytes -= call.data.bytes.len();
                taken.push(call);
            } else {
                self.waiting.push_back((since, call));
            }
        }
        taken
    }

    fn drop_oldest(&mut self) -> u64 {
        let oldest = self.waiting.pop_front();
        let bytes = oldest.map_or(0, |(_, call)| call.data.bytes.len());
        self.bytes -= bytes;
        bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qtap_capture::{ConnectionId, Data, Direction, Layer};

    use super::*;

    fn call(object: u64, position: u64, bytes: &'static [u8]) -> Unattributed {
        Unattributed {
            pid: Pid(1),
            tid: 1,
            object,
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
                object: None,
            },
        }
    }

    #[test]
    fn an_object_gets_its_own_calls_in_order_and_once() {
        let mut early = EarlyCalls::default();
        for (object, position) in [(7, 0), (8, 0), (7, 3)] {
            assert_eq!(early.keep(call(object, position, b"abc"), KernelTime(0)), 0);
        }
        let positions: Vec<_> = (early.take(Pid(1), 7).iter())
            .map(|call| call.data.position)
            .collect();
        assert_eq!(positions, [0, 3]);
        assert!(early.take(Pid(1), 7).is_empty() && early.take(Pid(2), 8).is_empty());
        assert_eq!(early.take(Pid(1), 8).len(), 1);
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_and_is_counted() {
        static LARGE: [u8; BYTES] = [0; BYTES];
        let mut early = EarlyCalls::default();
        assert_eq!(early.keep(call(1, 0, b"abc"), KernelTime(0)), 0);
        assert_eq!(early.expire(KernelTime(2_000_000_000)), 0);
        assert_eq!(early.expire(KernelTime(2_000_000_001)), 3);
        let lost: u64 = (0..CALLS as u64 + 2)
            .map(|position| early.keep(call(1, position, b"a"), KernelTime(0)))
            .sum();
        assert_eq!(lost, 2);
        assert_eq!(early.keep(call(1, 0, &LARGE), KernelTime(0)), CALLS as u64);
    }
}
