//! The application layer of one connection: detection, parsing, and what to do when that fails.

mod detecting;
mod inside;
mod parsing;

use bytes::Bytes;
use qtap_capture::KernelTime;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Event, Parser, RequestHead, Side, Time, Upgrade};

use self::detecting::Detecting;
use self::parsing::Parsing;
use crate::assembler::TransactionTally;
use crate::context::Context;
use crate::tunnel::{Place, Tunnel};
use crate::{ConnectionFacts, ReasonCode};

/// No time at all.
pub(crate) const NEVER: KernelTime = KernelTime(u64::MAX);

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
    /// What follows is TLS, beginning with these bytes of each side; its plaintext goes to the same parser.
    StartTls {
        client: Bytes,
        server: Bytes,
        time: Time,
    },
    /// Nothing of this connection is parsed any more: payload need not be copied.
    TurnedOff,
}

enum State {
    Detecting(Detecting),
    Parsing(Box<Parsing>),
    /// All that follows is inside of a tunnel.
    Tunnel(Box<Tunnel>),
    Off,
}

/// Detection and parsing of one connection.
pub(crate) struct Application {
    state: State,
    place: Place,
    /// The last request that may make a tunnel.
    asked: Option<Box<RequestHead>>,
    attempts: u32,
    former: TransactionTally,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) off: Option<(ReasonCode, String)>,
    pub(crate) upgraded: Option<Upgrade>,
    pub(crate) plaintext_bytes: u64,
    pub(crate) gap_bytes: u64,
}

impl Application {
    pub(crate) fn new(midstream: bool, place: Place) -> Self {
        Self {
            state: State::Detecting(Detecting::new(midstream)),
            place,
            asked: None,
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
            State::Parsing(parsing) => parsing.assembler.tally(),
            State::Tunnel(tunnel) => {
                let mut tally = self.former;
                tally.add(&tunnel.tally());
                tally
            }
            State::Detecting(_) | State::Off => self.former,
        }
    }

    /// Whether the protocol is known and read.
    pub(crate) const fn is_parsing(&self) -> bool {
        matches!(self.state, State::Parsing(_) | State::Tunnel(_))
    }

    /// Bytes held by detection or the parser.
    pub(crate) fn held(&self) -> usize {
        match &self.state {
            State::Detecting(detecting) => detecting.held(),
            State::Parsing(parsing) => {
                parsing.held()
                    + parsing.parser.waiting()
                    + parsing.assembler.streams_held()
                    + parsing.assembler.tunnels_held()
            }
            State::Tunnel(tunnel) => tunnel.held(),
            State::Off => 0,
        }
    }

    /// When something was last found, if bytes are held or a transaction is open.
    pub(crate) fn under_way_since(&self) -> Option<KernelTime> {
        match &self.state {
            State::Parsing(parsing) if parsing.assembler.has_pending() || parsing.held() > 0 => {
                Some(parsing.progress)
            }
            _ => None,
        }
    }

    /// Body bytes that certainly follow on `side` and that no plugin wants.
    pub(crate) fn skippable(&self, side: Side) -> u64 {
        match &self.state {
            State::Parsing(parsing) if !parsing.assembler.wants_bodies() => parsing
                .parser
                .skippable(side)
                .max(parsing.assembler.certain(side)),
            _ => 0,
        }
    }

    /// When a transaction wants to report that goes on for long.
    pub(crate) fn streams_due(&self) -> KernelTime {
        match &self.state {
            State::Parsing(parsing) => parsing.assembler.streams_due(),
            State::Detecting(_) | State::Tunnel(_) | State::Off => NEVER,
        }
    }

    /// Tells the state of transactions that are due.
    pub(crate) fn report_streams(&mut self, facts: &ConnectionFacts, cx: &mut Context<'_>) {
        if let State::Parsing(parsing) = &mut self.state {
            let parser = &parsing.parser;
            parsing
                .assembler
                .report_streams(|key| parser.counts(key), facts, cx);
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
        self.state = State::Detecting(Detecting::new(midstream));
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
            State::Tunnel(tunnel) => {
                tunnel.piece(side, piece, time, cx);
                if tunnel.is_off() {
                    After::TurnedOff
                } else {
                    After::Continue
                }
            }
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
        if let State::Tunnel(tunnel) = &mut self.state {
            tunnel.eof(side, time, cx);
        }
        self.with_parser(facts, cx, |parser, events| {
            parser.eof(side, time, events);
            Ok(())
        })
    }

    /// The connection is over, and what came last is not known.
    pub(crate) fn lose_end(&mut self) {
        match &mut self.state {
            State::Parsing(parsing) => parsing.assembler.end_lost = true,
            State::Tunnel(tunnel) => tunnel.lose_end(),
            State::Detecting(_) | State::Off => {}
        }
    }

    /// The connection is over. Its commands may still wait, see [`Self::parser_due`].
    pub(crate) fn close(&mut self, time: Time, facts: &mut ConnectionFacts, cx: &mut Context<'_>) {
        if let State::Detecting(detecting) = &self.state
            && !detecting.is_empty()
        {
            self.turn_off(
                ReasonCode::ProtocolUnknown,
                "closed before its protocol could be told".to_owned(),
            );
        }
        if let State::Tunnel(tunnel) = &mut self.state {
            tunnel.close(time, cx);
        }
        self.with_parser(facts, cx, |parser, events| {
            parser.close(time, events);
            Ok(())
        });
        if let State::Parsing(parsing) = &self.state {
            debug_assert!(
                parsing.assembler.open_count() == 0 || parsing.parser.due().is_some(),
                "a parser left transactions open at close"
            );
        }
    }

    /// Periodic look: stalls (P-L3) and transactions without a byte for too long.
    pub(crate) fn check(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        let State::Parsing(parsing) = &mut self.state else {
            return After::Continue;
        };
        let held = parsing.held();
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
                resync_both(parser, now, events);
            }
            parser.expire(before, events);
            Ok(())
        })
    }

    /// When the parser wants to be woken.
    pub(crate) fn parser_due(&self) -> KernelTime {
        match &self.state {
            State::Parsing(parsing) => parsing.parser.due().map_or(NEVER, |due| KernelTime(due.0)),
            State::Detecting(_) | State::Tunnel(_) | State::Off => NEVER,
        }
    }

    /// Wakes the parser.
    pub(crate) fn wake(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        let now = Time(cx.now.0);
        self.with_parser(facts, cx, |parser, events| {
            parser.wake(now, events);
            Ok(())
        })
    }

    /// Tells of what waits in the parser, as it is.
    pub(crate) fn release(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        self.with_parser(facts, cx, |parser, events| {
            parser.release(events);
            Ok(())
        })
    }

    /// Gives up what the parser holds.
    pub(crate) fn relieve(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
        match &mut self.state {
            State::Parsing(parsing) => {
                parsing.assembler.relieve_streams(cx);
                parsing.assembler.relieve_tunnels(cx);
            }
            State::Tunnel(tunnel) => tunnel.relieve(cx),
            State::Detecting(_) | State::Off => {}
        }
        let now = Time(cx.now.0);
        self.with_parser(facts, cx, |parser, events| {
            resync_both(parser, now, events);
            parser.release(events);
            Ok(())
        })
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

/// Gives up what the parser holds of either side.
fn resync_both(parser: &mut dyn Parser, now: Time, events: &mut Vec<Event>) {
    for side in [Side::Client, Side::Server] {
        if parser.buffered(side) > 0 {
            parser.resync(side, now, events);
        }
    }
}
