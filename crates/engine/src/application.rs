//! The application layer of one connection: detection, parsing, and what to do when that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use qtap_capture::KernelTime;
use qtap_protocol::detect::{self, Detection, Hints, Protocol};
use qtap_protocol::{Event, Limits, ParseError, Parser, RequestHead, Side, Time, Upgrade, http1, http2};

use crate::assembler::{Assembler, Step, TransactionTally};
use crate::context::Context;
use crate::{ConnectionFacts, ReasonCode};

/// Bytes of each side that detection looks at (P-D1).
const DETECT_BYTES: usize = 4096;
/// Pieces of both sides that detection looks at: a program may read byte by byte.
const DETECT_PIECES: usize = 1024;
/// How often a connection is detected anew after its parser said that it is something else (P-D4).
const DETECT_ATTEMPTS: u32 = 2;

/// A piece of plaintext.
#[derive(Clone, Debug)]
pub(crate) enum Plain {
    Bytes(Bytes),
    /// Bytes that were not captured.
    Gap(u64),
    /// Bytes that were not copied because nobody wants them: no loss.
    Skipped(u64),
}

/// What happened to the connection as a whole.
#[derive(Debug, PartialEq)]
pub(crate) enum After {
    Continue,
    /// What follows is of an unknown protocol again, beginning with these bytes of each side.
    Restart {
        client: Bytes,
        server: Bytes,
        time: Time,
    },
    /// Nothing of this connection is parsed any more: payload need not be copied.
    TurnedOff,
}

/// First bytes, kept until the protocol is known.
#[derive(Debug, Default)]
struct Detecting {
    pieces: Vec<(Side, Plain, Time)>,
    prefix: [BytesMut; 2],
    midstream: bool,
}

/// A protocol being parsed.
struct Parsing {
    parser: Box<dyn Parser>,
    assembler: Assembler,
    events: Vec<Event>,
    /// Head of the newest request, for an upgrade to h2c.
    h2c_head: Option<(Box<RequestHead>, [Time; 2])>,
    progress: KernelTime,
    stalled: bool,
}

enum State {
    Detecting(Detecting),
    Parsing(Box<Parsing>),
    Off,
}

/// Detection and parsing of one connection.
pub(crate) struct Application {
    state: State,
    attempts: u32,
    former: TransactionTally,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) off: Option<(ReasonCode, String)>,
    pub(crate) upgraded: Option<Upgrade>,
    pub(crate) plaintext_bytes: u64,
    pub(crate) gap_bytes: u64,
}

impl Application {
    pub(crate) fn new(midstream: bool) -> Self {
        Self {
            state: State::Detecting(Detecting {
                midstream,
                ..Detecting::default()
            }),
            attempts: 0,
            former: TransactionTally::default(),
            protocol: None,
            off: None,
            upgraded: None,
            plaintext_bytes: 0,
            gap_bytes: 0,
        }
    }

    /// Transactions so far.
    pub(crate) fn tally(&self) -> TransactionTally {
        match &self.state {
            State::Parsing(parsing) => parsing.assembler.tally,
            State::Detecting(_) | State::Off => self.former,
        }
    }

    /// Bytes held by detection or the parser.
    pub(crate) fn held(&self) -> usize {
        match &self.state {
            State::Detecting(detecting) => detecting.prefix.iter().map(BytesMut::len).sum(),
            State::Parsing(parsing) => {
                parsing.parser.buffered(Side::Client) + parsing.parser.buffered(Side::Server)
            }
            State::Off => 0,
        }
    }

    /// Body bytes that certainly follow on `side` and that no plugin wants.
    pub(crate) fn skippable(&self, side: Side) -> u64 {
        match &self.state {
            State::Parsing(parsing) if !parsing.assembler.wants_bodies() => parsing.parser.skippable(side),
            _ => 0,
        }
    }

    /// What follows is of an unknown protocol: the bytes so far were ciphertext after all, or what lies between is lost. Transactions
    /// under way end here.
    pub(crate) fn restart(
        &mut self,
        midstream: bool,
        facts: Option<&mut ConnectionFacts>,
        cx: &mut Context<'_>,
    ) {
        if let Some(facts) = facts {
            self.end_parser(facts, cx);
        }
        self.reset_detection(midstream);
    }

    fn reset_detection(&mut self, midstream: bool) {
        self.state = State::Detecting(Detecting {
            midstream,
            ..Detecting::default()
        });
        self.off = None;
    }

    /// The next piece of `side`.
    pub(crate) fn piece(
        &mut self,
        side: Side,
        piece: Plain,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) -> After {
        match &piece {
            Plain::Bytes(data) if data.is_empty() => return After::Continue,
            Plain::Bytes(data) => {
                self.plaintext_bytes += data.len() as u64;
                cx.stats.plaintext_bytes.add(data.len() as u64);
            }
            Plain::Gap(length) => self.gap_bytes += length,
            Plain::Skipped(_) => {}
        }
        match &mut self.state {
            State::Off => After::Continue,
            State::Detecting(detecting) => {
                detecting.add(side, piece, time);
                self.detect(facts, cx)
            }
            State::Parsing(_) => self.parse(side, piece, time, facts, cx),
        }
    }

    /// `side` sends no more.
    pub(crate) fn eof(
        &mut self,
        side: Side,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) -> After {
        self.with_parser(facts, cx, |parser, events| {
            parser.eof(side, time, events);
            Ok(())
        })
    }

    /// The connection is over, and what came last is not known.
    pub(crate) fn lose_end(&mut self) {
        if let State::Parsing(parsing) = &mut self.state {
            parsing.assembler.end_lost = true;
        }
    }

    /// The connection is over.
    pub(crate) fn close(&mut self, time: Time, facts: &mut ConnectionFacts, cx: &mut Context<'_>) {
        if let State::Detecting(detecting) = &self.state
            && !detecting.pieces.is_empty()
        {
            self.turn_off(
                ReasonCode::ProtocolUnknown,
                "closed before its protocol could be told".to_owned(),
            );
        }
        self.with_parser(facts, cx, |parser, events| {
            parser.close(time, events);
            Ok(())
        });
        if let State::Parsing(parsing) = &self.state {
            debug_assert_eq!(
                parsing.assembler.open_count(),
                0,
                "a parser left transactions open at close"
            );
        }
    }

    /// Periodic look: stalls (P-L3) and transactions without a byte for too long.
    pub(crate) fn check(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        let State::Parsing(parsing) = &mut self.state else {
            return After::Continue;
        };
        let held = parsing.parser.buffered(Side::Client) + parsing.parser.buffered(Side::Server);
        let idle_ns = cx.now.0.saturating_sub(parsing.progress.0);
        let (stall_ns, drop_ns) = (
            cx.settings.stall.as_nanos() as u64,
            cx.settings.stall_drop.as_nanos() as u64,
        );
        let resync = held > 0 && ((idle_ns > stall_ns && !parsing.stalled) || idle_ns > drop_ns);
        if resync {
            parsing.stalled = true;
            cx.stats
                .lost_stalled
                .add(if idle_ns > drop_ns { held as u64 } else { 0 });
        }
        let timeout_ns = cx.settings.transaction_timeout.as_nanos() as u64;
        let (now, before) = (Time(cx.now.0), Time(cx.now.0.saturating_sub(timeout_ns)));
        self.with_parser(facts, cx, |parser, events| {
            if resync {
                for side in [Side::Client, Side::Server] {
                    if parser.buffered(side) > 0 {
                        parser.resync(side, now, events);
                    }
                }
            }
            parser.expire(before, events);
            Ok(())
        })
    }

    /// Gives up what the parser holds.
    pub(crate) fn relieve(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        let now = Time(cx.now.0);
        self.with_parser(facts, cx, |parser, events| {
            for side in [Side::Client, Side::Server] {
                if parser.buffered(side) > 0 {
                    parser.resync(side, now, events);
                }
            }
            Ok(())
        })
    }

    fn detect(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        let State::Detecting(detecting) = &mut self.state else {
            return After::Continue;
        };
        let alpn = facts
            .tls
            .as_ref()
            .and_then(|tls| tls.alpn.as_deref())
            .map(str::as_bytes);
        let server_port = match facts.role {
            qtap_capture::Role::Client => facts.remote.port(),
            qtap_capture::Role::Server => facts.local.port(),
        };
        let hints = Hints {
            alpn,
            server_port,
            midstream: detecting.midstream,
        };
        let [client, server] = &detecting.prefix;
        let protocol = match detect::detect(client, server, &hints) {
            Detection::Known(protocol) => protocol,
            Detection::NeedMore if !detecting.is_full() => return After::Continue,
            Detection::NeedMore | Detection::Other => {
                self.turn_off(
                    ReasonCode::ProtocolUnknown,
                    "none of the known protocols".to_owned(),
                );
                return After::TurnedOff;
            }
        };
        let is_tls = facts.tls.is_some();
        let exe = facts.process.as_ref().map_or("", |process| process.exe.as_str());
        tracing::debug!(conn_id = %facts.public_id, cookie = facts.cookie, exe, event.Protocol = protocol.name(),
            event.IsTLS = is_tls, "processing protocol event");
        facts.protocol = Some(protocol);
        self.protocol = Some(protocol);
        if !cx.consumer.wants(facts, protocol) {
            self.turn_off(
                ReasonCode::NoStack,
                format!("no stack is configured for {}", protocol.name()),
            );
            return After::TurnedOff;
        }
        let (pieces, midstream) = (std::mem::take(&mut detecting.pieces), detecting.midstream);
        let parser: Box<dyn Parser> = match protocol {
            Protocol::Http1 => Box::new(http1::Parser::new(Limits::default(), midstream)),
            Protocol::Http2 if midstream => {
                Box::new(http2::Parser::new(Limits::default(), http2::Start::Midstream))
            }
            Protocol::Http2 => Box::new(http2::Parser::new(Limits::default(), http2::Start::Preface)),
        };
        let mut assembler = Assembler::new(protocol);
        assembler.tally = self.former;
        self.begin(parser, assembler, cx.now);
        self.replay(pieces, facts, cx)
    }

    fn begin(&mut self, parser: Box<dyn Parser>, assembler: Assembler, now: KernelTime) {
        let parsing = Parsing {
            parser,
            assembler,
            events: Vec::new(),
            h2c_head: None,
            progress: now,
            stalled: false,
        };
        self.state = State::Parsing(Box::new(parsing));
    }

    fn replay(
        &mut self,
        pieces: Vec<(Side, Plain, Time)>,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) -> After {
        let mut pieces = pieces.into_iter();
        while let Some((side, piece, time)) = pieces.next() {
            match self.parse(side, piece, time, facts, cx) {
                After::Continue => {}
                After::TurnedOff => return After::TurnedOff,
                After::Restart { client, server, time } => {
                    let mut rest = [BytesMut::from(&client[..]), BytesMut::from(&server[..])];
                    for (side, piece, _) in pieces {
                        if let (Plain::Bytes(data), Some(rest)) = (piece, rest.get_mut(side.index())) {
                            rest.extend_from_slice(&data);
                        }
                    }
                    let [client, server] = rest.map(BytesMut::freeze);
                    return After::Restart { client, server, time };
                }
            }
        }
        After::Continue
    }

    fn parse(
        &mut self,
        side: Side,
        piece: Plain,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) -> After {
        if let State::Parsing(parsing) = &mut self.state {
            parsing.assembler.skipping = matches!(piece, Plain::Skipped(_));
        }
        self.with_parser(facts, cx, |parser, events| match piece {
            Plain::Bytes(data) => parser.bytes(side, data, time, events),
            Plain::Gap(length) | Plain::Skipped(length) => parser.gap(side, length, time, events),
        })
    }

    /// Calls the parser, assembles what it found, and deals with its failure. A panic ends parsing of this
    /// connection, counted, and nothing else.
    fn with_parser(
        &mut self,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut dyn Parser, &mut Vec<Event>) -> Result<(), ParseError>,
    ) -> After {
        let State::Parsing(parsing) = &mut self.state else {
            return After::Continue;
        };
        let mut events = std::mem::take(&mut parsing.events);
        let result = catch_unwind(AssertUnwindSafe(|| call(parsing.parser.as_mut(), &mut events)));
        if !events.is_empty() {
            parsing.progress = cx.now;
            parsing.stalled = false;
        }
        let mut step = Step::Continue;
        for event in events.drain(..) {
            if let Event::RequestHead {
                head, started, time, ..
            } = &event
                && head
                    .field("upgrade")
                    .is_some_and(|token| token.eq_ignore_ascii_case(b"h2c"))
            {
                parsing.h2c_head = Some((head.clone(), [*started, *time]));
            }
            match parsing.assembler.event(event, facts, cx) {
                Step::Continue => {}
                other => step = other,
            }
        }
        parsing.events = events;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.failed(&error, facts, cx),
            Err(_) => {
                cx.stats.parser_panics.add(1);
                tracing::error!(conn_id = %facts.public_id, protocol = ?facts.protocol, "parser panicked; connection is not parsed further");
                self.turn_off(
                    ReasonCode::ParserGaveUp,
                    "internal error in the parser".to_owned(),
                );
                return After::TurnedOff;
            }
        }
        match step {
            Step::Continue => After::Continue,
            Step::Upgraded {
                to,
                client,
                server,
                time,
                ..
            } => self.upgraded(to, [client, server], time, facts, cx),
        }
    }

    fn upgraded(
        &mut self,
        to: Upgrade,
        [client, server]: [Bytes; 2],
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) -> After {
        self.upgraded = Some(to.clone());
        let State::Parsing(parsing) = &mut self.state else {
            return After::Continue;
        };
        self.former = parsing.assembler.tally;
        match (to, parsing.h2c_head.take()) {
            (Upgrade::WebSocket, _) => {
                self.state = State::Off;
                After::TurnedOff
            }
            (Upgrade::H2c, Some((request, [started, requested]))) => {
                let start = http2::Start::UpgradedFrom {
                    request,
                    started,
                    time: requested,
                };
                let assembler = Assembler::succeed(Protocol::Http2, &parsing.assembler);
                self.begin(
                    Box::new(http2::Parser::new(Limits::default(), start)),
                    assembler,
                    cx.now,
                );
                facts.protocol = Some(Protocol::Http2);
                self.protocol = Some(Protocol::Http2);
                let pieces = vec![
                    (Side::Client, Plain::Bytes(client), time),
                    (Side::Server, Plain::Bytes(server), time),
                ];
                self.replay(pieces, facts, cx)
            }
            _ => {
                self.state = State::Detecting(Detecting::default());
                After::Restart { client, server, time }
            }
        }
    }

    /// Ends the transactions of a parser that takes no more bytes.
    fn end_parser(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) {
        let State::Parsing(mut parsing) = std::mem::replace(&mut self.state, State::Off) else {
            return;
        };
        let mut events = Vec::new();
        let closed = catch_unwind(AssertUnwindSafe(|| {
            parsing.parser.close(Time(cx.now.0), &mut events)
        }));
        if closed.is_err() {
            cx.stats.parser_panics.add(1);
        }
        for event in events {
            parsing.assembler.event(event, facts, cx);
        }
        self.former = parsing.assembler.tally;
        self.former.incomplete += parsing.assembler.open_count() as u64;
    }

    fn failed(&mut self, error: &ParseError, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        tracing::debug!(conn_id = %facts.public_id, %error, "parser gave up");
        cx.stats.parser_errors.add(1);
        self.attempts += 1;
        self.end_parser(facts, cx);
        if let (ParseError::NotThisProtocol { .. }, true) = (error, self.attempts < DETECT_ATTEMPTS) {
            self.reset_detection(true);
            return After::Continue;
        }
        self.turn_off(ReasonCode::ParserGaveUp, error.to_string());
        After::TurnedOff
    }

    /// Stops parsing. Transactions still under way are lost, and counted.
    fn turn_off(&mut self, code: ReasonCode, detail: String) {
        self.former = self.tally();
        if let State::Parsing(parsing) = &self.state {
            self.former.incomplete += parsing.assembler.open_count() as u64;
        }
        self.off = Some((code, detail));
        self.state = State::Off;
    }
}

impl Detecting {
    fn add(&mut self, side: Side, piece: Plain, time: Time) {
        if let Some(prefix) = self.prefix.get_mut(side.index()) {
            match &piece {
                Plain::Bytes(data) => {
                    let room = DETECT_BYTES.saturating_sub(prefix.len()).min(data.len());
                    prefix.extend_from_slice(data.get(..room).unwrap_or_default());
                }
                Plain::Gap(_) | Plain::Skipped(_) => {
                    prefix.clear();
                    self.midstream = true;
                }
            }
        }
        self.pieces.push((side, piece, time));
    }

    fn is_full(&self) -> bool {
        self.pieces.len() >= DETECT_PIECES || self.prefix.iter().any(|prefix| prefix.len() >= DETECT_BYTES)
    }
}
