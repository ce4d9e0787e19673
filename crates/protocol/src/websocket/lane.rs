//! One direction: frames in, messages out.

use super::frame::{self, HEADER_BYTES, Header, Read, Rules};
use super::inflate::Inflate;
use super::message::{Building, Closing, Message, Traffic};
use super::seek::Seek;
use crate::encoding::{MAX_DECODED_BYTES, MAX_RATIO};
use crate::quality::Quality;
use crate::{Side, Time};

/// Payload of a control frame is always whole.
const CONTROL_BYTES: usize = 125;
/// Bytes unmasked at a time.
const STEP_BYTES: usize = 4096;
/// Bytes searched at a time.
const SEEK_BYTES: usize = 512;

/// Where a direction stands.
#[derive(Debug)]
enum State {
    /// In the header of a frame, or between two.
    Header {
        bytes: [u8; HEADER_BYTES],
        length: usize,
        started: Time,
    },
    /// In the payload of one.
    Payload { header: Header, left: u64 },
    /// The next frame is searched.
    Seek(Seek),
    /// Behind its close frame.
    Closed,
    /// Nothing can be made of it.
    Off,
}

const BETWEEN: State = State::Header {
    bytes: [0; HEADER_BYTES],
    length: 0,
    started: Time(0),
};

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    side: Side,
    rules: Rules,
    /// Bytes kept of a message.
    keep: usize,
    takeover: bool,
    state: State,
    inflate: Inflate,
    /// The message under way.
    open: Option<Building>,
    /// The control frame under way, which may lie between the frames of a message.
    control: Option<Building>,
    quality: Quality,
    pub(super) traffic: Traffic,
    pub(super) closing: Option<Closing>,
}

impl Lane {
    pub(super) fn new(side: Side, rules: Rules, takeover: bool, keep: usize) -> Self {
        Self {
            side,
            rules,
            keep,
            takeover,
            state: BETWEEN,
            inflate: Inflate::default(),
            open: None,
            control: None,
            quality: Quality::new("websocket"),
            traffic: Traffic::default(),
            closing: None,
        }
    }

    /// One of which it is not known where in a frame its first byte lies.
    pub(super) fn joined(side: Side, keep: usize) -> Self {
        let rules = super::join::rules(side);
        let mut lane = Self::new(side, rules, true, keep);
        lane.traffic.fault = Some("joined in the middle");
        lane.state = State::Seek(Seek::new(rules));
        lane
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let seek = match &self.state {
            State::Seek(seek) => seek.held(),
            _ => 0,
        };
        let kept = |building: &Option<Building>| building.as_ref().map_or(0, |open| open.kept.capacity());
        self.inflate.held() + seek + kept(&self.open) + kept(&self.control)
    }

    /// Payload bytes that certainly follow.
    pub(super) const fn certain(&self) -> u64 {
        match &self.state {
            State::Payload { left, .. } => *left,
            _ => 0,
        }
    }

    /// Gives up what it holds: messages under way keep no more, and those to come are not inflated as long as they refer to
    /// what is given up.
    pub(super) fn relieve(&mut self) {
        for building in [&mut self.open, &mut self.control].into_iter().flatten() {
            building.keep = 0;
            building.message.truncated |= !building.kept.is_empty();
            building.kept = bytes::BytesMut::new();
        }
        self.break_inflation("given up for want of memory");
    }

    pub(super) fn bytes(&mut self, data: &[u8], time: Time, out: &mut Vec<Message>) {
        let mut rest = data;
        // What a search found, or a bad header was found in, comes before that.
        let mut again: Vec<u8> = Vec::new();
        while !(again.is_empty() && rest.is_empty()) {
            let piece = std::mem::take(&mut again);
            let is_again = !piece.is_empty();
            let (taken, found) = self.walk(if is_again { &piece } else { rest }, time, out);
            again = found;
            if is_again {
                again.extend_from_slice(piece.get(taken..).unwrap_or_default());
            } else {
                rest = rest.get(taken..).unwrap_or_default();
            }
        }
    }

    /// Reads on in `data`, not beyond a change from or to a search. Returns how much was taken, and bytes that are to be read
    /// before the rest.
    fn walk(&mut self, data: &[u8], time: Time, out: &mut Vec<Message>) -> (usize, Vec<u8>) {
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            match &mut self.state {
                State::Header {
                    bytes,
                    length,
                    started,
                } => {
                    if *length == 0 {
                        *started = time;
                    }
                    // One byte after the other, so that a header is judged alike however it is split.
                    let (Some(next), Some(slot)) = (rest.first(), bytes.get_mut(*length)) else {
                        break;
                    };
                    *slot = *next;
                    *length += 1;
                    at += 1;
                    let (raw, started) = (bytes.get(..*length).unwrap_or_default(), *started);
                    match frame::read(raw, self.rules) {
                        Read::NeedMore => {}
                        Read::Header(header) => self.begin(header, started, time, out),
                        Read::Bad(reason) => {
                            let raw = raw.to_vec();
                            self.fault(reason, time, out);
                            if !matches!(self.state, State::Off) {
                                self.lose(reason, time, out);
                            }
                            return (at, raw);
                        }
                    }
                }
                State::Payload { header, left } => {
                    let take = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    let (header, offset) = (*header, header.length - *left);
                    *left -= take as u64;
                    let is_over = *left == 0;
                    at += take;
                    self.payload(&header, rest.get(..take).unwrap_or_default(), offset);
                    if is_over {
                        self.end_frame(&header, time, out);
                    }
                }
                State::Seek(seek) => {
                    let piece = rest.get(..SEEK_BYTES).unwrap_or(rest);
                    at += piece.len();
                    if let Some(found) = seek.feed(piece) {
                        self.traffic.dropped_bytes += seek.passed();
                        self.resume(&found, time);
                        return (at, found);
                    }
                }
                State::Closed | State::Off => {
                    self.traffic.dropped_bytes += rest.len() as u64;
                    at = data.len();
                }
            }
        }
        (at, Vec::new())
    }

    /// `length` bytes are missing here, or nobody knows how many (0).
    pub(super) fn gap(&mut self, length: u64, time: Time, out: &mut Vec<Message>) {
        match &mut self.state {
            State::Payload { .. } if length == 0 => self.lose("bytes are missing between frames", time, out),
            State::Payload { header, left } => {
                let header = *header;
                let missing = length.min(*left);
                *left -= missing;
                let is_over = *left == 0;
                if let Some(building) = self.building(&header) {
                    building.message.gap_bytes += missing;
                }
                if !header.is_control() {
                    self.break_inflation("bytes are missing");
                }
                if is_over {
                    self.end_frame(&header, time, out);
                }
                if length > missing {
                    self.lose("bytes are missing between frames", time, out);
                }
            }
            State::Header { .. } => self.lose("bytes are missing between frames", time, out),
            State::Seek(seek) => seek.gap(),
            State::Closed | State::Off => {}
        }
    }

    /// `length` bytes of payload that nobody wants are not there; what goes beyond the frame is missing.
    pub(super) fn skip(&mut self, length: u64, time: Time, out: &mut Vec<Message>) {
        let mut beyond = length;
        if let State::Payload { header, left } = &mut self.state {
            let header = *header;
            let passed = length.min(*left);
            *left -= passed;
            beyond -= passed;
            if *left == 0 {
                self.end_frame(&header, time, out);
            }
        }
        if beyond > 0 {
            self.gap(beyond, time, out);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, time: Time, out: &mut Vec<Message>) {
        if let State::Seek(seek) = &self.state {
            self.traffic.dropped_bytes += seek.passed();
        }
        self.cut_message(time, out);
        self.inflate.forget();
        self.state = State::Off;
    }

    fn building(&mut self, header: &Header) -> Option<&mut Building> {
        if header.is_control() {
            self.control.as_mut()
        } else {
            self.open.as_mut()
        }
    }

    /// The header of a frame is whole.
    fn begin(&mut self, header: Header, started: Time, time: Time, out: &mut Vec<Message>) {
        let is_continuation = header.opcode == frame::CONTINUATION;
        let fault = match (&self.open, header.is_control(), is_continuation) {
            (None, false, true) => Some("continuation of no message"),
            (Some(_), false, false) => Some("message begun inside of another"),
            _ => None,
        };
        if let Some(reason) = fault {
            self.fault(reason, time, out);
            if matches!(self.state, State::Off) {
                return;
            }
            // The header itself is sound: the frames go on from here.
            if is_continuation {
                self.open = Some(Building::new(self.side, &header, started, 0, true));
            } else {
                self.cut_message(time, out);
            }
            self.inflate.forget();
        }
        self.traffic.frames += 1;
        if header.is_control() {
            self.control = Some(Building::new(self.side, &header, started, CONTROL_BYTES, false));
        } else if !is_continuation {
            let mut building = Building::new(self.side, &header, started, self.keep, false);
            building.message.compressed = header.rsv1 && self.rules.deflate;
            self.open = Some(building);
        }
        if let Some(building) = self.building(&header) {
            building.message.frames += 1;
            building.message.length += header.length;
        }
        self.state = State::Payload {
            header,
            left: header.length,
        };
        if header.length == 0 {
            self.end_frame(&header, time, out);
        }
    }

    /// Payload of the frame under way, at `offset`.
    fn payload(&mut self, header: &Header, payload: &[u8], offset: u64) {
        let building = if header.is_control() {
            &mut self.control
        } else {
            &mut self.open
        };
        let Some(building) = building else { return };
        if building.is_orphan || building.keep == 0 {
            building.message.truncated |= self.keep > 0 && !building.is_orphan && !payload.is_empty();
            return;
        }
        let mut buffer = [0; STEP_BYTES];
        for (index, piece) in payload.chunks(STEP_BYTES).enumerate() {
            let at = offset + (index * STEP_BYTES) as u64;
            let Some(plain) = buffer.get_mut(..piece.len()) else {
                return;
            };
            plain.copy_from_slice(piece);
            if let Some(mask) = header.mask {
                unmask(plain, mask, at);
            }
            if !building.message.compressed {
                building.keep(plain);
            } else if building.message.inflate_error.is_none() {
                inflate(&mut self.inflate, building, plain);
            }
        }
    }

    /// The frame under way ended.
    fn end_frame(&mut self, header: &Header, time: Time, out: &mut Vec<Message>) {
        self.state = BETWEEN;
        self.quality.good();
        if header.is_control() {
            if let Some(mut building) = self.control.take() {
                building.message.whole = true;
                self.finish(building, time, out);
            }
            return;
        }
        if !header.fin {
            return;
        }
        let Some(mut building) = self.open.take() else {
            return;
        };
        building.message.whole = true;
        let inflates = building.message.compressed && building.message.inflate_error.is_none();
        if inflates && !building.is_orphan && self.keep > 0 {
            end_inflate(&mut self.inflate, &mut building, self.takeover);
        }
        self.finish(building, time, out);
    }

    fn finish(&mut self, building: Building, time: Time, out: &mut Vec<Message>) {
        let Building {
            mut message,
            kept,
            is_orphan,
            ..
        } = building;
        message.payload = kept.freeze();
        message.time = time;
        if is_orphan {
            self.traffic.incomplete += 1;
            return;
        }
        self.traffic.count(&message);
        if message.kind == super::Kind::Close && message.whole {
            self.closing.get_or_insert_with(|| Closing::of(&message));
            self.state = State::Closed;
        }
        out.push(message);
    }

    /// What comes next may be anything.
    fn lose(&mut self, reason: &'static str, time: Time, out: &mut Vec<Message>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.traffic.fault.get_or_insert(reason);
        self.traffic.searches += 1;
        self.cut_message(time, out);
        self.inflate.forget();
        self.state = State::Seek(Seek::new(self.rules));
    }

    /// A frame broke the rules.
    fn fault(&mut self, reason: &'static str, time: Time, out: &mut Vec<Message>) {
        self.traffic.fault.get_or_insert(reason);
        if self.quality.bad().is_err() {
            self.cut_message(time, out);
            self.inflate.forget();
            self.state = State::Off;
        }
    }

    /// `found` begins with a frame.
    fn resume(&mut self, found: &[u8], time: Time) {
        self.state = BETWEEN;
        // The rest of a message whose beginning was passed over is no message.
        if found
            .first()
            .is_some_and(|first| first & 0x0f == frame::CONTINUATION)
        {
            let header = Header {
                fin: false,
                rsv1: false,
                opcode: frame::CONTINUATION,
                mask: None,
                length: 0,
                size: 0,
            };
            self.open = Some(Building::new(self.side, &header, time, 0, true));
        }
    }

    /// Ends messages whose end will not be seen.
    fn cut_message(&mut self, time: Time, out: &mut Vec<Message>) {
        for building in [self.control.take(), self.open.take()].into_iter().flatten() {
            self.finish(building, time, out);
        }
    }

    /// What follows cannot be inflated, as long as it refers to what came before.
    fn break_inflation(&mut self, reason: &'static str) {
        self.inflate.forget();
        if let Some(building) = &mut self.open
            && building.message.compressed
        {
            building.message.inflate_error.get_or_insert(reason);
        }
    }
}

const CORRUPT: &str = "corrupt, or refers to messages that were not captured";
const TOO_LARGE: &str = "grows beyond what is inflated";

/// Bytes that a message may grow to (P-B3): judged by the lengths that its frames announce.
fn bound(message: &Message) -> u64 {
    let ratio = message.length.saturating_mul(MAX_RATIO as u64);
    ratio.min(MAX_DECODED_BYTES as u64)
}

fn inflate(inflate: &mut Inflate, building: &mut Building, data: &[u8]) {
    let result = inflate.push(data, |piece| take(building, piece));
    settle(building, result.is_err());
}

fn end_inflate(inflate: &mut Inflate, building: &mut Building, takeover: bool) {
    let result = inflate.end(takeover, |piece| take(building, piece));
    settle(building, result.is_err());
    if building.message.inflate_error.is_none() {
        building.message.inflated.get_or_insert(0);
    }
}

fn take(building: &mut Building, piece: &[u8]) -> bool {
    let bound = bound(&building.message);
    let inflated = building.message.inflated.get_or_insert(0);
    let room = usize::try_from(bound.saturating_sub(*inflated)).unwrap_or(usize::MAX);
    let fits = piece.len() <= room;
    *inflated += piece.len().min(room) as u64;
    building.keep(piece.get(..room).unwrap_or(piece));
    if !fits {
        building.message.inflate_error = Some(TOO_LARGE);
    }
    fits
}

fn settle(building: &mut Building, failed: bool) {
    if failed {
        building.message.inflated = None;
        building.message.inflate_error.get_or_insert(CORRUPT);
    }
}

/// Removes the mask from `data`, which lies at `offset` of its payload.
fn unmask(data: &mut [u8], mut mask: [u8; 4], offset: u64) {
    mask.rotate_left((offset % 4) as usize);
    let wide = u32::from_ne_bytes(mask);
    let mut words = data.chunks_exact_mut(4);
    for word in &mut words {
        if let Some(word) = word.first_chunk_mut::<4>() {
            *word = (u32::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
