//! A worker: the connections of one shard and their timers.

mod secrets;
mod sessions;

use std::collections::BTreeSet;
use std::collections::hash_map;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use qtap_capture::{ConnectionId, Data, Event, KernelTime, Living, Pid, ProcessEvent, WallClock};

use crate::account::survey::{Positions, Survey};
use crate::account::{Accounts, Entry};
use crate::connection::{Connection, Life};
use crate::context::{Context, Scratch};
use crate::dns::Lookups;
use crate::hash::HashMap;
use crate::id::IdSource;
use crate::quic::Flows;
use crate::secrets::{Choice, SecretPool};
use crate::settings::{Budget, Settings};
use crate::unbound::Unbound;
use crate::{Consumer, Host, Load, Names, Stats};

use secrets::Seeking;
use sessions::Sessions;

/// Connections of one worker; one more is left out and counted. The kernel's own table is smaller.
const CONNECTIONS: usize = 1 << 18;
/// Least time between two wake-ups of one connection.
const LEAST_WAIT_NS: u64 = 1_000_000;
/// Time between two looks at what expires and at the memory held.
const SWEEP_NS: u64 = 250_000_000;

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The agent around.
    pub host: Arc<dyn Host>,
    /// Settings.
    pub settings: Settings,
    /// Wall clock.
    pub clock: WallClock,
    /// Ids.
    pub ids: Arc<IdSource>,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Memory.
    pub budget: Arc<Budget>,
    /// What is left out while the agent is over its share.
    pub load: Arc<Load>,
    /// What addresses are called.
    pub names: Arc<Names>,
    /// Connections whose session is not known.
    pub unbound: Arc<Unbound>,
    /// Queries of DNS are reported: `tap.audit_include_dns`.
    pub audits_dns: Arc<AtomicBool>,
}

/// The connections of one shard. Single-threaded; the caller gives it events and the time.
pub struct Worker {
    shared: Shared,
    consumer: Box<dyn Consumer>,
    scratch: Scratch,
    /// Boxed, so that the table is small where it has free places, and moves little when it grows.
    connections: HashMap<ConnectionId, Box<Connection>>,
    /// Connections whose TLS may still want a secret of the process, by process. Filled when bytes
    /// arrive and thinned when it is walked, so that a server's many settled connections cost nothing.
    seeking: HashMap<Pid, BTreeSet<ConnectionId>>,
    /// One wake-up a connection at most.
    timers: BTreeSet<(KernelTime, ConnectionId)>,
    secrets: SecretPool,
    /// Of calls whose connection the kernel could not tell.
    sessions: Sessions,
    next_sweep: KernelTime,
    /// Bytes held for all connections, as of the last step of each: a walk over fifty thousand, four times a second, cost more than
    /// their traffic.
    held: usize,
    /// The same, as charged to the budget.
    charged: usize,
    /// Connections that ended lately, by process.
    accounts: Accounts,
    /// What is asked of DNS over UDP.
    lookups: Lookups,
    quic: Flows,
}

impl Worker {
    /// A worker without connections.
    #[must_use]
    pub fn new(shared: Shared, consumer: Box<dyn Consumer>) -> Self {
        let sessions = Sessions::new(&shared.unbound);
        Self {
            shared,
            consumer,
            scratch: Scratch::default(),
            connections: HashMap::default(),
            seeking: HashMap::default(),
            timers: BTreeSet::new(),
            secrets: SecretPool::default(),
            sessions,
            next_sweep: KernelTime(0),
            held: 0,
            charged: 0,
            accounts: Accounts::default(),
            lookups: Lookups::default(),
            quic: Flows::default(),
        }
    }

    /// Connections it keeps.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Bytes held for all of them.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Has what is kept of the connection of `event` come into the processor's caches.
    pub(crate) fn look_ahead(&self, event: &Event) {
        if let Event::Data(data) = event
            && let Some(connection) = self.connections.get(&data.id)
        {
            // It reads from all parts of a connection.
            std::hint::black_box(connection.held());
            self.consumer.look_ahead(data.id);
        }
    }

    /// Takes one event of the kernel.
    pub fn event(&mut self, event: Event, now: KernelTime) {
        self.shared.stats.events.add(1);
        match event {
            Event::Opened(opened) => self.with(opened.id, now, |connection, cx| {
                connection.open(opened, cx);
                Life::Goes
            }),
            Event::Data(data) => self.data(data, now),
            // A connection that nothing was ever seen of has nothing to report.
            Event::Closed(closed) if self.connections.contains_key(&closed.id) => {
                self.settle_at_end(closed.id, now);
                self.with(closed.id, now, |connection, cx| connection.close(closed, cx));
            }
            Event::Quic(datagram) => self.with_quic(now, |quic, cx| quic.datagram(&datagram, cx)),
            Event::Process(ProcessEvent::Exited { pid, time, .. }) => {
                self.with_quic(now, |quic, cx| quic.exited(pid, time, cx));
            }
            Event::Secret(secret) => self.secret(&secret, now),
            Event::Unattributed(call) => self.unattributed(*call, now),
            Event::Living(living) => self.end_missing(&living, now),
            Event::Datagram(datagram) => {
                self.look_up(now, |lookups, cx| lookups.datagram(&datagram, cx));
            }
            _ => {}
        }
    }

    /// Wakes the connections whose time has come. Returns when the next one wants to be woken.
    pub fn tick(&mut self, now: KernelTime) -> Option<KernelTime> {
        if now >= self.next_sweep {
            self.next_sweep = KernelTime(now.0 + SWEEP_NS);
            self.shared.stats.secrets_expired.add(self.secrets.expire(now));
            self.settle_sessions(now);
            self.accounts.rotate(now);
            self.look_up(now, Lookups::tick);
            self.balance(now);
        }
        let next_quic = self.tick_quic(now);
        while let Some(&(deadline, id)) = self.timers.first() {
            if deadline > now {
                return Some(next_quic.map_or(deadline, |next| next.min(deadline)));
            }
            self.timers.pop_first();
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.scheduled = None;
                let in_need = connection.waits_in_vain(now, &self.shared.settings);
                if let (true, Some(pid)) = (in_need, connection.pid()) {
                    self.offer_secrets(id, pid, Choice::All, now);
                }
                self.with(id, now, Connection::tick);
            }
        }
        next_quic
    }

    /// Runs `step` on the connections of QUIC, and puts those that ended into the account of their process.
    fn with_quic(&mut self, now: KernelTime, step: impl FnOnce(&mut Flows, &mut Context<'_>) -> Vec<Entry>) {
        let mut cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        for entry in step(&mut self.quic, &mut cx) {
            self.accounts.end(entry);
        }
    }

    fn tick_quic(&mut self, now: KernelTime) -> Option<KernelTime> {
        let mut next = None;
        self.with_quic(now, |quic, cx| {
            let (entries, deadline) = quic.tick(cx);
            next = deadline;
            entries
        });
        next
    }

    /// The processes of all its connections, with the kernel side's `positions` of those that are open. Some microseconds for
    /// each open connection.
    #[must_use]
    pub fn survey(&mut self, positions: &Positions, now: KernelTime) -> Survey {
        let mut accounts = self.accounts.sum();
        let cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        for (id, connection) in &self.connections {
            if let Some(entry) = connection.entry(positions.get(id).copied(), &cx) {
                accounts.entry(entry.key).or_default().add(entry, true);
            }
        }
        for entry in self.quic.entries(&cx) {
            accounts.entry(entry.key).or_default().add(entry, true);
        }
        Survey {
            accounts,
            left_out: self.accounts.left_out(),
            silent_workers: 0,
        }
    }

    /// Charges what is held to the budget of all workers. Beyond it, the connections that hold most give up what they hold
    /// (P-L4).
    fn balance(&mut self, now: KernelTime) {
        let mut held = self.held();
        self.charge(held);
        let excess = usize::try_from(self.shared.budget.excess()).unwrap_or(usize::MAX);
        if excess == 0 {
            return;
        }
        let wanted = held.saturating_sub(excess);
        let mut holders: Vec<_> = (self.connections.iter())
            .map(|(id, connection)| (connection.held(), *id))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        holders.sort_unstable_by(|one, other| other.cmp(one));
        for (bytes, id) in holders {
            if held <= wanted {
                break;
            }
            self.with(id, now, |connection, cx| connection.relieve(cx));
            let left = self
                .connections
                .get(&id)
                .map_or(0, |connection| connection.held());
            held -= bytes.saturating_sub(left);
        }
        self.charge(held);
    }

    fn charge(&mut self, held: usize) {
        let former = std::mem::replace(&mut self.charged, held);
        self.shared.budget.charge(former, held);
        let change = i64::try_from(held).unwrap_or(i64::MAX) - i64::try_from(former).unwrap_or(i64::MAX);
        self.shared.stats.held_bytes.add(change);
    }

    /// Whether anything waits for its process to be known.
    pub(crate) fn waits_for_processes(&self) -> bool {
        self.lookups.waits_for_processes()
            || self.quic.waits_for_processes()
            || self
                .connections
                .values()
                .any(|connection| connection.waits_for_process())
    }

    /// The agent stops: every connection says what is known of it.
    pub fn shut_down(&mut self, now: KernelTime) {
        self.tick(now);
        let waiting: Vec<_> = (self.connections.iter())
            .filter(|(_, connection)| connection.waits_for_process())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.with(id, now, Connection::go_without_process);
        }
        self.settle_at_stop(now);
        let mut cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        self.quic.shut_down(&mut cx);
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.with(id, now, |connection, cx| {
                connection.shut_down(cx);
                Life::Ended
            });
        }
        self.look_up(now, Lookups::shut_down);
    }

    fn look_up(&mut self, now: KernelTime, step: impl FnOnce(&mut Lookups, &mut Context<'_>)) {
        let mut cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        step(&mut self.lookups, &mut cx);
    }

    /// Connections that are no more, and of whose end nothing was told: it was lost.
    fn end_missing(&mut self, living: &Living, now: KernelTime) {
        let missing: Vec<_> = (self.connections.iter())
            .filter(|(id, connection)| !living.ids.contains(id) && connection.began_before(living.time))
            .map(|(id, _)| *id)
            .collect();
        for id in missing {
            self.with(id, now, |connection, cx| connection.lose_end(cx));
        }
    }

    fn data(&mut self, data: Data, now: KernelTime) {
        let (id, pid) = (data.id, data.pid);
        self.before(&data, now);
        let step = |connection: &mut Connection, cx: &mut Context<'_>| connection.data(data, cx);
        let (has_backlog, seeking) = self.step(id, now, step, Seeking::of);
        if has_backlog {
            self.work_off(id, now);
            self.offer_pool(id, pid, now);
        } else if let Some(seeking) = seeking {
            self.serve(seeking, id, pid, now);
        }
    }

    /// Runs `step` on the connection, which is made if it is new, and works off what waited for its gate to open.
    fn with(
        &mut self,
        id: ConnectionId,
        now: KernelTime,
        step: impl FnOnce(&mut Connection, &mut Context<'_>) -> Life,
    ) {
        if self.step(id, now, step, |_| ()).0 {
            self.work_off(id, now);
        }
    }

    /// Works off the records that wait behind the open gate of a connection.
    fn work_off(&mut self, id: ConnectionId, now: KernelTime) {
        let mut has_backlog = true;
        while has_backlog {
            has_backlog = self.step(id, now, Connection::work_off, |_| ()).0;
            if let Some(pid) = self.connections.get(&id).and_then(|connection| connection.pid()) {
                self.offer_pool(id, pid, now);
            }
        }
    }

    /// Runs `step` on the connection, and sees to its timer and its end. A panic in it ends the capture of this connection, counted, and
    /// nothing else. Tells whether records wait behind its open gate and, if it goes on and none do, what `look` sees in it.
    fn step<T>(
        &mut self,
        id: ConnectionId,
        now: KernelTime,
        step: impl FnOnce(&mut Connection, &mut Context<'_>) -> Life,
        look: impl FnOnce(&mut Connection) -> T,
    ) -> (bool, Option<T>) {
        let is_full = self.connections.len() >= CONNECTIONS;
        let connection = match self.connections.entry(id) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(_) if is_full => {
                self.shared.stats.lost_control.add(1);
                return (false, None);
            }
            hash_map::Entry::Vacant(place) => {
                self.shared.stats.open.add(1);
                place.insert(Box::new(Connection::new(id, now)))
            }
        };
        let mut cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        // What the step left half done is this connection's, and replaced.
        let life = catch_unwind(AssertUnwindSafe(|| step(connection, &mut cx))).unwrap_or_else(|_| {
            cx.stats.panics.add(1);
            tracing::error!(
                connection = id.0,
                "internal error: the connection is not looked at further"
            );
            connection.fail(&cx);
            Life::Goes
        });
        let held = connection.held();
        self.held = self.held + held - std::mem::replace(&mut connection.counted, held);
        if life == Life::Ended {
            connection.release(&cx);
            connection.tell_of_keys(&cx);
            if let Some(entry) = connection.entry(None, &cx) {
                self.accounts.end(entry);
            }
            self.forget(id, now);
            return (false, None);
        }
        connection.list_unbound(&self.shared.unbound);
        // Never at once again: what a wake-up could not settle waits for time to pass.
        let deadline = connection.deadline(&cx).max(KernelTime(now.0 + LEAST_WAIT_NS));
        let scheduled = connection.scheduled;
        if scheduled.is_none_or(|scheduled| deadline < scheduled) {
            if let Some(scheduled) = scheduled {
                self.timers.remove(&(scheduled, id));
            }
            connection.scheduled = Some(deadline);
            self.timers.insert((deadline, id));
        }
        let has_backlog = connection.has_backlog();
        (has_backlog, (!has_backlog).then(|| look(connection)))
    }

    fn forget(&mut self, id: ConnectionId, now: KernelTime) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        self.shared.stats.open.add(-1);
        self.held -= connection.counted;
        if let Some(scheduled) = connection.scheduled {
            self.timers.remove(&(scheduled, id));
        }
        if let Some(pid) = connection.pid()
            && let Some(ids) = self.seeking.get_mut(&pid)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.seeking.remove(&pid);
            }
        }
        connection.unlist_unbound(&self.shared.unbound);
        self.sessions.forget(id, &self.shared.unbound, now);
    }
}

fn context<'a>(
    shared: &'a Shared,
    consumer: &'a mut dyn Consumer,
    scratch: &'a mut Scratch,
    now: KernelTime,
) -> Context<'a> {
    Context {
        consumer,
        scratch,
        host: shared.host.as_ref(),
        settings: &shared.settings,
        clock: &shared.clock,
        ids: &shared.ids,
        stats: &shared.stats,
        budget: &shared.budget,
        load: &shared.load,
        names: &shared.names,
        now,
    }
}
