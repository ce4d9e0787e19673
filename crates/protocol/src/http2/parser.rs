//! Both sides of a connection behind the [`crate::Parser`] interface.

use bytes::Bytes;

use super::lane::{Context, Lane};
use super::streams::Streams;
use crate::{Counts, Event, Limits, ParseError, RequestHead, Side, StreamKey, Time};

/// How the bytes of a connection begin.
#[derive(Clone, Debug)]
pub enum Start {
    /// With the client preface; nothing came before.
    Preface,
    /// Anywhere. Should the client's bytes begin with the preface after all, that is noticed.
    Midstream,
    /// After `101 Switching Protocols` to `h2c` (`protocols.md` 4.5). The parser reports stream 1 as a transaction
    /// of its own, with the request that HTTP/1 carried; that request counts 0 bytes here, since HTTP/1 has
    /// counted them.
    UpgradedFrom {
        /// The request that asked for the upgrade.
        request: Box<RequestHead>,
        /// First byte of that request.
        started: Time,
        /// Last byte of its head.
        time: Time,
    },
}

/// An HTTP/2 connection.
///
/// ```
/// use bytes::Bytes;
/// use qtap_protocol::http2::{Parser, Start};
/// use qtap_protocol::{Event, Limits, Parser as _, Side, Time};
///
/// let mut parser = Parser::new(Limits::default(), Start::Preface);
/// let mut events = Vec::new();
/// let request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
///     \0\0\0\x04\0\0\0\0\0\
///     \0\0\x03\x01\x05\0\0\0\x01\x82\x84\x87"; // HEADERS on stream 1: GET / over https, END_STREAM
/// parser.bytes(Side::Client, Bytes::from_static(request), Time(1), &mut events)?;
/// let Some(Event::RequestHead { head, .. }) = events.first() else { panic!("{events:?}") };
/// assert_eq!((&head.method[..], &head.target[..]), (&b"GET"[..], &b"/"[..]));
/// # Ok::<(), qtap_protocol::ParseError>(())
/// ```
pub struct Parser {
    limits: Limits,
    client: Lane,
    server: Lane,
    streams: Streams,
    /// The request of an upgrade until the first call offers a place to report it.
    upgrade: Option<(Box<RequestHead>, Time, Time)>,
    midstream: bool,
    dead: Option<ParseError>,
}

impl Parser {
    /// A parser for a connection of which the first bytes to come are as `start` says.
    #[must_use]
    pub fn new(limits: Limits, start: Start) -> Self {
        let midstream = matches!(start, Start::Midstream);
        let upgraded = matches!(start, Start::UpgradedFrom { .. });
        let lane = |side| {
            let lane = Lane::new(side, &limits, midstream);
            if upgraded { lane.settled_elsewhere() } else { lane }
        };
        let upgrade = match start {
            Start::UpgradedFrom {
                request,
                started,
                time,
            } => Some((request, started, time)),
            Start::Preface | Start::Midstream => None,
        };
        Self {
            client: lane(Side::Client),
            server: lane(Side::Server),
            streams: Streams::new(limits.streams, !midstream),
            limits,
            upgrade,
            midstream,
            dead: None,
        }
    }

    /// Whether header fields may be missing because HPACK entries from before the attach, or lost ones, are
    /// referred to (`hpack_unsynced` in a connection's health).
    #[must_use]
    pub fn is_hpack_unsynced(&self) -> bool {
        !(self.client.knows_table() && self.server.knows_table())
    }

    /// Runs `step` on the lane of `side`, and then what it makes possible on the other.
    fn with(
        &mut self,
        side: Side,
        time: Time,
        out: &mut Vec<Event>,
        step: impl FnOnce(&mut Lane, &mut Context<'_>) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        if let Some(error) = &self.dead {
            return Err(error.clone());
        }
        self.report_upgrade(out);
        let result = self.advance(side, out, step);
        if let Err(error) = &result {
            self.dead = Some(error.clone());
            self.wind_up(time, out);
            self.streams.lost(Side::Client, time, out);
            self.streams.lost(Side::Server, time, out);
        }
        result
    }

    fn advance(
        &mut self,
        side: Side,
        out: &mut Vec<Event>,
        step: impl FnOnce(&mut Lane, &mut Context<'_>) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let mut cx = Context {
            limits: &self.limits,
            streams: &mut self.streams,
            out,
            announced_max_frame: None,
        };
        let (lane, peer) = match side {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        };
        step(lane, &mut cx)?;
        if side == Side::Client {
            if self.midstream && cx.streams.is_whole() {
                // The client began with the preface after all, so the server, unheard yet, begins too.
                self.midstream = false;
                if peer.is_untouched() {
                    *peer = Lane::new(Side::Server, &self.limits, false);
                }
            }
            if let Some(max) = cx.announced_max_frame.take() {
                peer.max_frame = peer.max_frame.max(Some(max));
            }
            peer.resume_if_ready(&mut cx)?;
            // What the server announces while its bytes waited concerns the client's lane, `lane`.
            if let Some(max) = cx.announced_max_frame {
                lane.max_frame = lane.max_frame.max(Some(max));
            }
        } else if let Some(max) = cx.announced_max_frame {
            peer.max_frame = peer.max_frame.max(Some(max));
        }
        Ok(())
    }

    /// Brings out what the lanes still hold, and says what of it stays unexplained.
    fn wind_up(&mut self, time: Time, out: &mut Vec<Event>) {
        let mut cx = Context {
            limits: &self.limits,
            streams: &mut self.streams,
            out,
            announced_max_frame: None,
        };
        self.client.close(time, &mut cx);
        self.server.close(time, &mut cx);
    }

    fn report_upgrade(&mut self, out: &mut Vec<Event>) {
        if let Some((request, started, time)) = self.upgrade.take() {
            self.streams.open_request(1, request, started, time, out);
            self.streams.end_half(Side::Client, 1, time, out);
        }
    }
}

impl crate::Parser for Parser {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if data.is_empty() {
            return Ok(());
        }
        self.with(side, time, out, |lane, cx| lane.bytes(data, time, cx))
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length == 0 {
            return Ok(());
        }
        self.with(side, time, out, |lane, cx| lane.gap(length, time, cx))
    }

    fn eof(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        if side == Side::Client {
            // No request will come any more for which the server's bytes could wait. An error is kept for the
            // next call.
            let _ = self.with(Side::Server, time, out, |lane, cx| lane.stop_waiting(cx));
        }
    }

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        self.report_upgrade(out);
        self.wind_up(time, out);
        self.streams.close(time, out);
    }

    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        // An error is kept for the next call.
        let _ = self.with(side, time, out, |lane, cx| lane.force_resync(time, cx));
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        self.streams.expire(before, out);
    }

    fn buffered(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.buffered(),
            Side::Server => self.server.buffered(),
        }
    }

    fn counts(&self, key: StreamKey) -> Option<[Counts; 2]> {
        self.streams.counts(key)
    }

    fn skippable(&self, side: Side) -> u64 {
        match side {
            Side::Client => self.client.skippable(),
            Side::Server => self.server.skippable(),
        }
    }
}
