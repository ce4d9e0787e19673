//! A tunnel: a stream of bytes inside of a connection, with a protocol and transactions of its own (P-C1). It is what follows a CONNECT
//! that came inside of TLS, or on a stream of HTTP/2 (RFC 9113 §8.5). One in cleartext on the connection itself is none: its bytes are
//! those of the socket.
//!
//! TLS inside is read by its secrets only: calls of a library would be those of the session around it as well.

mod place;
mod streams;

use qtap_capture::KernelTime;
use qtap_protocol::{RequestHead, Side, Time};
use qtap_tls::{Secret, Session, Unreadable};

pub(crate) use place::Place;
pub(crate) use streams::Tunnels;

use crate::application::{After, Application, NEVER, Plain};
use crate::assembler::{TransactionTally, host_of};
use crate::connection::after;
use crate::connection::wire::{Reading, Sniffed, Sniffer, TlsWire, Wire};
use crate::context::{Context, keep};
use crate::settings::{Settings, TlsMode};
use crate::{ConnectionFacts, ReasonCode, TlsFacts};

/// Of a tunnel in a place that is too deep.
pub(crate) const TOO_DEEP: &str = "tunnels lie too deep inside of each other";
const NO_SECRET: &str = "no secret of the TLS inside was seen";
const CIPHER: &str = "the cipher suite of the TLS inside cannot be opened";
const NO_HANDSHAKE: &str = "the beginning of the TLS inside was not seen";
const NOT_READ: &str = "TLS is read from calls only, by configuration";
const UNKNOWN: &str = "none of the known protocols is spoken inside";
const GAVE_UP: &str = "the parser of the protocol inside gave up";

/// One tunnel.
pub(crate) struct Tunnel {
    /// Those of its connection, but for TLS, protocol and name.
    facts: Box<ConnectionFacts>,
    wire: Wire,
    app: Application,
    place: Place,
    /// When stalls were last looked for.
    last_check: KernelTime,
    /// Why nothing, or nothing more, of it is read.
    unread: Option<&'static str>,
}

impl Tunnel {
    /// The tunnel that `request`, a CONNECT, made on the connection of `facts`.
    pub(crate) fn new(facts: &ConnectionFacts, request: Option<&RequestHead>, place: Place) -> Self {
        let authority = request.and_then(|request| request.authority.as_deref());
        let facts = ConnectionFacts {
            tls: None,
            protocol: None,
            domain: authority
                .and_then(host_of)
                .map(|host| host.to_ascii_lowercase().into()),
            // What the TLS inside names is better.
            domain_by_dns: true,
            ..facts.clone()
        };
        Self {
            facts: Box::new(facts),
            wire: Wire::Sniffing(Sniffer::default()),
            app: Application::new(false, place),
            place,
            last_check: KernelTime(0),
            unread: None,
        }
    }

    /// The next piece of `side`.
    pub(crate) fn piece(&mut self, side: Side, piece: Plain, time: Time, cx: &mut Context<'_>) {
        match &mut self.wire {
            Wire::Off => {}
            Wire::Plain => self.app_piece(side, piece, time, cx),
            Wire::Tls(_) => {
                self.with_session(cx, |session, events| match piece {
                    Plain::Bytes(data) => session.bytes(side, data, time, events),
                    Plain::Gap(length) | Plain::Skipped(length) => session.gap(side, length, time, events),
                });
            }
            Wire::Sniffing(sniffer) => match piece {
                Plain::Bytes(data) => {
                    let sniffed = sniffer.add(side, data, time);
                    self.sniffed(sniffed, cx);
                }
                Plain::Gap(_) | Plain::Skipped(_) => {
                    sniffer.midstream = true;
                    if sniffer.is_empty() {
                        self.app.restart(true, Some(&mut self.facts), cx);
                    }
                }
            },
        }
    }

    /// `side` sends no more.
    pub(crate) fn eof(&mut self, side: Side, time: Time, cx: &mut Context<'_>) {
        let outcome = self.app.eof(side, time, &mut self.facts, cx);
        self.follow(outcome, cx);
    }

    /// It is over.
    pub(crate) fn close(&mut self, time: Time, cx: &mut Context<'_>) {
        if let Wire::Tls(tls) = &self.wire
            && tls.session.is_waiting()
        {
            self.unread.get_or_insert(NO_SECRET);
        }
        self.with_session(cx, |session, events| session.close(time, events));
        self.app.close(time, &mut self.facts, cx);
        self.app.release(&mut self.facts, cx);
        self.note_off();
    }

    /// What came last is not known.
    pub(crate) fn lose_end(&mut self) {
        self.app.lose_end();
    }

    /// Transactions so far, and whether it could be read.
    pub(crate) fn tally(&self) -> TransactionTally {
        let mut tally = self.app.tally();
        tally.tunnels.count(self.unread);
        tally
    }

    /// Nothing more of it is read.
    pub(crate) fn is_off(&self) -> bool {
        matches!(self.wire, Wire::Off)
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        let tls = match &self.wire {
            Wire::Tls(tls) => tls.held(),
            _ => 0,
        };
        tls + self.app.held()
    }

    /// Whether a secret may be of use.
    pub(crate) fn seeks_secrets(&self) -> bool {
        matches!(&self.wire, Wire::Tls(tls) if !tls.session.is_settled()) || self.app.seeks_secrets()
    }

    /// Whether ciphertext waits for a secret.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(&self.wire, Wire::Tls(tls) if tls.waiting_since.is_some()) || self.app.is_waiting()
    }

    /// A secret of the process. Tells whether it is this tunnel's own.
    pub(crate) fn offer(&mut self, secret: &Secret, cx: &mut Context<'_>) -> bool {
        let own = self.with_session(cx, |session, events| session.offer(secret, events));
        own.unwrap_or_default() || self.app.offer(secret, cx)
    }

    /// When it wants to be looked at next.
    pub(crate) fn due(&self, cx: &Context<'_>) -> KernelTime {
        let secret = match &self.wire {
            Wire::Tls(tls) => tls.due(cx.now, cx.settings),
            _ => None,
        };
        let dues = [
            self.app.streams_due(),
            self.app.tunnels_due(cx),
            self.app.parser_due(),
            self.stall_due(cx.settings),
        ];
        dues.into_iter().fold(secret.unwrap_or(NEVER), KernelTime::min)
    }

    /// When to look for a stall and for timeouts.
    fn stall_due(&self, settings: &Settings) -> KernelTime {
        let progress = self.app.under_way_since();
        progress.map_or(NEVER, |progress| {
            after(progress.max(self.last_check), settings.stall)
        })
    }

    /// Whether it has waited for half of the time allowed for a secret.
    pub(crate) fn waits_in_vain(&self, now: KernelTime, settings: &Settings) -> bool {
        let waits = matches!(&self.wire, Wire::Tls(tls) if tls.waits_in_vain(now, settings));
        waits || self.app.waits_in_vain(now, settings)
    }

    /// Looks for what was waited for in vain, for stalls, and for transactions that want to report.
    pub(crate) fn check(&mut self, cx: &mut Context<'_>) {
        if let Wire::Tls(tls) = &mut self.wire
            && tls.is_overdue(cx.now, cx.settings)
        {
            self.give_up_secret(cx);
        }
        if self.stall_due(cx.settings) <= cx.now {
            self.last_check = cx.now;
            let outcome = self.app.check(&mut self.facts, cx);
            self.follow(outcome, cx);
        }
        if self.app.parser_due() <= cx.now {
            let outcome = self.app.wake(&mut self.facts, cx);
            self.follow(outcome, cx);
        }
        self.app.check_tunnels(cx);
        if cx.now >= self.app.streams_due() {
            self.app.report_streams(&self.facts, cx);
        }
    }

    /// Memory is short: gives up what it holds.
    pub(crate) fn relieve(&mut self, cx: &mut Context<'_>) {
        self.give_up_secret(cx);
        let outcome = self.app.relieve(&mut self.facts, cx);
        self.follow(outcome, cx);
    }

    fn give_up_secret(&mut self, cx: &mut Context<'_>) {
        let Wire::Tls(tls) = &self.wire else { return };
        if !tls.session.is_waiting() {
            return;
        }
        cx.stats.tls_unreadable.add(1);
        let now = Time(cx.now.0);
        self.with_session(cx, |session, events| session.give_up(now, events));
        self.turn_off(NO_SECRET);
    }

    fn sniffed(&mut self, sniffed: Sniffed, cx: &mut Context<'_>) {
        let Wire::Sniffing(sniffer) = &mut self.wire else {
            return;
        };
        let midstream = sniffer.midstream;
        match sniffed {
            Sniffed::NeedMore => {}
            Sniffed::Plain => {
                let pieces = std::mem::take(sniffer).into_pieces();
                self.wire = Wire::Plain;
                for (side, data, time) in pieces {
                    self.piece(side, Plain::Bytes(data), time, cx);
                }
            }
            Sniffed::Tls => {
                let pieces = std::mem::take(sniffer).into_pieces();
                self.begin_tls(midstream, cx);
                for (side, data, time) in pieces {
                    self.piece(side, Plain::Bytes(data), time, cx);
                }
            }
        }
    }

    fn begin_tls(&mut self, midstream: bool, cx: &Context<'_>) {
        self.facts.tls.get_or_insert_with(TlsFacts::default);
        if self.place.leaves_tls || cx.settings.tls == TlsMode::Calls {
            self.turn_off(NOT_READ);
            return;
        }
        let mut session = Session::new(qtap_tls::Limits::default(), midstream);
        if cx.settings.export_secrets {
            session.export_secrets();
        }
        self.wire = Wire::Tls(Box::new(TlsWire::new(session, Reading::Secrets)));
    }

    fn with_session<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Session, &mut Vec<qtap_tls::Event>) -> T,
    ) -> Option<T> {
        let Wire::Tls(tls) = &mut self.wire else {
            return None;
        };
        let mut events = std::mem::take(&mut cx.scratch.tls);
        let result = call(&mut tls.session, &mut events);
        let plain = std::mem::take(&mut cx.scratch.plain);
        let mut output = tls.digest(events.drain(..), plain, &mut self.facts, cx.now);
        keep(&mut cx.scratch.tls, events);
        for own in &output.own {
            cx.host.own_secret(own);
        }
        for (side, piece, time) in output.plain.drain(..) {
            self.app_piece(side, piece, time, cx);
        }
        keep(&mut cx.scratch.plain, output.plain);
        for (side, time) in output.ended {
            self.eof(side, time, cx);
        }
        if let Some(reason) = output.unreadable {
            cx.stats.tls_unreadable.add(1);
            self.turn_off(match reason {
                Unreadable::CipherSuite(_) | Unreadable::Version(_) => CIPHER,
                Unreadable::NoHandshake => NO_HANDSHAKE,
                Unreadable::NotTls => UNKNOWN,
            });
        }
        Some(result)
    }

    fn app_piece(&mut self, side: Side, piece: Plain, time: Time, cx: &mut Context<'_>) {
        let outcome = self.app.piece(side, piece, time, &mut self.facts, cx);
        self.follow(outcome, cx);
    }

    fn follow(&mut self, outcome: After, cx: &mut Context<'_>) {
        let (client, server, time, is_anew) = match outcome {
            After::Continue => return,
            After::TurnedOff => {
                self.note_off();
                self.wire = Wire::Off;
                return;
            }
            After::Restart { client, server, time } => (client, server, time, true),
            After::StartTls { client, server, time } => (client, server, time, false),
        };
        match &self.wire {
            Wire::Plain => self.wire = Wire::Sniffing(Sniffer::default()),
            Wire::Tls(_) if is_anew => self.app.enter(&self.facts),
            _ => return,
        }
        for (side, data) in [(Side::Client, client), (Side::Server, server)] {
            if !data.is_empty() {
                let piece = Plain::Bytes(data);
                match &self.wire {
                    Wire::Tls(_) => self.app_piece(side, piece, time, cx),
                    _ => self.piece(side, piece, time, cx),
                }
            }
        }
    }

    fn turn_off(&mut self, reason: &'static str) {
        self.unread.get_or_insert(reason);
        self.wire = Wire::Off;
    }

    /// What the application layer says of why it does not parse. That nobody wants it is no fault.
    fn note_off(&mut self) {
        let reason = match &self.app.off {
            Some((ReasonCode::ProtocolUnknown, _)) => UNKNOWN,
            Some((ReasonCode::ParserGaveUp, _)) => GAVE_UP,
            _ => return,
        };
        self.unread.get_or_insert(reason);
    }
}
