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
