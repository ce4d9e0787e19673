//! Stacks of plugins: which one a transaction gets, and the calls into it.

mod endpoints;
mod generation;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use qtap_capture::ConnectionId;
use qtap_engine::{ConnectionFacts, ConnectionReport, Consumer, Interest, Transaction};
use qtap_protocol::detect::Protocol;
use qtap_protocol::{RequestHead, StreamKey};

pub use generation::{BuildError, Generation};

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
    labels: HashMap<ConnectionId, Labels>,
}

impl Stacks {
    /// The consumer of one worker.
    #[must_use]
    pub fn new(deployment: Arc<Deployment>) -> Self {
        Self {
            deployment,
            in_flight: BTreeMap::new(),
            labels: HashMap::new(),
        }
    }

    /// Transactions that began and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
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

impl Clone for Stacks {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.deployment))
    }
}

impl Consumer for Stacks {
    fn wants(&mut self, _connection: &ConnectionFacts, _protocol: Protocol) -> bool {
        // Any request of the connection may name any authority (P-X1), so only "no stack at all" is a no.
        self.deployment.current.load().has_stacks()
    }

    fn interest(&mut self, connection: &ConnectionFacts, key: StreamKey, request: &RequestHead) -> Interest {
        let generation = self.deployment.current.load();
        let Some(stack) = generation.resolve(connection, request) else {
            return Interest::None;
        };
        let (interest, wanted_by) = generation.ask(stack, connection, request);
        if interest == Interest::None {
            return interest;
        }
        let begun = InFlight {
            generation: Arc::clone(&generation),
            stack,
            wanted_by,
        };
        if self.in_flight.insert((connection.id, key.0), begun).is_some() {
            self.deployment.metrics.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        interest
    }

    fn transaction(&mut self, connection: &ConnectionFacts, transaction: &Transaction) {
        let Some(begun) = self.in_flight.remove(&(connection.id, transaction.stream)) else {
            self.deployment.metrics.unmatched.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let agent = begun.generation.agent();
        let labels = (self.labels.entry(connection.id)).or_insert_with(|| Labels::new(connection, agent));
        if !labels.are_current(connection) {
            *labels = Labels::new(connection, agent);
        }
        let exchange = Exchange {
            connection,
            transaction,
            labels,
        };
        begun.generation.deliver(begun.stack, begun.wanted_by, &exchange);
    }

    fn connection(&mut self, report: &ConnectionReport) {
        let generation = self.deployment.current.load();
        let reports = generation.reports();
        if !reports.discards() {
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
