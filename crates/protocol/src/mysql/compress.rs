//! The compressed protocol of one side (P-My7): packets inside of frames, each of which is deflated, in the format of zstd, or as it is.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html>

use flate2::{Decompress, FlushDecompress};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::start;
use crate::Side;
use crate::detect::Fit;

const HEADER_BYTES: usize = 7;
/// Bytes decoded at a time, and to as many at a time.
const BLOCK_BYTES: usize = 16 << 10;
/// Least window of zstd.
const ZSTD_LEAST_WINDOW: u64 = 1 << 10;
/// First byte of either.
const ZLIB: u8 = 0x78;
const ZSTD: u8 = 0x28;

/// What taking bytes came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// More is needed.
    Some,
    /// This was decoded.
    Bytes(Vec<u8>),
    /// So much of what would have been decoded is missing.
    Gap(u64),
    Bad(&'static str),
}

/// How the frame under way is coded.
enum Coding {
    /// Its first byte tells.
    Unknown,
    Plain,
    Zlib(Box<Decompress>),
    Zstd(Decoder<'static>),
    /// A part is missing: what is left is passed over.
    Broken,
}

impl std::fmt::Debug for Coding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Plain => "Plain",
            Self::Zlib(_) => "Zlib",
            Self::Zstd(_) => "Zstd",
            Self::Broken => "Broken",
        })
    }
}

/// One side.
#[derive(Debug)]
pub(super) struct Frames {
    side: Side,
    header: Vec<u8>,
    /// Coded bytes to come of the frame.
    remaining: u64,
    /// Decoded bytes to come of it.
    expected: u64,
    coding: Coding,
    sequence: u8,
    is_lost: bool,
    may_try: bool,
    /// While lost: bytes that may begin a frame.
    probe: Vec<u8>,
    /// Coded bytes that wait. They are decoded in blocks that begin at fixed places of the frame: what a decoder makes of corrupt data
    /// can depend on how they are cut.
    block: Vec<u8>,
    /// Bytes of the block that were decoded, once it is whole.
    decoded: Option<usize>,
}

impl Frames {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            header: Vec::new(),
            remaining: 0,
            expected: 0,
            coding: Coding::Unknown,
            sequence: 0,
            is_lost: false,
            may_try: false,
            probe: Vec::new(),
            block: Vec::new(),
            decoded: None,
        }
    }

    /// Bytes held, the state of a decoder among them.
    pub(super) fn held(&self) -> usize {
        self.header.len()
            + self.probe.len()
            + self.block.len()
            + match self.coding {
                Coding::Zlib(_) => 44 << 10,
                Coding::Zstd(_) => 128 << 10,
                _ => 0,
            }
    }

    /// Sequence number of the newest frame.
    pub(super) const fn sequence(&self) -> u8 {
        self.sequence
    }

    /// There is a block to decode.
    pub(super) const fn is_pending(&self) -> bool {
        self.decoded.is_some()
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// While lost: looks for the beginning of a frame in `data`. Returns it with all that follows. `peer`: sequence number of the other
    /// side.
    pub(super) fn search(&mut self, data: &[u8], peer: u8) -> Option<Vec<u8>> {
        for (index, byte) in data.iter().enumerate() {
            if !self.may_try {
                return None;
            }
            self.probe.push(*byte);
            let fit = match self.side {
                Side::Client => command_frame(&self.probe),
                Side::Server => reply_frame(&self.probe, peer.wrapping_add(1)),
            };
            match fit {
                Fit::Maybe => {}
                Fit::No => {
                    self.probe.clear();
                    self.may_try = false;
                }
                Fit::Yes => {
                    let mut whole = std::mem::take(&mut self.probe);
                    whole.extend_from_slice(data.get(index + 1..).unwrap_or_default());
                    self.is_lost = false;
                    return Some(whole);
                }
            }
        }
        None
    }

    /// Takes bytes from the front of `data`; to be called until they are used up and nothing is pending.
    pub(super) fn take(&mut self, data: &mut &[u8]) -> Unpacked {
        if let Some(decoded) = self.decoded {
            return self.decode(decoded);
        }
        if self.remaining == 0
            && let Some(unpacked) = self.take_header(data)
        {
            return unpacked;
        }
        if let (Coding::Unknown, Some(first)) = (&self.coding, data.first()) {
            match coding(*first, self.expected) {
                Ok(coding) => self.coding = coding,
                Err(reason) => return Unpacked::Bad(reason),
            }
        }
        let room = match self.coding {
            Coding::Zlib(_) | Coding::Zstd(_) => BLOCK_BYTES - self.block.len().min(BLOCK_BYTES),
            _ => usize::MAX,
        };
        let length = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(data.len())
            .min(room);
        let (part, rest) = data.split_at_checked(length).unwrap_or((data, &[]));
        *data = rest;
        self.remaining -= part.len() as u64;
        match self.coding {
            Coding::Plain => {
                self.expected -= part.len() as u64;
                if self.remaining == 0 {
                    self.coding = Coding::Unknown;
                }
                return Unpacked::Bytes(part.to_vec());
            }
            Coding::Broken | Coding::Unknown => {
                if self.remaining == 0 {
                    self.coding = Coding::Unknown;
                }
                return Unpacked::Some;
            }
            Coding::Zlib(_) | Coding::Zstd(_) => self.block.extend_from_slice(part),
        }
        if self.remaining == 0 || self.block.len() >= BLOCK_BYTES {
            self.decoded = Some(0);
        }
        Unpacked::Some
    }

    /// Decodes a part of the block, from here.
    fn decode(&mut self, from: usize) -> Unpacked {
        let data = self.block.get(from..).unwrap_or_default();
        let room = usize::try_from(self.expected)
            .unwrap_or(BLOCK_BYTES)
            .clamp(1, BLOCK_BYTES);
        let Some((used, bytes)) = self.coding.decode(data, room) else {
            return Unpacked::Bad("a compressed frame is corrupt");
        };
        let Some(expected) = self.expected.checked_sub(bytes.len() as u64) else {
            return Unpacked::Bad("a compressed frame is corrupt");
        };
        self.expected = expected;
        let is_used_up = used == data.len();
        let may_hold_more = bytes.len() == room && expected > 0;
        if is_used_up && !may_hold_more {
            self.block.clear();
            self.decoded = None;
            if self.remaining == 0 && expected > 0 {
                return Unpacked::Bad("a compressed frame ends too early");
            }
            if self.remaining == 0 {
                self.coding = Coding::Unknown;
            }
        } else if used == 0 && bytes.is_empty() {
            return Unpacked::Bad("a compressed frame is corrupt");
        } else {
            self.decoded = Some(from + used);
        }
        if bytes.is_empty() {
            Unpacked::Some
        } else {
            Unpacked::Bytes(bytes)
        }
    }

    fn take_header(&mut self, data: &mut &[u8]) -> Option<Unpacked> {
        let missing = HEADER_BYTES.saturating_sub(self.header.len());
        let (part, rest) = data
            .split_at_checked(missing.min(data.len()))
            .unwrap_or((data, &[]));
        self.header.extend_from_slice(part);
        *data = rest;
        let [a, b, c, sequence, d, e, f] = self.header.as_slice() else {
            return Some(Unpacked::Some);
        };
        let coded = u32::from_le_bytes([*a, *b, *c, 0]);
        let decoded = u32::from_le_bytes([*d, *e, *f, 0]);
        let sequence = *sequence;
        self.header.clear();
        if coded == 0 {
            return Some(Unpacked::Bad("an empty frame"));
        }
        self.sequence = sequence;
        self.remaining = coded.into();
        (self.expected, self.coding) = if decoded == 0 {
            (coded.into(), Coding::Plain)
        } else {
            (decoded.into(), Coding::Unknown)
        };
        data.is_empty().then_some(Unpacked::Some)
    }

    /// Passes over missing bytes; `None` when where frames begin is lost with them.
    pub(super) fn pass(&mut self, length: u64) -> Option<Unpacked> {
        if self.is_lost || length > self.remaining {
            return None;
        }
        self.remaining -= length;
        let missing = match self.coding {
            Coding::Plain => length,
            Coding::Broken => 0,
            _ => self.expected,
        };
        self.expected -= missing;
        if !matches!(self.coding, Coding::Plain) {
            self.coding = Coding::Broken;
            self.block.clear();
        }
        if self.remaining == 0 {
            self.coding = Coding::Unknown;
        }
        Some(if missing > 0 {
            Unpacked::Gap(missing)
        } else {
            Unpacked::Some
        })
    }

    /// Looks for the next frame from here on.
    pub(super) fn lose(&mut self, may_try: bool) {
        self.header.clear();
        self.probe.clear();
        self.block.clear();
        self.decoded = None;
        (self.remaining, self.expected, self.coding) = (0, 0, Coding::Unknown);
        self.is_lost = true;
        self.may_try = may_try;
    }

    /// The other side sent something.
    pub(super) fn turn(&mut self) {
        if self.is_lost {
            self.probe.clear();
            self.may_try = true;
        }
    }
}

/// How a frame is coded that begins so. What its decoder allocates is bounded by the decoded length.
fn coding(first: u8, decoded: u64) -> Result<Coding, &'static str> {
    if first == ZLIB {
        return Ok(Coding::Zlib(Box::new(Decompress::new(true))));
    }
    if first != ZSTD {
        return Err("a frame compressed in an unknown way");
    }
    let mut decoder = Decoder::new().map_err(|_| "no decoder of zstd")?;
    decoder
        .set_parameter(DParameter::WindowLogMax(
            decoded.max(ZSTD_LEAST_WINDOW).next_power_of_two().ilog2(),
        ))
        .map_err(|_| "no decoder of zstd")?;
    Ok(Coding::Zstd(decoder))
}

impl Coding {
    /// Decodes a part of `data` to at most `room` bytes: how much, and to what. `None`: it is corrupt.
    fn decode(&mut self, data: &[u8], room: usize) -> Option<(usize, Vec<u8>)> {
        let mut buffer = vec![0; room];
        let (used, length) = match self {
            Self::Zlib(state) => {
                let (read, written) = (state.total_in(), state.total_out());
                state.decompress(data, &mut buffer, FlushDecompress::None).ok()?;
                let used = usize::try_from(state.total_in() - read).ok()?;
                (used, usize::try_from(state.total_out() - written).ok()?)
            }
            Self::Zstd(decoder) => {
                let mut input = InBuffer::around(data);
                let mut output = OutBuffer::around(buffer.as_mut_slice());
                decoder.run(&mut input, &mut output).ok()?;
                (input.pos(), output.pos())
            }
            Self::Unknown | Self::Plain | Self::Broken => return None,
        };
        buffer.truncate(length);
        Some((used, buffer))
    }
}

/// Whether `bytes` begin a frame of a client with a command in it.
pub(super) fn command_frame(bytes: &[u8]) -> Fit {
    frame(bytes, 0, start::command)
}

/// Whether `bytes` begin a frame of a server with a reply in it.
pub(super) fn reply_frame(bytes: &[u8], sequence: u8) -> Fit {
    frame(bytes, sequence, |packet| start::reply(packet, None))
}

fn frame(bytes: &[u8], expected: u8, begins: impl Fn(&[u8]) -> Fit) -> Fit {
    let Some((coded, sequence, rest)) = start::header(bytes) else {
        return Fit::Maybe;
    };
    if sequence != expected || coded < 5 {
        return Fit::No;
    }
    match rest {
        [0, 0, 0, packet @ ..] => match start::header(packet) {
            Some((length, _, _)) if length + 4 > coded => Fit::No,
            Some(_) => begins(packet),
            None => Fit::Maybe,
        },
        [a, b, c, payload @ ..] => {
            let decoded = u32::from_le_bytes([*a, *b, *c, 0]);
            match payload {
                _ if decoded <= coded => Fit::No,
                [0x78, flags, ..] if (0x7800 | u16::from(*flags)) % 31 == 0 => Fit::Yes,
                [0x28, 0xb5, 0x2f, 0xfd, ..] => Fit::Yes,
                [] | [0x78] | [0x28] | [0x28, 0xb5] | [0x28, 0xb5, 0x2f] => Fit::Maybe,
                _ => Fit::No,
            }
        }
        _ => Fit::Maybe,
    }
}
