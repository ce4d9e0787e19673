//! What one socket and one peer said to each other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use qtap_capture::{ConnectionId, KernelTime, Pid, Role};
use qtap_process::Process;
use qtap_protocol::Outcome;
use qtap_protocol::detect::Protocol;
use qtap_protocol::dns::Exchange;

use super::Origin;
use crate::context::Context;
use crate::hash::HashMap;
use crate::{
    Check, CheckName, CheckState, ConnectionFacts, ConnectionReport, Health, HealthStatus, Reason,
    ReasonCode, Transport,
};

/// Flows of one worker. At the limit the one that was silent longest is reported as over.
const FLOWS: usize = 1 << 13;
/// Silent for so long it is over.
const SILENCE: Duration = Duration::from_secs(10);
/// Numbers of the kernel side do not come so far.
const FIRST_ID: u64 = 1 << 62;

/// What tells flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    socket: u64,
    pid: Pid,
    role: Role,
    local: SocketAddr,
    remote: SocketAddr,
}

struct Flow {
    facts: ConnectionFacts,
    opened: KernelTime,
    last: KernelTime,
    bytes: [u64; 2],
    queries: u64,
    incomplete: u64,
    gap_bytes: u64,
}

/// The flows of one worker.
#[derive(Default)]
pub(super) struct Flows {
    flows: HashMap<Key, Box<Flow>>,
    begun: u64,
}

impl Flows {
    /// What is known of the flow of a query that is over, which counts in it; `None` when nobody wants to hear of it.
    pub(super) fn of(
        &mut self,
        origin: &Origin,
        process: Option<Arc<Process>>,
        exchange: &Exchange,
        cx: &mut Context<'_>,
    ) -> Option<&ConnectionFacts> {
        let remote = origin.remote.unwrap_or_else(|| unknown(origin.local));
        let key = Key {
            socket: origin.socket,
            pid: origin.pid,
            role: origin.role,
            local: origin.local,
            remote,
        };
        let known = process.clone();
        if !self.flows.contains_key(&key) {
            self.begun += 1;
            let id = ConnectionId(FIRST_ID + self.begun);
            let flow = Flow::new(id, origin, remote, process, cx);
            if !cx.consumer.wants_dns(&flow.facts) {
                return None;
            }
            self.make_room(cx);
            self.flows.insert(key, Box::new(flow));
        } else if let Some(flow) = self.flows.get_mut(&key)
            && !cx.consumer.wants_dns(&flow.facts)
        {
            return None;
        }
        let flow = self.flows.get_mut(&key)?;
        if flow.facts.process.is_none() {
            flow.facts.process = known;
        }
        flow.count(exchange);
        Some(&flow.facts)
    }

    /// Reports those that are silent.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>) {
        let before = cx.now.0.saturating_sub(SILENCE.as_nanos() as u64);
        self.end(|flow| flow.last.0 < before, cx);
    }

    /// Reports all of them.
    pub(super) fn end_all(&mut self, cx: &mut Context<'_>) {
        self.end(|_| true, cx);
    }

    fn make_room(&mut self, cx: &mut Context<'_>) {
        if self.flows.len() < FLOWS {
            return;
        }
        // Not one at a time: looking for the oldest costs a walk over all.
        let mut last: Vec<_> = self.flows.values().map(|flow| flow.last).collect();
        let (_, quarter, _) = last.select_nth_unstable(FLOWS / 4);
        let quarter = *quarter;
        self.end(|flow| flow.last <= quarter, cx);
    }

    fn end(&mut self, is_over: impl Fn(&Flow) -> bool, cx: &mut Context<'_>) {
        let over = self.flows.extract_if(|_, flow| is_over(flow));
        let mut over: Vec<_> = over.map(|(_, flow)| flow).collect();
        over.sort_unstable_by_key(|flow| flow.facts.id.0);
        for flow in over {
            cx.stats.reports.add(1);
            cx.consumer.connection(&flow.report());
        }
    }
}

impl Flow {
    fn new(
        id: ConnectionId,
        origin: &Origin,
        remote: SocketAddr,
        process: Option<Arc<Process>>,
        cx: &Context<'_>,
    ) -> Self {
        let opened = cx.clock.at(origin.time);
        let facts = ConnectionFacts {
            id,
            public_id: cx.ids.next(opened),
            role: origin.role,
            direction: crate::address::label(origin.role, remote.ip()),
            transport: Transport::Udp,
            local: origin.local,
            remote,
            netns: origin.netns,
            opened,
            joined_midstream: false,
            cookie: 0,
            process,
            tls: None,
            quic: None,
            tls_implementations: None,
            protocol: Some(Protocol::Dns),
            domain: None,
            domain_by_dns: false,
        };
        Self {
            facts,
            opened: origin.time,
            last: origin.time,
            bytes: [0; 2],
            queries: 0,
            incomplete: 0,
            gap_bytes: 0,
        }
    }

    fn count(&mut self, exchange: &Exchange) {
        let (request, response) = (exchange.traffic.request, exchange.traffic.response);
        let [sent, received] = match self.facts.role {
            Role::Client => [request, response],
            Role::Server => [response, request],
        };
        let [all_sent, all_received] = &mut self.bytes;
        *all_sent += sent.total();
        *all_received += received.total();
        self.queries += 1;
        self.incomplete += u64::from(exchange.outcome == Outcome::Incomplete);
        self.gap_bytes += exchange.gap_bytes();
        self.opened = self.opened.min(KernelTime(exchange.started.0));
        self.last = self.last.max(KernelTime(exchange.ended.0));
    }

    fn report(&self) -> ConnectionReport {
        let [bytes_sent, bytes_received] = self.bytes;
        ConnectionReport {
            facts: self.facts.clone(),
            part: 0,
            finalized: true,
            // When its socket closed, if it did, was not seen.
            closed: None,
            duration_ns: self.last.0.saturating_sub(self.opened.0),
            bytes_sent,
            bytes_received,
            transactions: self.queries,
            upgraded_to: None,
            reset: false,
            health: self.health(),
        }
    }

    fn health(&self) -> Health {
        let [sent, received] = self.bytes;
        let mut reasons = Vec::new();
        let mut add = |code, detail: String| reasons.push(Reason { code, detail });
        if self.facts.process.is_none() {
            add(
                ReasonCode::ProcessUnknown,
                "the process ended before its facts could be read".to_owned(),
            );
        }
        if self.incomplete > 0 {
            add(
                ReasonCode::TransactionIncomplete,
                format!("{} queries", self.incomplete),
            );
        }
        if self.gap_bytes > 0 {
            add(
                ReasonCode::CallCap,
                format!("{} bytes behind the first 1,500 of a datagram", self.gap_bytes),
            );
        }
        let state = |is_ok, otherwise| if is_ok { CheckState::Ok } else { otherwise };
        let checks = CheckName::ALL.map(|name| Check {
            name,
            state: match name {
                CheckName::Socket | CheckName::Protocol => CheckState::Ok,
                CheckName::Process => state(self.facts.process.is_some(), CheckState::Missing),
                CheckName::TlsHello | CheckName::TlsProbe | CheckName::Bytes => CheckState::NotApplicable,
                CheckName::Data => state(self.gap_bytes == 0, CheckState::Partial),
                CheckName::Transactions => state(self.incomplete == 0, CheckState::Partial),
            },
        });
        let status = if reasons.is_empty() {
            HealthStatus::Healthy
        } else {
            HealthStatus::Degraded
        };
        Health {
            status,
            checks: checks.to_vec(),
            reasons,
            // The kernel does not count what UDP moves.
            socket_bytes_sent: None,
            socket_bytes_received: None,
            socket_bytes_unread: None,
            captured_bytes_sent: sent,
            captured_bytes_received: received,
            gap_bytes: self.gap_bytes,
            data_event_count: self.queries,
            got_tls_client_hello: false,
            got_protocol: true,
        }
    }
}

/// In the place of an address that was not told: none, of the same family.
fn unknown(local: SocketAddr) -> SocketAddr {
    if local.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    }
}
