//! Which queries of DNS are reported, and how: `tap.audit_include_dns`.

use std::collections::HashSet;

use qtap_capture::{ConnectionId, Role};
use qtap_config::{Direction, Tap};
use qtap_engine::{ConnectionFacts, ConnectionReport, DirectionLabel, DnsTransaction};
use qtap_protocol::detect::Protocol;

use crate::exchange::Labels;
use crate::reporter::ends;
use crate::schema::{DnsEvent, DnsNotes, DnsQuery, DnsResponse, Timestamp};

/// The part of the configuration that DNS is subject to. What a stub resolver on this host is asked teaches names whatever it says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Audit {
    is_on: bool,
    direction: Direction,
    ignore_loopback: bool,
}

impl Audit {
    pub(super) const fn new(tap: &Tap) -> Self {
        Self {
            is_on: tap.audit_include_dns,
            direction: tap.direction,
            ignore_loopback: tap.ignore_loopback,
        }
    }

    /// Whether DNS of `connection` is reported. The kernel side has judged connections of TCP already, and datagrams not.
    pub(super) fn wants(&self, connection: &ConnectionFacts) -> bool {
        let is_wanted = match self.direction {
            Direction::All => true,
            Direction::Ingress => connection.role == Role::Server,
            Direction::Egress => connection.role == Role::Client,
            Direction::EgressInternal => connection.direction == DirectionLabel::EgressInternal,
            Direction::EgressExternal => connection.direction == DirectionLabel::EgressExternal,
        };
        self.is_on && is_wanted && !(self.ignore_loopback && is_loopback(connection))
    }
}

/// A host that talks to an address of its own goes through the loopback device, whatever the address.
fn is_loopback(connection: &ConnectionFacts) -> bool {
    let (local, remote) = (
        connection.local.ip().to_canonical(),
        connection.remote.ip().to_canonical(),
    );
    local.is_loopback() || remote.is_loopback() || (local == remote && !local.is_unspecified())
}

/// Connections of DNS that are not reported, because what they carry is not.
#[derive(Debug, Default)]
pub(super) struct Hidden(HashSet<ConnectionId>);

impl Hidden {
    /// Whether `report` is to be left out: from the first on, or not at all, so that no connection seems never to end.
    pub(super) fn hides(&mut self, report: &ConnectionReport, audit: &Audit) -> bool {
        let facts = &report.facts;
        let is_hidden = self.0.contains(&facts.id)
            || report.part == 0 && facts.protocol == Some(Protocol::Dns) && !audit.is_on;
        if report.finalized {
            self.0.remove(&facts.id);
        } else if is_hidden {
            self.0.insert(facts.id);
        }
        is_hidden
    }
}

/// The event of one query.
pub(super) fn event(connection: &ConnectionFacts, transaction: &DnsTransaction, labels: &Labels) -> DnsEvent {
    let exchange = &transaction.exchange;
    let [request, response] = [exchange.traffic.request, exchange.traffic.response];
    let (sent, received) = match connection.role {
        Role::Client => (request, response),
        Role::Server => (response, request),
    };
    let (source, destination) = ends(connection);
    DnsEvent {
        connection_id: connection.public_id.clone(),
        endpoint_id: labels.endpoint_id.clone(),
        request_id: transaction.id.clone(),
        tags: labels.tags.clone(),
        timestamp: Timestamp(transaction.finished),
        direction: connection.direction.name(),
        socket_protocol: connection.transport.name(),
        l7_protocol: Protocol::Dns.name(),
        query: DnsQuery::new(&exchange.query),
        response: exchange.response.as_ref().map(DnsResponse::new),
        retransmits: u64::from(exchange.retransmits),
        duration: exchange.duration_ns().map(|ns| ns.div_ceil(1_000_000).max(1)),
        bytes_sent: sent.total(),
        bytes_received: received.total(),
        source,
        destination,
        notes: DnsNotes::new(transaction),
    }
}
