//! A protocol being parsed, and what follows when the parser ends, fails or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use qtap_capture::KernelTime;
use qtap_protocol::detect::Protocol;
use qtap_protocol::websocket::Carrier;
use qtap_protocol::{Event, Limits, ParseError, Parser, RequestHead, Side, StreamKey, Time, Upgrade, http2};

use super::{After, Application, Detecting, Plain, State};
use crate::assembler::{Assembler, Step};
use crate::context::{Context, keep};
use crate::{ConnectionFacts, ReasonCode};

/// How often a connection is detected anew after its parser said that it is something else (P-D4).
const DETECT_ATTEMPTS: u32 = 2;

/// A protocol being parsed.
pub(super) struct Parsing {
    pub(super) parser: Box<dyn Parser>,
    pub(super) assembler: Assembler,
    /// Head of the newest request, for an upgrade to h2c.
    h2c_head: Option<(Box<RequestHead>, [Time; 2])>,
    /// When something was last found.
    pub(super) progress: KernelTime,
    pub(super) stalled: bool,
}

impl Parsing {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.parser.buffered(Side::Client) + self.parser.buffered(Side::Server)
    }
}

impl Application {
    /// What follows goes to this parser.
    pub(super) fn begin(&mut self, parser: Box<dyn Parser>, assembler: Assembler, now: KernelTime) {
        let parsing = Parsing {
            parser,
            assembler,
            h2c_head: None,
            progress: now,
            stalled: false,
        };
        self.state = State::Parsing(Box::new(parsing));
    }

    /// The next piece of `side` for the parser.
    pub(super) fn parse(
        &mut self,
        side: Side,
        piece: Plain,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) -> After {
        if let State::Parsing(parsing) = &mut self.state {
            parsing.assembler.skipping = matches!(piece, Plain::Skipped(_));
            let stats = cx.stats.protocols.of(parsing.assembler.protocol());
            match &piece {
                Plain::Bytes(data) => stats.bytes.add(data.len() as u64),
                Plain::Gap(length) => stats.gap_bytes.add(*length),
                Plain::Skipped(_) => {}
            }
        }
        self.with_parser(facts, cx, |parser, events| match piece {
            Plain::Bytes(data) => parser.bytes(side, data, time, events),
            Plain::Gap(length) | Plain::Skipped(length) => parser.gap(side, length, time, events),
        })
    }

    /// Calls the parser, assembles what it found, and deals with its failure. A panic ends parsing of this
    /// connection, counted, and nothing else.
    pub(super) fn with_parser(
        &mut self,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut dyn Parser, &mut Vec<Event>) -> Result<(), ParseError>,
    ) -> After {
        let State::Parsing(parsing) = &mut self.state else {
            return After::Continue;
        };
        let mut events = std::mem::take(&mut cx.scratch.parsed);
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
            if let Event::RequestHead { head, .. } = &event
                && head.method == "CONNECT"
            {
                self.asked = Some(head.clone());
            }
            match parsing.assembler.event(event, facts, cx) {
                Step::Continue => {}
                Step::Tunnel { key, time } => {
                    let counts = parsing.parser.counts(key);
                    parsing.assembler.begin_tunnel(key, counts, time, facts, cx);
                }
                other => step = other,
            }
        }
        keep(&mut cx.scratch.parsed, events);
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.failed(&error, facts, cx),
            Err(_) => {
                cx.stats.panics.add(1);
                cx.stats.protocols.of(parsing.assembler.protocol()).panics.add(1);
                tracing::error!(conn_id = %facts.public_id, protocol = ?facts.protocol, "parser panicked; connection is not parsed further");
                self.turn_off(
                    ReasonCode::ParserGaveUp,
                    "internal error in the parser".to_owned(),
                );
                return After::TurnedOff;
            }
        }
        match step {
            Step::Continue | Step::Tunnel { .. } => After::Continue,
            Step::StartTls { client, server, time } => After::StartTls { client, server, time },
            Step::Upgraded {
                key,
                to,
                client,
                server,
                time,
            } => self.upgraded(key, to, [client, server], time, facts, cx),
        }
    }

    fn upgraded(
        &mut self,
        key: StreamKey,
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
        self.former = parsing.assembler.tally();
        let pieces = |client, server| {
            vec![
                (Side::Client, Plain::Bytes(client), time),
                (Side::Server, Plain::Bytes(server), time),
            ]
        };
        match (to, parsing.h2c_head.take()) {
            (Upgrade::WebSocket, _) if parsing.assembler.is_websocket(key) => {
                parsing.parser = Box::new(Carrier::new(key));
                self.replay(pieces(client, server), facts, cx)
            }
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
                self.replay(pieces(client, server), facts, cx)
            }
            _ => {
                self.state = State::Detecting(Detecting::default());
                After::Restart { client, server, time }
            }
        }
    }

    /// Ends the transactions of a parser that takes no more bytes.
    pub(super) fn end_parser(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) {
        let mut parsing = match std::mem::replace(&mut self.state, State::Off) {
            State::Parsing(parsing) => parsing,
            State::Tunnel(mut tunnel) => {
                tunnel.close(Time(cx.now.0), cx);
                self.former.add(&tunnel.tally());
                return;
            }
            State::Detecting(_) | State::Off => return,
        };
        let mut events = Vec::new();
        let closed = catch_unwind(AssertUnwindSafe(|| {
            parsing.parser.close(Time(cx.now.0), &mut events);
            parsing.parser.release(&mut events);
        }));
        if closed.is_err() {
            cx.stats.panics.add(1);
        }
        for event in events {
            parsing.assembler.event(event, facts, cx);
        }
        self.former = parsing.assembler.tally();
        self.former.incomplete += parsing.assembler.open_count() as u64;
    }

    fn failed(&mut self, error: &ParseError, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        tracing::debug!(conn_id = %facts.public_id, %error, "parser gave up");
        cx.stats.parser_errors.add(1);
        if let Some(protocol) = self.protocol {
            cx.stats.protocols.of(protocol).error(error);
        }
        self.attempts += 1;
        self.end_parser(facts, cx);
        if let (ParseError::NotThisProtocol { .. }, true) = (error, self.attempts < DETECT_ATTEMPTS) {
            self.reset_detection(true);
            return After::Continue;
        }
        self.turn_off(ReasonCode::ParserGaveUp, error.to_string());
        After::TurnedOff
    }
}
