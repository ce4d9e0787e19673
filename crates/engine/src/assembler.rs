//! From the events of a parser to whole transactions.

mod streams;
mod upgrade;

use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qtap_capture::KernelTime;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{
    Counts, Event, Outcome, RequestHead, ResponseHead, Side, StreamKey, Time, Upgrade, dns, grpc,
};

use self::streams::{Streams, sum};
use self::upgrade::{is_tunnel, upgrade_of};
use crate::body::BodyCollector;
use crate::calls;
use crate::commands::{Commands, Ending};
use crate::context::Context;
use crate::hash::HashMap;
use crate::streaming::Live;
use crate::{ConnectionFacts, DnsTransaction, Half, Interest, LoadLevel, Transaction};

/// A transaction on its way.
struct Open {
    id: Arc<str>,
    interest: Interest,
    /// Bodies are wanted, but not kept, to shed load.
    shed: bool,
    request: RequestHead,
    response: Option<ResponseHead>,
    halves: [Half; 2],
    bodies: [BodyCollector; 2],
    /// Bytes of each half that were passed over on request.
    skipped: [u64; 2],
    interim: Vec<u16>,
    upgraded_to: Option<Upgrade>,
    /// It is a call of gRPC, or may be one.
    call: Option<Box<grpc::Tracker>>,
    /// Its messages, if it goes on after the response head.
    live: Option<Box<Live>>,
    /// What HTTP/1 counted before it handed the connection over.
    carried: Option<[Counts; 2]>,
}

impl Open {
    fn half(&mut self, side: Side) -> (&mut Half, &mut BodyCollector) {
        let [client, server] = &mut self.halves;
        let [request, response] = &mut self.bodies;
        match side {
            Side::Client => (client, request),
            Side::Server => (server, response),
        }
    }
}

/// What the transactions of a connection came to, for its health.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransactionTally {
    pub(crate) finished: u64,
    pub(crate) refused_by_plugins: u64,
    pub(crate) incomplete: u64,
    pub(crate) gap_bytes: u64,
    pub(crate) truncated_bodies: u64,
    /// Not kept to shed load.
    pub(crate) shed_bodies: u64,
    pub(crate) partial_heads: u64,
    pub(crate) orphans: u64,
    pub(crate) resyncs: u64,
    pub(crate) canceled: u64,
}

/// Assembles the transactions of one connection.
pub(crate) struct Assembler {
    protocol: Protocol,
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
}

/// What an event means for the connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing beyond its transaction.
    Continue,
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
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            open: HashMap::default(),
            commands: Commands::default(),
            queries: 0,
            tally: TransactionTally::default(),
            skipping: false,
            end_lost: false,
            streams: Streams::NONE,
        }
    }

    /// Carries the tally over to the parser of the protocol that follows an upgrade.
    pub(crate) fn succeed(protocol: Protocol, former: &Self) -> Self {
        Self {
            tally: former.tally,
            ..Self::new(protocol)
        }
    }

    /// Transactions under way.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len() + self.commands.open_count() + self.queries
    }

    /// The lowest interest of the transactions under way: whether anybody wants body bytes. The messages of a call are counted in them.
    pub(crate) fn wants_bodies(&self) -> bool {
        self.open.values().any(|open| {
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
            } => self.response(key, *head, [started, time], facts, cx),
            Event::Body {
                key,
                side,
                data,
                time,
            } => {
                if let Some(open) = self.open.get_mut(&key) {
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
                if let Some(open) = self.open.get_mut(&key) {
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
            }
            Event::Orphan { .. } => {
                self.tally.orphans += 1;
                cx.stats.orphans.add(1);
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
        let wanted = cx.consumer.interest(facts, key, &head);
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
            self.tally.partial_heads += 1;
            cx.stats.partial_heads.add(1);
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
    ) {
        if let Some(open) = self.open.get_mut(&key) {
            calls::response(&mut open.call, &head, facts);
            if head.partial {
                self.tally.partial_heads += 1;
                cx.stats.partial_heads.add(1);
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
        }
    }

    fn finish(
        &mut self,
        key: StreamKey,
        open: Box<Open>,
        outcome: Outcome,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        let mut open = *open;
        let messages = self.streams.end(&mut open, time, &mut self.tally, cx);
        let is_websocket = matches!(messages, Some(crate::Messages::WebSocket(_)));
        // A stream of HTTP/2 that became a WebSocket ends with that, as a connection does (P-W2).
        let outcome = match outcome {
            Outcome::Complete | Outcome::Canceled if is_websocket => Outcome::Upgraded,
            outcome => outcome,
        };
        let outcome = match outcome {
            // So does a tunnel on a stream (P-C1).
            Outcome::Complete | Outcome::Canceled if is_tunnel(&open) => Outcome::Upgraded,
            outcome => outcome,
        };
        if outcome == Outcome::Upgraded || is_websocket {
            open.upgraded_to = upgrade_of(&open);
        }
        let outcome = match outcome {
            Outcome::Canceled if self.end_lost => Outcome::Incomplete,
            outcome => outcome,
        };
        let request_coding = open.request.field("content-encoding");
        let response_coding = open
            .response
            .as_ref()
            .and_then(|head| head.field("content-encoding"));
        let [request_body, response_body] = open.bodies;
        let request_body = request_body.finish(request_coding, cx.budget);
        let response_body = response_body.finish(response_coding, cx.budget);
        let wanted = matches!(open.interest, Interest::Body(_));
        let [mut request_half, mut response_half] = open.halves;
        request_half.body = request_body;
        response_half.body = response_body;
        let call = open.call;
        let halves = [&mut request_half, &mut response_half];
        let grpc = call.and_then(|call| calls::finish(call, outcome, halves, facts));
        if !wanted {
            // Nobody asked for the bodies: that they were not kept is no truncation.
            request_half.body.truncated = false;
            response_half.body.truncated = false;
        }
        let mut shed_bodies = 0;
        if open.shed {
            for body in [&mut request_half.body, &mut response_half.body] {
                body.truncated = body.total > 0;
                shed_bodies += u64::from(body.truncated);
                cx.stats.lost_shed.add(body.total - body.gap_bytes);
            }
        }
        let started = request_half.first_byte.unwrap_or(time);
        let finished = cx.clock.at(KernelTime(time.0));
        let transaction = Transaction {
            id: open.id,
            protocol: self.protocol,
            stream: key.0,
            // Not asked of the clock twice: it may be set in between.
            started: finished - Duration::from_nanos(time.0.saturating_sub(started.0)),
            finished,
            request: open.request,
            response: open.response,
            request_half,
            response_half,
            interim: open.interim,
            outcome,
            upgraded_to: open.upgraded_to,
            grpc,
            partial: false,
            messages,
        };
        self.count(&transaction, shed_bodies);
        if open.interest == Interest::None {
            self.tally.refused_by_plugins += 1;
        } else {
            cx.stats.transactions.add(1);
            cx.consumer.transaction(facts, &transaction);
        }
    }

    fn count(&mut self, transaction: &Transaction, shed_bodies: u64) {
        self.tally.finished += 1;
        self.tally.gap_bytes += transaction.gap_bytes();
        let bodies = [&transaction.request_half.body, &transaction.response_half.body];
        let truncated = bodies.iter().filter(|body| body.truncated).count() as u64;
        self.tally.truncated_bodies += truncated - shed_bodies;
        self.tally.shed_bodies += shed_bodies;
        match transaction.outcome {
            Outcome::Incomplete | Outcome::Timeout => self.tally.incomplete += 1,
            Outcome::Canceled => self.tally.canceled += 1,
            _ if transaction.gap_bytes() > 0 => self.tally.incomplete += 1,
            _ => {}
        }
    }
}

/// Counts in which bytes that were passed over on request are no gap.
fn without_skipped(counts: Counts, skipped: u64) -> Counts {
    Counts {
        gap_bytes: counts.gap_bytes.saturating_sub(skipped),
        ..counts
    }
}

/// The connection's domain, if none is known yet, from the authority of a request. An address is no name.
fn learn_domain(facts: &mut ConnectionFacts, head: &RequestHead) {
    if facts.domain.is_some() {
        return;
    }
    let Some(authority) = head.authority.as_deref() else {
        return;
    };
    let Ok(authority) = std::str::from_utf8(authority) else {
        return;
    };
    let host = if authority.starts_with('[') {
        authority
            .trim_start_matches('[')
            .split(']')
            .next()
            .unwrap_or_default()
    } else {
        authority.rsplit_once(':').map_or(authority, |(host, _)| host)
    };
    if !host.is_empty() && host.parse::<IpAddr>().is_err() {
        facts.domain = Some(Arc::from(host.to_ascii_lowercase()));
    }
}
