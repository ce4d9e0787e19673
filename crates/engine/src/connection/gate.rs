//! Nothing of a connection is looked at before its process is known.

use std::collections::VecDeque;
use std::sync::Arc;

use qtap_capture::{Data, KernelTime, Role, Verdict};

use super::wire::Wire;
use super::{Connection, Life, after, log};
use crate::context::Context;
use crate::host::ProcessLookup;
use crate::{ConnectionFacts, Transport};

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
        // Records that only say what is missing take room, too.
        let records = self.records.len() * size_of::<Data>();
        if self.bytes + length + records > limit {
            return length as u64;
        }
        self.bytes += length;
        self.records.push_back(data);
        0
    }

    /// The oldest record.
    fn pop(&mut self) -> Option<Data> {
        let data = self.records.pop_front()?;
        self.bytes -= data.bytes.len();
        Some(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes = 0;
        self.records = VecDeque::new();
    }
}

impl Connection {
    /// Facts of the process are needed before anything of the connection may be looked at: its strategy and the
    /// filters may leave it out. Opens the gate when they are known or the wait is over.
    pub(super) fn try_gate(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(opened) = &self.opened else { return false };
        let process = match (cx.host).process(opened.pid, opened.time, self.backlog.ticket()) {
            ProcessLookup::Known(process) => Some(process),
            ProcessLookup::Pending if after(self.backlog.since(), cx.settings.process_wait) > cx.now => {
                return false;
            }
            ProcessLookup::Missing if after(self.backlog.since(), cx.settings.missing_wait) > cx.now => {
                return false;
            }
            ProcessLookup::Pending | ProcessLookup::Missing => None,
        };
        if let Some(process) = &process {
            self.exclusion = cx.host.exclusion(process);
            if self.exclusion.whole {
                cx.stats.excluded.add(1);
                cx.host.ignore(process);
                self.set_verdict(Verdict::COUNT_ONLY, cx);
                self.backlog.clear();
                self.wire = Wire::Off;
            }
        }
        self.begin(process, cx);
        true
    }

    /// What its peer is called, if that was learnt on another connection before it was dialled, and came through after. Looked for until
    /// its protocol is known.
    pub(super) fn learn_name(&mut self, cx: &Context<'_>) {
        let (Some(facts), Some(opened)) = (&mut self.facts, &self.opened) else {
            return;
        };
        if facts.domain.is_some() || facts.protocol.is_some() || facts.role != Role::Client {
            return;
        }
        facts.domain = cx.names.of_before(opened);
        facts.domain_by_dns = facts.domain.is_some();
    }

    /// Its process is waited for no longer.
    pub(crate) fn go_without_process(&mut self, cx: &mut Context<'_>) -> Life {
        self.begin(None, cx);
        self.finish_if_complete(cx)
    }

    pub(super) fn begin(&mut self, process: Option<Arc<qtap_process::Process>>, cx: &mut Context<'_>) {
        let Some(opened) = &self.opened else { return };
        let facts = ConnectionFacts::at_open(opened, Transport::Tcp, process, cx);
        if !self.exclusion.whole {
            log::open(&facts, opened);
            self.next_report = after(opened.time, cx.settings.first_report).max(cx.now);
        }
        if let Some((_, since)) = &mut self.closing {
            *since = cx.now;
        }
        let (pid, joined) = (opened.pid, opened.midstream);
        self.facts = Some(Box::new(facts));
        if joined && !self.exclusion.any() {
            // If it is TLS, only its calls can be read, and the next one may come at once.
            self.want_calls(pid, cx);
        }
        if self.exclusion.tls {
            self.app.leave_tls();
        }
        if self.exclusion.data {
            self.wire = Wire::Off;
            self.set_verdict(Verdict::COUNT_ONLY, cx);
        }
    }

    /// Whether the gate is open and records still wait behind it. They are worked off one by one, so that each finds the secrets
    /// that came before it offered.
    pub(crate) fn has_backlog(&self) -> bool {
        self.facts.is_some() && !self.backlog.is_empty()
    }

    /// Works off the oldest record behind the open gate.
    pub(crate) fn work_off(&mut self, cx: &mut Context<'_>) -> Life {
        if let Some(data) = self.backlog.pop() {
            self.take(data, cx);
        }
        self.finish_if_complete(cx)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qtap_capture::{ConnectionId, Direction, Layer, Loss, Pid};

    use super::*;

    #[test]
    fn the_backlog_is_bounded_whatever_its_records_have() {
        let record = |bytes: &'static [u8]| Data {
            id: ConnectionId(1),
            time: KernelTime(1),
            pid: Pid(1),
            tid: 1,
            direction: Direction::Egress,
            layer: Layer::Socket,
            position: 0,
            bytes: Bytes::from_static(bytes),
            missing: Some((1, Loss::Unreadable)),
            call_start: true,
            other_settled: 0,
            session: None,
        };
        let (mut backlog, limit) = (Backlog::default(), 10_000);
        let dropped: u64 = (0..1000).map(|_| backlog.push(record(b""), limit)).sum();
        assert!(backlog.records.len() * size_of::<Data>() <= limit + size_of::<Data>());
        assert_eq!((dropped, backlog.push(record(b"abc"), limit)), (0, 3));
    }
}
