//! Which protocol a connection speaks, from its first bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use qtap_process::Process;
use qtap_protocol::detect::{self, Detection, Hints, Protocol};
use qtap_protocol::websocket::{self, Carrier};
use qtap_protocol::{Limits, Parser, Side, Time, Upgrade, http1, http2};

use super::{After, Application, Plain, State};
use crate::assembler::Assembler;
use crate::context::Context;
use crate::{ConnectionFacts, ReasonCode};

/// Bytes of each side that detection looks at (P-D1).
const DETECT_BYTES: usize = 4096;
/// Pieces of both sides that detection looks at: a program may read byte by byte.
const DETECT_PIECES: usize = 1024;

/// First bytes, kept until the protocol is known.
#[derive(Debug, Default)]
pub(super) struct Detecting {
    pieces: Vec<(Side, Plain, Time)>,
    prefix: [BytesMut; 2],
    midstream: bool,
}

impl Detecting {
    /// `midstream`: the connection did not begin with what comes.
    pub(super) fn new(midstream: bool) -> Self {
        Self {
            midstream,
            ..Self::default()
        }
    }

    /// Nothing came yet.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.prefix.iter().map(BytesMut::len).sum()
    }

    pub(super) fn add(&mut self, side: Side, piece: Plain, time: Time) {
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

impl Application {
    /// Looks at what came so far, and parses it once the protocol is known.
    pub(super) fn detect(&mut self, facts: &mut ConnectionFacts, cx: &mut Context<'_>) -> After {
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
        let mut is_websocket = false;
        let protocol = match detect::detect(client, server, &hints) {
            Detection::Known(protocol) => protocol,
            _ if detecting.midstream && websocket::is_joined(client, server) => {
                is_websocket = true;
                Protocol::Http1
            }
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
        let is_left_out = |process: &Arc<Process>| cx.host.exclusion(process).dns;
        if protocol == Protocol::Dns && facts.process.as_ref().is_some_and(is_left_out) {
            self.turn_off(
                ReasonCode::FilteredProcess,
                "a filter leaves out what it asks DNS for".to_owned(),
            );
            return After::TurnedOff;
        }
        if !cx.consumer.wants(facts, protocol) {
            self.turn_off(
                ReasonCode::NoStack,
                format!("no stack is configured for {}", protocol.name()),
            );
            return After::TurnedOff;
        }
        let (pieces, midstream) = (std::mem::take(&mut detecting.pieces), detecting.midstream);
        let parser: Box<dyn Parser> = match protocol {
            Protocol::Http1 if is_websocket => {
                self.upgraded = Some(Upgrade::WebSocket);
                Box::new(Carrier::joined())
            }
            Protocol::Http1 => Box::new(http1::Parser::new(Limits::default(), midstream)),
            Protocol::Http2 if midstream => {
                Box::new(http2::Parser::new(Limits::default(), http2::Start::Midstream))
            }
            Protocol::Http2 => Box::new(http2::Parser::new(Limits::default(), http2::Start::Preface)),
            other => match other.entry() {
                Some(entry) => {
                    let detail = cx.consumer.detail(protocol);
                    (entry.parser)(Limits::default(), detail, midstream)
                }
                None => return After::Continue,
            },
        };
        let mut assembler = Assembler::new(protocol, self.place);
        assembler.tally = self.former;
        self.begin(parser, assembler, cx.now);
        self.replay(pieces, facts, cx)
    }

    /// Parses what came before its parser.
    pub(super) fn replay(
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
                    let [client, server] = with_rest(client, server, pieces);
                    return After::Restart { client, server, time };
                }
                After::StartTls { client, server, time } => {
                    let [client, server] = with_rest(client, server, pieces);
                    return After::StartTls { client, server, time };
                }
            }
        }
        After::Continue
    }
}

/// What a parser handed back, and what comes after it.
fn with_rest(client: Bytes, server: Bytes, pieces: impl Iterator<Item = (Side, Plain, Time)>) -> [Bytes; 2] {
    let mut rest = [BytesMut::from(&client[..]), BytesMut::from(&server[..])];
    for (side, piece, _) in pieces {
        if let (Plain::Bytes(data), Some(rest)) = (piece, rest.get_mut(side.index())) {
            rest.extend_from_slice(&data);
        }
    }
    rest.map(BytesMut::freeze)
}
