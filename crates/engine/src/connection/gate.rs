//! Data of a connection whose process is not known yet.

use std::collections::VecDeque;

use qtap_capture::{Data, KernelTime};

/// Records that wait for the facts of their process. Bounded in bytes; what does not fit is dropped and counted.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    records: VecDeque<Data>,
    bytes: usize,
    ticket: u64,
    since: KernelTime,
}

impl Backlog {
    /// The wait begins: process events up to `ticket` may concern the connection.
    pub(super) fn begin(&mut self, ticket: u64, now: KernelTime) {
        self.ticket = ticket;
        self.since = now;
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    pub(super) fn since(&self) -> KernelTime {
        self.since
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `data`; returns the bytes dropped. The hole shows as a gap by its position.
    pub(super) fn push(&mut self, data: Data, limit: usize) -> u64 {
        let length = data.bytes.len();
        if self.bytes + length > limit {
            return length as u64;
        }
        self.bytes += length;
        self.records.push_back(data);
        0
    }

    /// The records in their order; none are held after.
    pub(super) fn drain(&mut self) -> VecDeque<Data> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }

    pub(super) fn clear(&mut self) {
        self.drain();
    }
}
