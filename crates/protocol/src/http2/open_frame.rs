//! A frame whose payload is passing by. Nothing of it is kept but a few bytes of its prefix.

use bytes::{Buf, Bytes};

use super::block::{Block, Subject};
use super::frame::{ACK, END_HEADERS, END_STREAM, FrameHeader, HEADER_BYTES, Kind, MIN_MAX_FRAME, PADDED};
use super::lane::{Context, Lane};
use crate::{ParseError, Side, Time};

/// Longest fixed part of a payload: padding length, priority or promised id, or GOAWAY's two numbers.
const PREFIX_BYTES: usize = 8;

/// SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2). Of the other settings, the table size is named again by the
/// size update that puts it to use, and the rest changes nothing for an observer.
const SETTING_MAX_FRAME_SIZE: u16 = 5;

/// A frame between its header and its end.
pub(crate) struct OpenFrame {
    header: FrameHeader,
    /// Payload bytes still to come.
    left: u32,
    /// Of these, padding; 0 while the prefix is not whole.
    padding: u32,
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix present and wanted.
    have: usize,
    want: usize,
    /// Part of the prefix is missing, so what follows cannot be told apart.
    blurred: bool,
}

impl OpenFrame {
    /// Opens a frame on `lane`, which it tells of what the header alone says.
    pub(crate) fn begin(lane: &mut Lane, header: FrameHeader, started: Time, cx: &mut Context<'_>) -> Self {
        let belongs = header.kind == Kind::Continuation
            && lane
                .block
                .as_ref()
                .is_some_and(|block| block.stream == header.stream);
        if !belongs {
            // RFC 9113 §6.10: nothing may come between; so the rest of the block is lost.
            lane.drop_block("header block without its end", started, cx);
        }
        let side = lane.side;
        match header.kind {
            Kind::Data => {
                if side == Side::Client {
                    cx.streams.note(header.stream);
                }
                cx.streams
                    .count_body(side, header.stream, HEADER_BYTES as u64, 0, started);
            }
            Kind::Headers => {
                let end = header.has(END_STREAM);
                lane.block = Some(Block::new(header.stream, Subject::Message, end, started));
            }
            Kind::PushPromise => {
                lane.block = Some(Block::new(header.stream, Subject::Promise(None), true, started));
            }
            // Its beginning was not seen, and neither were the entries it added.
            Kind::Continuation if !belongs => lane.decoder.unsync(),
            _ => {}
        }
        if is_block(header.kind)
            && let Some(block) = &mut lane.block
        {
            block.frame_bytes += HEADER_BYTES as u64;
        }
        let want = match header.kind {
            Kind::Settings if header.length > 0 => 6,
            _ => usize::try_from(header.prefix_bytes())
                .unwrap_or(0)
                .min(PREFIX_BYTES),
        };
        // A padded HEADERS with priority has 6 bytes; all prefixes fit.
        Self {
            header,
            left: header.length,
            padding: 0,
            prefix: [0; PREFIX_BYTES],
            have: 0,
            want,
            blurred: false,
        }
    }

    /// Payload bytes still to come.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Of these, bytes certain to be body.
    pub(crate) fn body_left(&self) -> u64 {
        let certain = self.header.kind == Kind::Data && self.have == self.want && !self.blurred;
        if certain {
            u64::from(self.left.saturating_sub(self.padding))
        } else {
            0
        }
    }

    /// Takes in bytes of the payload, no more than are left of it.
    pub(crate) fn take(
        lane: &mut Lane,
        mut chunk: Bytes,
        time: Time,
        cx: &mut Context<'_>,
    ) -> Result<(), ParseError> {
        let side = lane.side;
        let Some(frame) = lane.frame_mut() else {
            return Ok(());
        };
        let (header, blurred) = (frame.header, frame.blurred);
        count(lane, header, chunk.len() as u64, 0, time, cx);
        while !chunk.is_empty() {
            let Some(frame) = lane.frame_mut() else {
                lane.search_in(&chunk, time);
                return Ok(());
            };
            if frame.have < frame.want {
                if let Some(slot) = frame.prefix.get_mut(frame.have) {
                    *slot = chunk.get_u8();
                }
                frame.have += 1;
                frame.left -= 1;
                if frame.have == frame.want && !blurred {
                    Self::prefix_done(lane, time, cx)?;
                }
                continue;
            }
            let content = usize::try_from(frame.left.saturating_sub(frame.padding)).unwrap_or(usize::MAX);
            let content = chunk.split_to(content.min(chunk.len()));
            frame.left -= u32::try_from(content.len() + chunk.len())
                .unwrap_or(frame.left)
                .min(frame.left);
            // What remains of the chunk is padding.
            chunk.clear();
            if content.is_empty() {
                continue;
            }
            match header.kind {
                Kind::Data if blurred => {
                    cx.streams
                        .body_gap(side, header.stream, content.len() as u64, time, cx.out);
                }
                Kind::Data => cx.streams.body(side, header.stream, content, time, cx.out),
                kind if is_block(kind) => {
                    if let Some(block) = &mut lane.block {
                        block.decode(&mut lane.decoder, &content, cx.limits);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Passes over `length` missing bytes of the payload, no more than are left of it.
    pub(crate) fn skip(lane: &mut Lane, length: u64, time: Time, cx: &mut Context<'_>) {
        let side = lane.side;
        let Some(frame) = lane.frame_mut() else { return };
        let length = u32::try_from(length).unwrap_or(u32::MAX).min(frame.left);
        if length == 0 {
            return;
        }
        let header = frame.header;
        // With the padding length unknown, all of it counts as body.
        let body = length.min(frame.left.saturating_sub(frame.padding));
        frame.left -= length;
        let blurs = frame.have < frame.want;
        frame.blurred |= blurs;
        frame.have = frame.want;
        count(lane, header, u64::from(length), u64::from(length), time, cx);
        match header.kind {
            Kind::Data => {
                if blurs {
                    cx.streams.doubt_body(side, header.stream, time, cx.out);
                }
                cx.streams
                    .body_gap(side, header.stream, u64::from(body), time, cx.out);
            }
            kind if is_block(kind) => {
                if let Some(block) = &mut lane.block {
                    block.spoil(&mut lane.decoder, "header block lost");
                }
            }
            _ => {}
        }
    }

    /// The fixed part of the payload is whole.
    fn prefix_done(lane: &mut Lane, time: Time, cx: &mut Context<'_>) -> Result<(), ParseError> {
        let Some(frame) = lane.frame_mut() else {
            return Ok(());
        };
        let [first, second, third, fourth, fifth, ..] = frame.prefix;
        let padded = frame.header.has(PADDED);
        match frame.header.kind {
            Kind::Data | Kind::Headers | Kind::PushPromise => {
                frame.padding = if padded { u32::from(first) } else { 0 };
                if frame.padding > frame.left {
                    return lane.lose("padding larger than its frame", true, time, cx);
                }
                if frame.header.kind == Kind::PushPromise {
                    let id = if padded {
                        [second, third, fourth, fifth]
                    } else {
                        [first, second, third, fourth]
                    };
                    let id = u32::from_be_bytes(id) & 0x7fff_ffff;
                    if let Some(block) = &mut lane.block {
                        block.subject = Subject::Promise(Some(id));
                    }
                }
            }
            Kind::Settings if !frame.header.has(ACK) => {
                frame.have = 0;
                let [.., sixth, _, _] = frame.prefix;
                if u16::from_be_bytes([first, second]) == SETTING_MAX_FRAME_SIZE {
                    let size = u32::from_be_bytes([third, fourth, fifth, sixth]);
                    cx.announced_max_frame = Some(size.clamp(MIN_MAX_FRAME, (1 << 24) - 1));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The payload is over.
    pub(crate) fn end(self, lane: &mut Lane, time: Time, cx: &mut Context<'_>) {
        let (side, id) = (lane.side, self.header.stream);
        let [p0, p1, p2, p3, ..] = self.prefix;
        let number = u32::from_be_bytes([p0, p1, p2, p3]);
        match self.header.kind {
            Kind::Data if self.header.has(END_STREAM) => cx.streams.end_half(side, id, time, cx.out),
            Kind::Headers | Kind::PushPromise | Kind::Continuation if self.header.has(END_HEADERS) => {
                lane.finish_block(time, cx);
            }
            Kind::RstStream => {
                cx.streams
                    .reset(side, id, (!self.blurred).then_some(number), time, cx.out);
            }
            Kind::GoAway if !self.blurred => {
                cx.streams.go_away(side, number & 0x7fff_ffff, time, cx.out);
            }
            Kind::Settings if lane.is_first_frame() && !self.blurred && cx.announced_max_frame.is_none() => {
                // The first SETTINGS of all leave the default.
                cx.announced_max_frame = Some(MIN_MAX_FRAME);
            }
            _ => {}
        }
    }
}

/// Whether the frame carries part of a header block.
fn is_block(kind: Kind) -> bool {
    matches!(kind, Kind::Headers | Kind::PushPromise | Kind::Continuation)
}

/// Counts payload bytes to where they belong.
fn count(lane: &mut Lane, header: FrameHeader, bytes: u64, gap: u64, time: Time, cx: &mut Context<'_>) {
    match header.kind {
        Kind::Data => cx.streams.count_body(lane.side, header.stream, bytes, gap, time),
        kind if is_block(kind) => {
            if let Some(block) = &mut lane.block {
                block.frame_bytes += bytes;
                block.gap_bytes += gap;
            }
        }
        _ => {}
    }
}
