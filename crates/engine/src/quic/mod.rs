//! Connections of QUIC: recognised by their first packets, named, counted, and not read.
//!
//! In: datagrams that begin with an Initial packet, some at the beginning of each connection, and ends of processes. Out: connection
//! reports. How much a socket has moved is asked of the kernel side when a report is due. UDP has no end that could be seen: a
//! connection is over when its process is, or when nothing moved for a while.

mod flow;
mod index;
mod verdict;

use std::collections::BTreeSet;

use qtap_capture::{Direction, KernelTime, Pid, QuicDatagram, Role};
use qtap_protocol::Side;
use qtap_tls::quic::{Initial, Opening, Packet, packets};

use crate::account::Entry;
use crate::connection::Life;
use crate::context::Context;
use crate::hash::HashMap;

use flow::Flow;
use index::{Cid, Index, Key};

/// Connections of one worker. One more takes the place of the one that is due first, which is counted.
const FLOWS: usize = 1 << 14;
/// Bytes of hellos that are not whole, of all connections of a worker; likewise.
const HELD: usize = 8 << 20;

/// Number of a connection on its worker.
type Number = u64;

/// Connections on one socket.
#[derive(Debug, Default)]
struct Sharing {
    count: usize,
    /// The one, while it is the only one.
    only: Number,
}

/// The connections of one worker.
#[derive(Default)]
pub(crate) struct Flows {
    flows: HashMap<Number, Box<Flow>>,
    index: Index,
    sockets: HashMap<u64, Sharing>,
    processes: BTreeSet<(Pid, Number)>,
    /// One wake-up a connection.
    timers: BTreeSet<(KernelTime, Number)>,
    last: Number,
    /// Bytes held for all of them.
    held: usize,
}

impl Flows {
    /// Takes a datagram; hands over what became of connections that had to make room.
    pub(crate) fn datagram(&mut self, quic: &QuicDatagram, cx: &mut Context<'_>) -> Vec<Entry> {
        cx.stats.quic_datagrams.add(1);
        let mut entries = Vec::new();
        let mut is_read = false;
        for packet in packets(&quic.datagram.bytes) {
            let Packet::Initial(initial) = packet else {
                continue;
            };
            let known = self.find(&initial, quic);
            let Some(number) = known.or_else(|| self.begin(&initial, quic, cx)) else {
                continue;
            };
            is_read = true;
            entries.extend(self.step(number, cx, Flow::tick));
        }
        if !is_read {
            cx.stats.quic_unreadable.add(1);
        }
        while self.flows.len() > FLOWS || self.held > HELD {
            let Some(&(_, number)) = self.timers.first() else {
                break;
            };
            cx.stats.quic_evicted.add(1);
            entries.extend(self.step(number, cx, Flow::evict));
        }
        entries
    }

    /// The connection that a packet proves to be of.
    fn find(&mut self, packet: &Initial<'_>, quic: &QuicDatagram) -> Option<Number> {
        let sent = quic.datagram.direction == Direction::Egress;
        let key = |side, id| {
            Some(Key {
                socket: quic.datagram.socket,
                side,
                destination: Cid::of(id)?,
            })
        };
        for side in [Side::Client, Side::Server] {
            for number in self.index.of(&key(side, packet.destination)?) {
                if self.take(number, sent, side, quic, |flow| flow.opening.add(side, packet)) {
                    if side == Side::Server {
                        // What the client addresses from now on.
                        self.note(number, key(Side::Client, packet.source)?);
                    }
                    return Some(number);
                }
            }
        }
        // After a Retry the client comes again under another key; its own number stays.
        for number in self.index.of(&key(Side::Server, packet.source)?) {
            if self.take(number, sent, Side::Client, quic, |flow| {
                flow.opening.retry(packet)
            }) {
                self.note(number, key(Side::Client, packet.destination)?);
                return Some(number);
            }
        }
        None
    }

    /// Gives a packet that `side` sent to a connection; false if it is not of it.
    fn take(
        &mut self,
        number: Number,
        sent: bool,
        side: Side,
        quic: &QuicDatagram,
        add: impl FnOnce(&mut Flow) -> bool,
    ) -> bool {
        let Some(flow) = self.flows.get_mut(&number) else {
            return false;
        };
        let is_own = (side == Side::Client) == (flow.role() == Role::Client);
        if sent != is_own || !flow.may_be_with(quic) || !add(flow) {
            return false;
        }
        let former = flow.held;
        flow.see(quic);
        self.held = self.held + flow.held - former;
        true
    }

    fn note(&mut self, number: Number, key: Key) {
        if self.index.add(key, number)
            && let Some(flow) = self.flows.get_mut(&number)
        {
            flow.keys.push(key);
        }
    }

    /// The connection that a packet begins, if it is the first of one.
    fn begin(&mut self, packet: &Initial<'_>, quic: &QuicDatagram, cx: &mut Context<'_>) -> Option<Number> {
        let opening = Opening::begin(packet)?;
        let socket = quic.datagram.socket;
        self.last += 1;
        let number = self.last;
        let mut flow = Flow::new(number, opening, quic, cx);
        let sharing = self.sockets.entry(socket).or_default();
        sharing.count += 1;
        flow.is_shared = sharing.count > 1;
        let former = std::mem::replace(&mut sharing.only, number);
        if sharing.count == 2
            && let Some(other) = self.flows.get_mut(&former)
        {
            other.is_shared = true;
        }
        self.processes.insert((flow.pid(), number));
        self.held += flow.held;
        cx.stats.opened.add(1);
        cx.stats.quic_opened.add(1);
        cx.stats.quic_open.add(1);
        self.flows.insert(number, Box::new(flow));
        for (side, id) in [(Side::Client, packet.destination), (Side::Server, packet.source)] {
            let destination = Cid::of(id)?;
            self.note(
                number,
                Key {
                    socket,
                    side,
                    destination,
                },
            );
        }
        Some(number)
    }

    /// A process ended, and its connections with it.
    pub(crate) fn exited(&mut self, pid: Pid, time: KernelTime, cx: &mut Context<'_>) -> Vec<Entry> {
        let numbers: Vec<_> = (self.processes)
            .range((pid, 0)..=(pid, Number::MAX))
            .map(|&(_, number)| number)
            .collect();
        let end = |number| self.step(number, cx, |flow, cx| flow.end(time, cx));
        numbers.into_iter().filter_map(end).collect()
    }

    /// Wakes those whose time has come. Hands over those that ended, and tells when the next one wants to be woken.
    pub(crate) fn tick(&mut self, cx: &mut Context<'_>) -> (Vec<Entry>, Option<KernelTime>) {
        let mut entries = Vec::new();
        while let Some(&(deadline, number)) = self.timers.first() {
            if deadline > cx.now {
                return (entries, Some(deadline));
            }
            entries.extend(self.step(number, cx, Flow::tick));
        }
        (entries, None)
    }

    /// Whether a connection waits for its process to be known.
    pub(crate) fn waits_for_processes(&self) -> bool {
        self.flows.values().any(|flow| flow.waits_for_process())
    }

    /// The agent stops.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        let numbers: Vec<_> = self.flows.keys().copied().collect();
        for number in numbers {
            self.step(number, cx, Flow::shut_down);
        }
    }

    /// Those that are open, for the accounts of their processes.
    pub(crate) fn entries(&self, cx: &Context<'_>) -> Vec<Entry> {
        self.flows.values().filter_map(|flow| flow.entry(cx)).collect()
    }

    /// Runs `step` on a connection, and sees to its timer and its end.
    fn step(
        &mut self,
        number: Number,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Flow, &mut Context<'_>) -> Life,
    ) -> Option<Entry> {
        let flow = self.flows.get_mut(&number)?;
        if let Some(scheduled) = flow.scheduled.take() {
            self.timers.remove(&(scheduled, number));
        }
        if step(flow, cx) == Life::Goes {
            let deadline = flow.deadline(cx);
            flow.scheduled = Some(deadline);
            self.timers.insert((deadline, number));
            return None;
        }
        let flow = self.flows.remove(&number)?;
        for key in &flow.keys {
            self.index.remove(key, number);
        }
        if let Some(sharing) = self.sockets.get_mut(&flow.socket()) {
            sharing.count -= 1;
            if sharing.count == 0 {
                self.sockets.remove(&flow.socket());
            }
        }
        self.processes.remove(&(flow.pid(), number));
        self.held -= flow.held;
        cx.stats.quic_open.add(-1);
        flow.entry(cx)
    }
}
