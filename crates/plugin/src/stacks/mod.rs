//! Stacks of plugins: which one a transaction gets, and the calls into it.

mod audit;
mod calls;
mod databases;
mod endpoints;
mod generation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use qtap_capture::ConnectionId;
use qtap_engine::{
    CommandTransaction, ConnectionFacts, ConnectionReport, Consumer, DnsTransaction, Interest, Transaction,
};
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Command, Detail, RequestHead, StreamKey};

pub use generation::{BuildError, Generation};

use self::audit::Hidden;
use crate::agent::Agent;
use crate::command_exchange::CommandExchange;
use crate::exchange::{Exchange, Labels};
use crate::meter::Metrics;
use crate::reporter::connection_event;
use crate::schema::Event;

/// The configuration in force, replaced as a whole. Shared by all workers and whoever reloads.
pub struct Deployment {
    current: ArcSwap<Generation>,
    metrics: Arc<Metrics>,
}

impl Deployment {
    /// Puts `generation` in force.
    #[must_use]
    pub fn new(generation: Generation) -> Arc<Self> {
        let metrics = Arc::clone(generation.metrics());
        Arc::new(Self {
            current: ArcSwap::from_pointee(generation),
            metrics,
        })
    }

    /// Replaces what is in force. Transactions that already began end under the former generation, which is torn down
    /// with the last of them (P-X6).
    pub fn replace(&self, generation: Generation) {
        self.current.store(Arc::new(generation));
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// A map by connection, asked for each transaction. The numbers are the kernel side's own: nobody chooses them.
type HashMap<V> = std::collections::HashMap<ConnectionId, V, foldhash::fast::RandomState>;

/// A transaction that began: who is to hear of its end.
struct InFlight {
    generation: Arc<Generation>,
    stack: usize,
    /// Bit n: the plugin at position n wanted it.
    wanted_by: u64,
}

/// The consumer of one worker. A clone starts without transactions.
pub struct Stacks {
    deployment: Arc<Deployment>,
    in_flight: BTreeMap<(ConnectionId, u64), InFlight>,
    /// Those of the connections with a transaction so far, until their final report.
    labels: HashMap<Labels>,
    hidden: Hidden,
}

impl Stacks {
    /// The consumer of one worker.
    #[must_use]
    pub fn new(deployment: Arc<Deployment>) -> Self {
        Self {
            deployment,
            in_flight: BTreeMap::new(),
            labels: HashMap::default(),
            hidden: Hidden::default(),
        }
    }

    /// Transactions that began and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn begin(&mut self, id: ConnectionId, key: StreamKey, begun: InFlight) {
        if self.in_flight.insert((id, key.0), begun).is_some() {
            self.deployment.metrics.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets what a closed connection left behind.
    fn forget(&mut self, id: ConnectionId) {
        self.labels.remove(&id);
        let left: Vec<_> = self
            .in_flight
            .range((id, 0)..=(id, u64::MAX))
            .map(|(key, _)| *key)
            .collect();
        for key in left {
            self.in_flight.remove(&key);
            self.deployment.metrics.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What every record says of `connection`, made anew when something was learned since.
fn current_labels<'a>(
    all: &'a mut HashMap<Labels>,
    connection: &ConnectionFacts,
    agent: &Agent,
) -> &'a Labels {
    let labels = all
        .entry(connection.id)
        .or_insert_with(|| Labels::new(connection, agent));
    if !labels.are_current(connection) {
        *labels = Labels::new(connection, agent);
    }
    labels
}

impl Clone for Stacks {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.deployment))
    }
}

impl Consumer for Stacks {
    fn look_ahead(&self, connection: ConnectionId) {
        if let Some(labels) = self.labels.get(&connection) {
            labels.look_ahead();
        }
    }

    fn wants(&mut self, connection: &ConnectionFacts, protocol: Protocol) -> bool {
        let generation = self.deployment.current.load();
        if protocol == Protocol::Dns {
            // For the names of addresses, whether or not it is reported.
            return true;
        }
        if protocol.is_database() {
            return generation.resolve_database(connection, protocol).is_some();
        }
        // Any request of the connection may name any authority (P-X1), so only "no stack at all" is a no.
        generation.has_stacks()
    }

    fn detail(&mut self, protocol: Protocol) -> Detail {
        self.deployment.current.load().detail(protocol)
    }

    fn interest(&mut self, connection: &ConnectionFacts, key: StreamKey, request: &RequestHead) -> Interest {
        let generation = self.deployment.current.load();
        let Some(stack) = generation.resolve(connection, request) else {
            return Interest::None;
        };
        let (interest, wanted_by) = generation.ask(stack, connection, request);
        if interest != Interest::None {
            let generation = Arc::clone(&generation);
            self.begin(
                connection.id,
                key,
                InFlight {
                    generation,
                    stack,
                    wanted_by,
                },
            );
        }
        interest
    }

    fn transaction(&mut self, connection: &ConnectionFacts, transaction: &Transaction) {
        let Some(begun) = self.in_flight.remove(&(connection.id, transaction.stream)) else {
            self.deployment.metrics.unmatched.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let labels = current_labels(&mut self.labels, connection, begun.generation.agent());
        let exchange = Exchange {
            connection,
            transaction,
            labels,
        };
        begun.generation.deliver(begun.stack, begun.wanted_by, &exchange);
    }

    fn progress(&mut self, connection: &ConnectionFacts, transaction: &Transaction) {
        let Some(begun) = self.in_flight.get(&(connection.id, transaction.stream)) else {
            return;
        };
        let labels = current_labels(&mut self.labels, connection, begun.generation.agent());
        let exchange = Exchange {
            connection,
            transaction,
            labels,
        };
        begun
            .generation
            .deliver_progress(begun.stack, begun.wanted_by, &exchange);
    }

    fn wants_command(&mut self, connection: &ConnectionFacts, key: StreamKey, command: &Command) -> bool {
        let generation = self.deployment.current.load();
        let protocol = connection.protocol;
        let stack = protocol.and_then(|protocol| generation.resolve_database(connection, protocol));
        let Some(stack) = stack else { return false };
        let wanted_by = generation.ask_command(stack, connection, command);
        if wanted_by != 0 {
            let generation = Arc::clone(&generation);
            self.begin(
                connection.id,
                key,
                InFlight {
                    generation,
                    stack,
                    wanted_by,
                },
            );
        }
        wanted_by != 0
    }

    fn command(&mut self, connection: &ConnectionFacts, transaction: &CommandTransaction) {
        let Some(begun) = self.in_flight.remove(&(connection.id, transaction.stream)) else {
            self.deployment.metrics.unmatched.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let labels = current_labels(&mut self.labels, connection, begun.generation.agent());
        let exchange = CommandExchange {
            connection,
            transaction,
            labels,
        };
        begun
            .generation
            .deliver_command(begun.stack, begun.wanted_by, &exchange);
    }

    fn wants_dns(&mut self, connection: &ConnectionFacts) -> bool {
        self.deployment.current.load().audit().wants(connection)
    }

    fn dns(&mut self, connection: &ConnectionFacts, transaction: &DnsTransaction) {
        let generation = self.deployment.current.load();
        let reports = generation.reports();
        if reports.discards() {
            return;
        }
        let labels = current_labels(&mut self.labels, connection, generation.agent());
        self.deployment.metrics.reporter().call(|| {
            let event = audit::event(connection, transaction, labels);
            reports.save(Event::Dns(Box::new(event)));
        });
    }

    fn connection(&mut self, report: &ConnectionReport) {
        let generation = self.deployment.current.load();
        let reports = generation.reports();
        if self.hidden.hides(report, generation.audit()) {
            let hidden = &self.deployment.metrics.hidden;
            hidden.fetch_add(u64::from(report.finalized), Ordering::Relaxed);
        } else if !reports.discards() {
            self.deployment.metrics.reporter().call(|| {
                reports.save(Event::Connection(Box::new(connection_event(
                    report,
                    generation.agent(),
                ))));
            });
        }
        if report.finalized {
            self.forget(report.facts.id);
        }
    }
}

#[cfg(test)]
mod tests;
