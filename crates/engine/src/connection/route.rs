//! Where bytes in order go: to detection, to decryption, to the parser; and what its findings change.

use bytes::Bytes;
use qtap_capture::{Loss, Verdict};
use qtap_protocol::{Side, Time};

use super::Connection;
use super::wire::{Reading, Sniffed, Sniffer, Wire};
use crate::application::{After, Plain};
use crate::context::Context;
use crate::reassembly::Piece;
use crate::settings::TlsMode;
use crate::{ReasonCode, TlsSource};

impl Connection {
    /// Bytes at the socket.
    pub(super) fn socket_piece(&mut self, side: Side, piece: Piece, cx: &mut Context<'_>) {
        match &mut self.wire {
            Wire::Off => {}
            Wire::Plain => {
                if let Some(hello) = self.watched(side, &piece) {
                    self.begin_late_tls(hello, cx);
                    return;
                }
                let (piece, time) = plain(piece);
                self.app_piece(side, piece, time, cx);
                self.end_watch(cx);
            }
            Wire::Tls(_) => {
                self.with_session(cx, |session, events| match piece {
                    Piece::Bytes { data, time, .. } => session.bytes(side, data, Time(time.0), events),
                    Piece::Gap { length, time, .. } => session.gap(side, length, Time(time.0), events),
                });
                self.look_for_secrets(cx);
            }
            Wire::Sniffing(sniffer) => match piece {
                Piece::Bytes { data, time, .. } => {
                    let sniffed = sniffer.add(side, data, Time(time.0));
                    self.sniffed(sniffed, cx);
                }
                Piece::Gap { .. } => {
                    // The first bytes are lost: what follows can begin anywhere.
                    sniffer.midstream = true;
                    if sniffer.is_empty() {
                        self.app.restart(true, self.facts.as_deref_mut(), cx);
                    }
                }
            },
        }
    }

    pub(super) fn sniffed(&mut self, sniffed: Sniffed, cx: &mut Context<'_>) {
        let Wire::Sniffing(sniffer) = &mut self.wire else {
            return;
        };
        let midstream = sniffer.midstream;
        match sniffed {
            Sniffed::NeedMore => {}
            Sniffed::Plain => {
                let pieces = std::mem::take(sniffer).into_pieces();
                self.wire = Wire::Plain;
                self.watch = Some(Box::default());
                for (side, data, time) in pieces {
                    self.again(side, data, time, cx);
                }
            }
            Sniffed::Tls => {
                let pieces = std::mem::take(sniffer).into_pieces();
                self.begin_tls(midstream, cx);
                self.with_session(cx, |session, events| {
                    for (side, data, time) in pieces {
                        session.bytes(side, data, time, events);
                    }
                });
            }
        }
    }

    /// Plaintext from a call of the TLS library.
    pub(super) fn calls_piece(&mut self, side: Side, piece: Piece, cx: &mut Context<'_>) {
        let (wanted, proof_of_tls) = match &self.wire {
            Wire::Tls(tls) => (tls.reading != Reading::Secrets && !tls.is_by_kernel(side), false),
            // The call proves what the first bytes could not: they lay in the middle of a record.
            Wire::Sniffing(_) | Wire::Plain => {
                let proves = self.app.protocol.is_none() && cx.settings.tls != TlsMode::Secrets;
                (proves, proves)
            }
            Wire::Off => (false, false),
        };
        if !wanted {
            if let Piece::Gap {
                length,
                loss: Loss::QueueFull,
                ..
            } = piece
            {
                cx.stats.unwanted_queue_full.add(length);
            }
            return;
        }
        if proof_of_tls {
            let midstream = self.facts.as_ref().is_some_and(|facts| facts.joined_midstream);
            self.begin_tls(midstream, cx);
            if let Wire::Tls(tls) = &mut self.wire {
                tls.reading = Reading::Calls;
            }
            self.app.restart(true, self.facts.as_deref_mut(), cx);
            self.set_verdict(Verdict::CALLS_ONLY, cx);
        }
        // What is in the library's calls is not in another's memory.
        self.give_up_search(cx);
        match &piece {
            Piece::Bytes { data, .. } => self.note_first_call(data.len() as u64),
            Piece::Gap { length, loss, .. } => self.tally.call_gap(*loss, *length),
        }
        if let Some(tls) = self.facts.as_mut().and_then(|facts| facts.tls.as_mut()) {
            tls.read_by(TlsSource::Calls);
        }
        let (piece, time) = plain(piece);
        self.app_piece(side, piece, time, cx);
    }

    pub(super) fn app_piece(&mut self, side: Side, piece: Plain, time: Time, cx: &mut Context<'_>) {
        if let (Plain::Bytes(data), Some(count)) = (&piece, self.tally.plaintext.get_mut(side.index())) {
            *count += data.len() as u64;
        }
        if self.exclusion.http {
            return;
        }
        self.learn_name(cx);
        let Some(facts) = &mut self.facts else { return };
        let outcome = self.app.piece(side, piece, time, facts, cx);
        self.follow(outcome, cx);
    }

    /// `side` will send no more plaintext.
    pub(super) fn app_eof(&mut self, side: Side, time: Time, cx: &mut Context<'_>) {
        let Some(facts) = &mut self.facts else { return };
        let outcome = self.app.eof(side, time, facts, cx);
        self.follow(outcome, cx);
    }

    pub(super) fn follow(&mut self, outcome: After, cx: &mut Context<'_>) {
        match outcome {
            After::Continue => {}
            // TLS may begin in the middle of it.
            After::TurnedOff if self.is_watching() => {}
            After::TurnedOff => {
                let raw_needed = matches!(&self.wire, Wire::Tls(_)) && self.app.upgraded.is_none();
                if !raw_needed || self.app.off.is_some() {
                    self.set_verdict(Verdict::COUNT_ONLY, cx);
                    if !matches!(self.wire, Wire::Tls(_)) {
                        self.wire = Wire::Off;
                    }
                }
            }
            After::StartTls { client, server, time } => self.start_tls([client, server], time, cx),
            After::Restart { client, server, time } => {
                self.note_clear(&client, &server);
                if matches!(self.wire, Wire::Plain) {
                    self.wire = Wire::Sniffing(Sniffer::default());
                } else if let Some(facts) = &self.facts {
                    self.app.enter(facts);
                }
                for (side, data) in [(Side::Client, client), (Side::Server, server)] {
                    if !data.is_empty() {
                        self.again(side, data, time, cx);
                    }
                }
            }
        }
    }

    /// What passed so far was in the clear, but for bytes that were handed back.
    fn note_clear(&mut self, client: &Bytes, server: &Bytes) {
        if matches!(self.wire, Wire::Plain) {
            let handed_back = (client.len() + server.len()) as u64;
            let passed: u64 = self.tally.plaintext.iter().sum();
            self.tally.before_tls = passed.saturating_sub(handed_back);
        }
    }

    /// The pieces of a ClientHello, if one began in the middle of what is not known.
    fn watched(&mut self, side: Side, piece: &Piece) -> Option<Vec<(Bytes, Time)>> {
        let watch = self.watch.as_mut()?;
        match piece {
            Piece::Bytes {
                data,
                time,
                call_start,
            } => watch.add(side, data, *call_start, Time(time.0)),
            Piece::Gap { length, .. } => {
                watch.gap(side, *length);
                None
            }
        }
    }

    /// Whether the connection is still looked at, although its protocol is not known.
    fn is_watching(&self) -> bool {
        let is_unknown = matches!(&self.app.off, Some((ReasonCode::ProtocolUnknown, _)));
        is_unknown && self.watch.is_some() && matches!(self.wire, Wire::Plain)
    }

    /// Looks for TLS no longer, if the protocol is known or enough has passed.
    fn end_watch(&mut self, cx: &Context<'_>) {
        let Some(watch) = &self.watch else { return };
        let is_over = watch.is_over();
        if is_over && self.is_watching() {
            self.set_verdict(Verdict::COUNT_ONLY, cx);
            self.wire = Wire::Off;
        }
        if is_over || self.app.is_parsing() {
            self.watch = None;
        }
    }

    /// TLS began in the middle of what is not known, and what is inside of it may be anything.
    fn begin_late_tls(&mut self, hello: Vec<(Bytes, Time)>, cx: &mut Context<'_>) {
        self.watch = None;
        self.tally.before_tls = self.tally.plaintext.iter().sum();
        self.app.restart(false, self.facts.as_deref_mut(), cx);
        self.begin_tls(false, cx);
        self.with_session(cx, |session, events| {
            for (data, time) in hello {
                session.bytes(Side::Client, data, time, events);
            }
        });
    }

    /// TLS begins in the middle of a protocol, which goes on inside of it.
    fn start_tls(&mut self, [client, server]: [Bytes; 2], time: Time, cx: &mut Context<'_>) {
        if !matches!(self.wire, Wire::Plain) {
            return;
        }
        self.note_clear(&client, &server);
        self.wire = Wire::Sniffing(Sniffer::default());
        for (side, data) in [(Side::Client, client), (Side::Server, server)] {
            if !data.is_empty() {
                self.again(side, data, time, cx);
            }
        }
    }

    /// Bytes that a parser handed back after an upgrade.
    pub(super) fn again(&mut self, side: Side, data: Bytes, time: Time, cx: &mut Context<'_>) {
        if let Wire::Sniffing(sniffer) = &mut self.wire {
            let sniffed = sniffer.add(side, data, time);
            self.sniffed(sniffed, cx);
        } else {
            self.app_piece(side, Plain::Bytes(data), time, cx);
        }
    }
}

fn plain(piece: Piece) -> (Plain, Time) {
    match piece {
        Piece::Bytes { data, time, .. } => (Plain::Bytes(data), Time(time.0)),
        Piece::Gap {
            length,
            loss: Loss::Skipped,
            time,
        } => (Plain::Skipped(length), Time(time.0)),
        Piece::Gap { length, time, .. } => (Plain::Gap(length), Time(time.0)),
    }
}
