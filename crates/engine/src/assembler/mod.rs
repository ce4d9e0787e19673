//! From the events of a parser to whole transactions.

mod finish;
mod name;
mod open;
mod streams;
mod tally;
mod tunnels;
mod upgrade;

use std::collections::hash_map::Entry;

use bytes::Bytes;
use qtap_capture::KernelTime;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Counts, Event, Outcome, RequestHead, ResponseHead, Side, StreamKey, Time, Upgrade, dns};

pub(crate) use self::name::host_of;
pub(crate) use self::tally::TransactionTally;

use self::finish::without_skipped;
use self::name::learn_domain;
use self::open::Open;
use self::streams::{Streams, sum};
use self::upgrade::{is_tunnel, upgrade_of};
use crate::application::Plain;
use crate::body::BodyCollector;
use crate::calls;
use crate::commands::{Commands, Ending};
use crate::context::Context;
use crate::hash::HashMap;
use crate::streaming::Live;
use crate::tunnel::{Place, Tunnels};
use crate::{ConnectionFacts, DnsTransaction, Half, Interest, LoadLevel};

/// Assembles the transactions of one connection.
pub(crate) struct Assembler {
    protocol: Protocol,
    place: Place,
    /// Boxed, as tables have room for several: an idle connection kept 3.7 KiB for transactions that it might have.
    open: HashMap<StreamKey, Box<Open>>,
    commands: Commands,
    /// Queries of DNS under way.
    queries: usize,
    pub(crate) tally: TransactionTally,
    /// The gap being told to the parser is one that was asked for.
    pub(crate) skipping: bool,
    /// What came last is not known: nobody cancelled what is under way.
    pub(crate) end_lost: bool,
    streams: Streams,
    tunnels: Tunnels,
}

/// What an event means for the connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing beyond its transaction.
    Continue,
    /// The stream of this transaction, whose response head just came, is a tunnel from here on.
    Tunnel { key: StreamKey, time: Time },
    /// What follows is TLS, with the same protocol inside.
    StartTls {
        client: Bytes,
        server: Bytes,
        time: Time,
    },
    /// The connection speaks another protocol from here on.
    Upgraded {
        key: StreamKey,
        to: Upgrade,
        client: Bytes,
        server: Bytes,
        time: Time,
    },
}

impl Assembler {
    pub(crate) fn new(protocol: Protocol, place: Place) -> Self {
        Self {
            protocol,
            place,
            open: HashMap::default(),
            commands: Commands::new(place),
            queries: 0,
            tally: TransactionTally::default(),
            skipping: false,
            end_lost: false,
            streams: Streams::NONE,
            tunnels: Tunnels::new(),
        }
    }

    /// Carries the tally over to the parser of the protocol that follows an upgrade.
    pub(crate) fn succeed(protocol: Protocol, former: &Self) -> Self {
        Self {
            tally: former.tally,
            ..Self::new(protocol, former.place)
        }
    }

    /// Whose transactions they are.
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Transactions under way.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len() + self.commands.open_count() + self.queries
    }

    /// The lowest interest of the transactions under way: whether anybody wants body bytes. The messages of a call are counted in them.
    pub(crate) fn wants_bodies(&self) -> bool {
        self.tunnels.are_read()
            || self.open.values().any(|open| {
                matches!(open.interest, Interest::Body(_))
                || open.call.is_some()
                // Messages are found only by reading on, but for those whose frames are the connection's own.
                || (open.live.is_some() && open.carried.is_none())
            })
    }

    /// Takes one event.
    pub(crate) fn event(&mut self, event: Event, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> Step {
        match event {
            Event::RequestHead {
                key,
                head,
                started,
                time,
            } => self.request(key, *head, [started, time], facts, cx),
            Event::ResponseHead {
                key,
                head,
                started,
                time,
            } => return self.response(key, *head, [started, time], facts, cx),
            Event::Body {
                key,
                side,
                data,
                time,
            } => {
                if self.tunnels.has(key) {
                    self.tunnels.piece(key, side, Plain::Bytes(data), time, cx);
                } else if let Some(open) = self.open.get_mut(&key) {
                    if let Some(call) = &mut open.call {
                        call.bytes(side, &data);
                    }
                    let is_body = self
                        .streams
                        .read(open, cx, |live, cx| live.bytes(side, &data, time, cx));
                    let (half, body) = open.half(side);
                    half.last_byte = Some(time);
                    if is_body {
                        body.push(&data, cx.budget, cx.stats);
                    }
                }
            }
            Event::BodyGap {
                key,
                side,
                length,
                time,
            } => {
                if self.tunnels.has(key) {
                    self.tunnel_gap(key, side, length, time, cx);
                } else if let Some(open) = self.open.get_mut(&key) {
                    if let Some(call) = &mut open.call {
                        call.gap(side, length);
                    }
                    let is_skipped = self.skipping;
                    let is_body = self
                        .streams
                        .read(open, cx, |live, cx| live.gap(side, length, is_skipped, time, cx));
                    if let (true, Some(skipped)) = (self.skipping, open.skipped.get_mut(side.index())) {
                        *skipped += length;
                    }
                    let (half, body) = open.half(side);
                    half.last_byte = half.last_byte.max((length > 0).then_some(time));
                    match (is_body, self.skipping) {
                        (false, _) => {}
                        (true, true) => body.pass(length),
                        (true, false) => body.gap(length),
                    }
                }
            }
            Event::Trailers {
                key,
                side,
                fields,
                partial,
                time,
            } => {
                if let Some(open) = self.open.get_mut(&key) {
                    let (half, _) = open.half(side);
                    half.last_byte = Some(time);
                    half.trailers.extend(fields);
                    half.trailers_partial |= partial;
                }
            }
            Event::Interim { key, status, .. } => {
                if let Some(open) = self.open.get_mut(&key)
                    && open.interim.len() < 16
                {
                    open.interim.push(status);
                }
            }
            Event::HalfEnd { key, side, time } => {
                self.tunnels.eof(key, side, time, cx);
                if let Some(open) = self.open.get_mut(&key) {
                    let (half, _) = open.half(side);
                    half.ended = true;
                    half.last_byte = half.last_byte.max(Some(time));
                }
            }
            Event::End {
                key,
                outcome,
                request,
                response,
                time,
            } => {
                self.end_tunnel(key, time, cx);
                if outcome == Outcome::Upgraded
                    && let Some(open) = self.open.get_mut(&key)
                    && open.carried.is_none()
                    && open.live.as_ref().is_some_and(|live| live.is_websocket())
                {
                    // Its messages follow, carried by the connection itself.
                    open.carried = Some([request, response]);
                    return Step::Continue;
                }
                if let Some(mut open) = self.open.remove(&key) {
                    let [before_request, before_response] = open.carried.unwrap_or_default();
                    let (request, response) = (sum(before_request, request), sum(before_response, response));
                    let [from_client, from_server] = open.skipped;
                    open.half(Side::Client).0.counts = without_skipped(request, from_client);
                    open.half(Side::Server).0.counts = without_skipped(response, from_server);
                    self.finish(key, open, outcome, time, facts, cx);
                }
            }
            Event::Upgraded {
                key,
                to,
                client,
                server,
                time,
            } => {
                return Step::Upgraded {
                    key,
                    to,
                    client,
                    server,
                    time,
                };
            }
            Event::Command {
                key,
                command,
                started,
                time,
            } => self.commands.begin(key, *command, [started, time], facts, cx),
            Event::CommandNamed { key, command } => self.commands.name(key, *command, cx),
            Event::CommandEnd {
                key,
                result,
                outcome,
                traffic,
                time,
            } => {
                let ending = Ending {
                    protocol: self.protocol,
                    is_lost: self.end_lost,
                };
                let result = result.map(|result| *result);
                self.commands.end(
                    key,
                    result,
                    outcome,
                    traffic,
                    time,
                    &ending,
                    &mut self.tally,
                    facts,
                    cx,
                );
            }
            Event::Query { .. } => self.queries += 1,
            Event::QueryEnd { exchange, .. } => {
                self.queries = self.queries.saturating_sub(1);
                self.query(*exchange, facts, cx);
            }
            Event::StartTls { client, server, time } => return Step::StartTls { client, server, time },
            Event::Resync {
                reason,
                dropped,
                side,
            } => {
                tracing::debug!(conn_id = %facts.public_id, ?side, reason, dropped, "message passed over");
                self.tally.resyncs += 1;
                cx.stats.resyncs.add(1);
                cx.stats.protocols.of(self.protocol).resyncs.add(1);
            }
            Event::Orphan { .. } => {
                self.tally.orphans += 1;
                cx.stats.orphans.add(1);
                cx.stats.protocols.of(self.protocol).orphans.add(1);
            }
        }
        Step::Continue
    }

    /// A query of DNS is over.
    fn query(&mut self, mut exchange: dns::Exchange, facts: &ConnectionFacts, cx: &mut Context<'_>) {
        if exchange.outcome == Outcome::Canceled && self.end_lost {
            exchange.outcome = Outcome::Incomplete;
        }
        cx.names.learn_exchange(facts, &exchange, cx.stats);
        self.tally.finished += 1;
        cx.stats.protocols.of(self.protocol).transactions.add(1);
        self.tally.gap_bytes += exchange.gap_bytes();
        match exchange.outcome {
            Outcome::Incomplete | Outcome::Timeout => self.tally.incomplete += 1,
            Outcome::Canceled => self.tally.canceled += 1,
            _ if exchange.gap_bytes() > 0 => self.tally.incomplete += 1,
            _ => {}
        }
        if cx.consumer.wants_dns(facts) {
            let transaction = DnsTransaction::new(exchange, cx);
            cx.stats.transactions.add(1);
            cx.consumer.dns(facts, &transaction);
        } else {
            self.tally.refused_by_plugins += 1;
        }
    }

    fn request(
        &mut self,
        key: StreamKey,
        head: RequestHead,
        [started, time]: [Time; 2],
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        learn_domain(facts, &head);
        let call = calls::begin(&head, facts);
        let wanted = cx.consumer.interest(facts, self.place.key(key), &head);
        let shed = matches!(wanted, Interest::Body(_)) && cx.load.level() > LoadLevel::Full;
        let interest = if shed { Interest::Head } else { wanted };
        let limit = match interest {
            Interest::Body(limit) => limit,
            Interest::None | Interest::Head => 0,
        };
        let live = if interest == Interest::None {
            None
        } else {
            Live::join(&head, limit, cx.now).map(Box::new)
        };
        if head.partial && live.is_none() {
            count_partial_head(self.protocol, &mut self.tally, cx);
        }
        let id = cx.ids.next(cx.clock.at(KernelTime(started.0)));
        let request_half = Half {
            first_byte: Some(started),
            head_end: Some(time),
            last_byte: Some(time),
            ..Half::default()
        };
        let open = Box::new(Open {
            id,
            interest,
            shed,
            request: head,
            response: None,
            halves: [request_half, Half::default()],
            bodies: [BodyCollector::new(limit), BodyCollector::new(limit)],
            skipped: [0; 2],
            interim: Vec::new(),
            upgraded_to: None,
            call: call.filter(|_| interest != Interest::None),
            carried: live.as_ref().map(|_| [Counts::default(); 2]),
            live,
        });
        self.streams.begin(&open);
        match self.open.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(open);
            }
            Entry::Occupied(slot) => debug_assert!(false, "stream {:?} began twice", slot.key()),
        }
    }

    fn response(
        &mut self,
        key: StreamKey,
        head: ResponseHead,
        [started, time]: [Time; 2],
        facts: &mut ConnectionFacts,
        cx: &Context<'_>,
    ) -> Step {
        let has_streams = self.protocol_has_streams();
        if let Some(open) = self.open.get_mut(&key) {
            calls::response(&mut open.call, &head, facts);
            if head.partial {
                count_partial_head(self.protocol, &mut self.tally, cx);
            }
            if open.interest != Interest::None && open.live.is_none() {
                let limit = open.half(Side::Server).1.limit();
                open.live = Live::begin(&open.request, &head, limit, cx.now).map(Box::new);
                self.streams.begin(open);
            }
            open.response = Some(head);
            let (half, _) = open.half(Side::Server);
            half.first_byte = Some(started);
            half.head_end = Some(time);
            half.last_byte = Some(time);
            if has_streams && is_tunnel(open) {
                return Step::Tunnel { key, time };
            }
        }
        Step::Continue
    }
}

/// A head lacks fields.
fn count_partial_head(protocol: Protocol, tally: &mut TransactionTally, cx: &Context<'_>) {
    tally.partial_heads += 1;
    cx.stats.partial_heads.add(1);
    cx.stats.protocols.of(protocol).partial_heads.add(1);
}
