//! The bytes of one side, turned into frames.

mod recovery;
mod waiting;

use std::collections::VecDeque;

use bytes::Bytes;

use super::block::Block;
use super::frame::{self, FrameHeader, HEADER_BYTES, Kind, PREFACE};
use super::hpack::Decoder;
use super::hunt::Hunt;
use super::open_frame::OpenFrame;
use super::streams::Streams;
use crate::{Event, Limits, ParseError, Side, Time};
use waiting::Held;

/// Frames in order after which earlier faults are forgiven.
const GOOD_FRAMES: u32 = 16;

/// What the lanes share while bytes are taken in.
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) streams: &'a mut Streams,
    pub(crate) out: &'a mut Vec<Event>,
    /// SETTINGS_MAX_FRAME_SIZE that this side announced to its peer.
    pub(crate) announced_max_frame: Option<u32>,
}

enum State {
    /// The next bytes should be the rest of the client preface.
    Preface { matched: usize },
    /// The next bytes are a frame header.
    Header,
    /// Inside a frame.
    Frame(OpenFrame),
    /// Frames are to be found again.
    Hunting,
}

/// One side of the connection.
pub(crate) struct Lane {
    pub(super) side: Side,
    /// No frame came before the first one here, and nothing was settled otherwise.
    fresh: bool,
    pub(super) decoder: Decoder,
    pub(super) block: Option<Block>,
    /// Largest frame that the peer announced to take; it may grow, and frames sent before may be larger than
    /// what shrank, so the largest ever counts.
    pub(super) max_frame: Option<u32>,
    state: State,
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// First byte of the header.
    started: Time,
    hunt: Hunt,
    /// Why the search goes on.
    reason: &'static str,
    /// Bytes of the present search that counted as faults already.
    hunted: u64,
    faults: u8,
    good: u32,
    /// Frames that began so far.
    frames: u64,
    /// Bytes that wait until the client's request on this stream has come by.
    waiting_for: Option<u32>,
    held: VecDeque<Held>,
    held_bytes: usize,
}

impl Lane {
    /// `joined`: the first bytes may be anything.
    pub(crate) fn new(side: Side, limits: &Limits, joined: bool) -> Self {
        let mut decoder = Decoder::new(limits.hpack_table_bytes, limits.header_list_bytes);
        if joined {
            decoder.unsync();
        }
        let state = match (side, joined) {
            (Side::Client, _) => State::Preface { matched: 0 },
            (Side::Server, false) => State::Header,
            (Side::Server, true) => State::Hunting,
        };
        Self {
            side,
            fresh: !joined,
            decoder,
            block: None,
            max_frame: None,
            state,
            header: [0; HEADER_BYTES],
            filled: 0,
            started: Time::default(),
            hunt: Hunt::default(),
            reason: "joined inside a frame",
            hunted: 0,
            faults: 0,
            good: 0,
            frames: 0,
            waiting_for: None,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Whether the frame at hand is the very first of its side.
    pub(super) fn is_first_frame(&self) -> bool {
        self.fresh && self.frames == 1
    }

    /// The settings in force were exchanged elsewhere in part (`Upgrade: h2c`).
    pub(crate) fn settled_elsewhere(mut self) -> Self {
        self.fresh = false;
        self
    }

    /// Bytes among which frames are to be found.
    pub(super) fn search_in(&mut self, data: &[u8], time: Time) {
        self.hunt.push(data, time, false);
    }

    /// Whether nothing was taken in yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.frames == 0 && self.hunt.seen() == 0 && self.filled == 0
    }

    /// Whether every HPACK entry that this side can refer to is known.
    pub(crate) fn knows_table(&self) -> bool {
        self.decoder.is_synced()
    }

    /// Bytes held.
    pub(crate) fn buffered(&self) -> usize {
        let header = if matches!(self.state, State::Header) {
            self.filled
        } else {
            0
        };
        header + self.hunt.held() + self.held_bytes + self.block.as_ref().map_or(0, Block::held)
    }

    /// Bytes certain to be body.
    pub(crate) fn skippable(&self) -> u64 {
        match &self.state {
            State::Frame(frame) if self.held.is_empty() => frame.body_left(),
            _ => 0,
        }
    }

    /// Takes the next bytes in.
    pub(crate) fn bytes(&mut self, data: Bytes, time: Time, cx: &mut Context<'_>) -> Result<(), ParseError> {
        if self.waiting_for.is_none() {
            return self.run(data, time, cx);
        }
        self.hold(data, time);
        self.stop_waiting_if_full(cx)
    }

    /// `length` bytes are missing here.
    pub(crate) fn gap(&mut self, length: u64, time: Time, cx: &mut Context<'_>) -> Result<(), ParseError> {
        if self.waiting_for.is_some() {
            self.hold_gap(length, time);
            return self.stop_waiting_if_full(cx);
        }
        match &mut self.state {
            State::Frame(frame) => {
                let inside = length.min(u64::from(frame.left()));
                OpenFrame::skip(self, inside, time, cx);
                self.end_frame_if_done(time, cx)?;
                if length > inside {
                    self.lose("bytes missing", false, time, cx)?;
                }
            }
            State::Hunting => {
                self.hunt.forget();
                cx.streams.lost(self.side, time, cx.out);
            }
            State::Preface { .. } | State::Header => {
                let begun = self.filled;
                self.lose("bytes missing", false, time, cx)?;
                let header = self.header;
                self.hunt
                    .push(header.get(..begun).unwrap_or_default(), time, false);
                self.hunt.forget();
            }
        }
        Ok(())
    }

    fn run(&mut self, data: Bytes, time: Time, cx: &mut Context<'_>) -> Result<(), ParseError> {
        // What a search yields goes in front of the rest; a queue, because that may need a search again.
        let (mut first, mut queue) = (Some((data, time)), VecDeque::new());
        let mut boundary = true;
        while let Some((mut data, time)) = first.take().or_else(|| queue.pop_front()) {
            while !data.is_empty() {
                if self.waiting_for.is_some() {
                    self.hold(std::mem::take(&mut data), time);
                    break;
                }
                match &mut self.state {
                    State::Preface { matched } => {
                        let rest = PREFACE.get(*matched..).unwrap_or_default();
                        let same = rest
                            .iter()
                            .zip(&data)
                            .take_while(|(want, got)| want == got)
                            .count();
                        *matched += same;
                        let (matched, whole) = (*matched, *matched == PREFACE.len());
                        drop(data.split_to(same));
                        if whole {
                            self.begin(cx);
                        } else if !data.is_empty() {
                            self.no_preface(matched, time, cx)?;
                            if matched == 0 {
                                continue;
                            }
                        }
                    }
                    State::Header => {
                        if self.filled == 0 {
                            self.started = time;
                        }
                        let free = self.header.get_mut(self.filled..).unwrap_or_default();
                        let taken = free.len().min(data.len());
                        for (slot, byte) in free.iter_mut().zip(data.split_to(taken)) {
                            *slot = byte;
                        }
                        self.filled += taken;
                        if self.filled == HEADER_BYTES {
                            self.begin_frame(cx)?;
                        }
                    }
                    State::Frame(frame) => {
                        let left = usize::try_from(frame.left()).unwrap_or(usize::MAX);
                        let chunk = data.split_to(left.min(data.len()));
                        OpenFrame::take(self, chunk, time, cx)?;
                        self.end_frame_if_done(time, cx)?;
                    }
                    State::Hunting => {
                        self.hunt.push(&std::mem::take(&mut data), time, boundary);
                        if let Some(pieces) = self.search(time, cx)? {
                            for piece in pieces.into_iter().rev() {
                                queue.push_front(piece);
                            }
                        }
                    }
                }
                boundary = false;
            }
        }
        Ok(())
    }

    /// The client preface was seen: nothing came before.
    fn begin(&mut self, cx: &mut Context<'_>) {
        self.state = State::Header;
        self.decoder = Decoder::new(cx.limits.hpack_table_bytes, cx.limits.header_list_bytes);
        cx.streams.begin();
    }

    /// The header is whole: opens the frame, or concludes that it is none.
    fn begin_frame(&mut self, cx: &mut Context<'_>) -> Result<(), ParseError> {
        let header = FrameHeader::parse(self.header);
        let most = match self.max_frame {
            // A frame's worth of slack for SETTINGS captured late.
            Some(max) => max.max(frame::MIN_MAX_FRAME) + frame::MIN_MAX_FRAME,
            None => u32::MAX,
        };
        // RFC 9113 §3.4: SETTINGS come first.
        let unheralded = self.fresh && self.frames == 0 && header.kind != Kind::Settings;
        if !header.is_legal(most) || (unheralded && !header.is_plausible(frame::UNKNOWN_MAX_FRAME)) {
            if self.frames == 0 && self.side == Side::Server && self.header.starts_with(b"HTTP/1.") {
                let reason = "the server answered in HTTP/1";
                return Err(ParseError::NotThisProtocol {
                    protocol: "http2",
                    reason,
                });
            }
            let started = self.started;
            self.lose("impossible frame header", true, started, cx)?;
            let bytes = self.header;
            self.hunt.push(&bytes, started, false);
            return Ok(());
        }
        let waits = matches!(header.kind, Kind::Headers | Kind::RstStream) && self.side == Side::Server;
        if waits && cx.streams.is_ahead(header.stream) {
            self.waiting_for = Some(header.stream);
            return Ok(());
        }
        if unheralded {
            // Frames, but not the first ones: something was lost without a word.
            self.decoder.unsync();
            cx.streams.lost(self.side, self.started, cx.out);
        }
        self.filled = 0;
        self.frames += 1;
        self.good = self.good.saturating_add(1);
        if self.good >= GOOD_FRAMES {
            self.faults = 0;
        }
        let frame = OpenFrame::begin(self, header, self.started, cx);
        self.state = State::Frame(frame);
        self.end_frame_if_done(self.started, cx)
    }

    fn end_frame_if_done(&mut self, time: Time, cx: &mut Context<'_>) -> Result<(), ParseError> {
        if let State::Frame(frame) = &self.state
            && frame.left() == 0
        {
            let State::Frame(frame) = std::mem::replace(&mut self.state, State::Header) else {
                return Ok(());
            };
            frame.end(self, time, cx);
        }
        Ok(())
    }

    /// The frame at hand.
    pub(super) fn frame_mut(&mut self) -> Option<&mut OpenFrame> {
        match &mut self.state {
            State::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// Ends a header block before its time, with what was decoded.
    pub(super) fn drop_block(&mut self, reason: &'static str, time: Time, cx: &mut Context<'_>) {
        if let Some(block) = &mut self.block {
            block.spoil(&mut self.decoder, reason);
            self.finish_block(time, cx);
        }
    }

    /// Ends a header block.
    pub(super) fn finish_block(&mut self, time: Time, cx: &mut Context<'_>) {
        let Some(mut block) = self.block.take() else {
            return;
        };
        if let Some(reason) = block.finish(&mut self.decoder) {
            cx.out.push(Event::Resync {
                side: self.side,
                reason,
                dropped: 0,
            });
        }
        cx.streams.block(self.side, block, time, cx.out);
    }
}
