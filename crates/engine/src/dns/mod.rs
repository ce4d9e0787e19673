//! DNS: what programs ask over UDP, and what became of it (P-N2). What comes over TCP, and what addresses are called, is found by the
//! assembler and by [`crate::Names`].
//!
//! In: datagrams that look like messages. Out, through [`crate::Consumer::dns`]: queries with their answers, and a report of each flow, that
//! is what one socket and one peer said to each other. UDP has no end that could be seen: a query that is not answered for a while is given
//! up, and a flow that is silent for a while is over.

mod flow;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use qtap_capture::{Datagram, Direction, KernelTime, Pid, Role};
use qtap_process::Process;
use qtap_protocol::dns::{Answered, Asked, Exchange, Extent, Message, Pairing};
use qtap_protocol::{Outcome, Time};

pub use transaction::DnsTransaction;

use self::flow::Flows;
use crate::context::Context;
use crate::host::ProcessLookup;

/// Queries of one worker that wait for an answer; those beyond end as incomplete, which is counted.
const QUERIES: usize = 1 << 14;
/// So long an answer may take; resolvers themselves give up after five seconds (resolv.conf(5)), and ask again at once.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Queries that are over and wait for the facts of their process; those beyond go without.
const WAITING: usize = 4096;
/// Ports of multicast DNS and LLMNR, whose queries need no answer and may have many (RFC 6762, RFC 4795).
const MULTICAST: [u16; 2] = [5353, 5355];

/// Who asked or was asked, on which socket.
#[derive(Clone, Debug)]
struct Origin {
    socket: u64,
    netns: u32,
    pid: Pid,
    role: Role,
    local: SocketAddr,
    /// Not told of what is received on a socket without a peer of its own, where the kernel has no address at hand.
    remote: Option<SocketAddr>,
    time: KernelTime,
    /// Events about processes up to here may concern it.
    ticket: u64,
}

impl Origin {
    /// Whether a message of this socket, role and peer may belong to it.
    fn carries(&self, datagram: &Datagram, role: Role) -> bool {
        self.socket == datagram.socket
            && self.role == role
            && self.local.port() == datagram.local.port()
            && (self.remote.is_none() || datagram.remote.is_none() || self.remote == datagram.remote)
    }

    /// Whether a query of this datagram can be one that was sent before. Who it came from must be known: two clients may ask the same.
    fn repeats(&self, datagram: &Datagram, role: Role) -> bool {
        self.carries(datagram, role) && self.remote.is_some() && datagram.remote.is_some()
    }
}

/// A query that is over.
struct Ended {
    origin: Origin,
    exchange: Box<Exchange>,
    since: KernelTime,
}

/// What the programs of one worker's sockets ask.
pub(crate) struct Lookups {
    pairing: Pairing<Origin>,
    waiting: Vec<Ended>,
    flows: Flows,
    /// Datagrams lost so far, once any came.
    lost: Option<u64>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            pairing: Pairing::new(QUERIES),
            waiting: Vec::new(),
            flows: Flows::default(),
            lost: None,
        }
    }
}

impl Lookups {
    /// Takes a datagram.
    pub(crate) fn datagram(&mut self, datagram: &Datagram, cx: &mut Context<'_>) {
        let peer_port = datagram.remote.map_or(0, |remote| remote.port());
        if MULTICAST.contains(&peer_port) || MULTICAST.contains(&datagram.local.port()) {
            cx.stats.dns_multicast.add(1);
            return;
        }
        let Ok(message) = Message::parse(&datagram.bytes) else {
            // The others are counted where names are learnt.
            if datagram.direction == Direction::Egress {
                cx.stats.dns_unreadable.add(1);
            }
            return;
        };
        if self.lost.is_none() {
            self.lost = Some(lost(cx));
        }
        let role = match (message.is_response, datagram.direction) {
            (false, Direction::Egress) | (true, Direction::Ingress) => Role::Client,
            (false, Direction::Ingress) | (true, Direction::Egress) => Role::Server,
        };
        let time = Time(datagram.time.0);
        let extent = Extent {
            started: time,
            ended: time,
            bytes: u64::from(datagram.length),
            gap_bytes: u64::from(datagram.length).saturating_sub(datagram.bytes.len() as u64),
        };
        if message.is_response {
            self.response(message, extent, datagram, role, cx);
        } else {
            self.query(message, extent, datagram, role, cx);
        }
    }

    fn query(
        &mut self,
        message: Message,
        extent: Extent,
        datagram: &Datagram,
        role: Role,
        cx: &mut Context<'_>,
    ) {
        let origin = Origin {
            socket: datagram.socket,
            netns: datagram.netns,
            pid: datagram.pid,
            role,
            local: datagram.local,
            remote: datagram.remote,
            time: datagram.time,
            ticket: cx.host.ticket(),
        };
        let is_same = |known: &Origin| known.repeats(datagram, role);
        if let Asked::Full(exchange) = self.pairing.query(message, extent, is_same, || origin.clone()) {
            cx.stats.dns_queries_left_out.add(1);
            self.end(origin, exchange, cx);
        }
    }

    fn response(
        &mut self,
        message: Message,
        extent: Extent,
        datagram: &Datagram,
        role: Role,
        cx: &mut Context<'_>,
    ) {
        let is_same = |known: &Origin| known.carries(datagram, role);
        match (self.pairing).response(message, &datagram.bytes, extent, is_same) {
            Answered::Exchange(mut origin, exchange) => {
                origin.remote = origin.remote.or(datagram.remote);
                self.end(origin, exchange, cx);
            }
            Answered::Part => {}
            Answered::Orphan => cx.stats.orphans.add(1),
        }
    }

    /// What time brings: queries without an answer, processes that became known, flows that are over.
    pub(crate) fn tick(&mut self, cx: &mut Context<'_>) {
        self.look_for_losses(cx);
        let mut ended = Vec::new();
        let before = cx.now.0.saturating_sub(ANSWER_WAIT.as_nanos() as u64);
        self.pairing.expire(Time(before), &mut ended);
        for (origin, exchange) in ended {
            self.end(origin, exchange, cx);
        }
        for ended in std::mem::take(&mut self.waiting) {
            self.try_tell(ended, cx);
        }
        self.flows.expire(cx);
    }

    /// Whether a query that is over waits for its process to be known.
    pub(crate) fn waits_for_processes(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The agent stops.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        self.look_for_losses(cx);
        let mut ended = Vec::new();
        (self.pairing).end_all(Outcome::Incomplete, Time(cx.now.0), &mut ended);
        for (origin, exchange) in ended {
            self.end(origin, exchange, cx);
        }
        for ended in std::mem::take(&mut self.waiting) {
            self.tell(&ended, None, cx);
        }
        self.flows.end_all(cx);
    }

    /// A datagram that was lost may have been any answer: silence proves nothing then.
    fn look_for_losses(&mut self, cx: &Context<'_>) {
        let Some(known) = &mut self.lost else { return };
        let now = lost(cx);
        if std::mem::replace(known, now) != now {
            self.pairing.doubt(|_| true);
        }
    }

    fn end(&mut self, origin: Origin, exchange: Box<Exchange>, cx: &mut Context<'_>) {
        let ended = Ended {
            origin,
            exchange,
            since: cx.now,
        };
        self.try_tell(ended, cx);
    }

    /// Tells of it once its process is known, or is not going to be.
    fn try_tell(&mut self, ended: Ended, cx: &mut Context<'_>) {
        let Origin {
            pid, time, ticket, ..
        } = ended.origin;
        let waited = Duration::from_nanos(cx.now.0.saturating_sub(ended.since.0));
        let has_room = self.waiting.len() < WAITING;
        match cx.host.process(pid, time, ticket) {
            ProcessLookup::Known(process) => self.tell(&ended, Some(process), cx),
            ProcessLookup::Pending if has_room && waited < cx.settings.process_wait => {
                self.waiting.push(ended);
            }
            ProcessLookup::Missing if has_room && waited < cx.settings.missing_wait => {
                self.waiting.push(ended);
            }
            ProcessLookup::Pending | ProcessLookup::Missing => self.tell(&ended, None, cx),
        }
    }

    fn tell(&mut self, ended: &Ended, process: Option<Arc<Process>>, cx: &mut Context<'_>) {
        if let Some(process) = &process {
            let exclusion = cx.host.exclusion(process);
            if exclusion.whole || exclusion.dns {
                return;
            }
        }
        let Some(facts) = self.flows.of(&ended.origin, process, &ended.exchange, cx) else {
            return;
        };
        let transaction = DnsTransaction::new((*ended.exchange).clone(), cx);
        cx.stats.transactions.add(1);
        cx.consumer.dns(facts, &transaction);
    }
}

/// Datagrams lost so far, on the way from the kernel and in queues.
fn lost(cx: &Context<'_>) -> u64 {
    cx.host.datagrams_lost() + cx.stats.lost_datagrams.get()
}
