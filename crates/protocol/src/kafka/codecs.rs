//! Decompression of the first part of a batch.
//!
//! A batch is kept only in part, so what is to be decompressed is cut as a rule, and of what comes out only the first records are wanted.
//! For Snappy and LZ4 the decoders that one can have want whole blocks and buffers of megabytes; these two stop where the data or the
//! room ends.

use crate::encoding;

/// Most bytes that come out.
pub(super) const DECODED_BYTES: usize = 64 << 10;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
    /// A number that means none of these.
    Unknown,
}

impl Codec {
    /// By the lowest three bits of a batch's attributes.
    pub(super) const fn of(attributes: u16) -> Self {
        match attributes & 7 {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Unknown => "unknown compression",
        }
    }

    /// What `data` begins with. Empty when they cannot be read.
    pub(super) fn decode(self, data: &[u8]) -> Vec<u8> {
        let by_name =
            |name| encoding::decode(name, data, DECODED_BYTES).map(|decoded| decoded.bytes.to_vec());
        match self {
            Self::None => data.get(..DECODED_BYTES).unwrap_or(data).to_vec(),
            Self::Gzip => by_name("gzip").unwrap_or_default(),
            Self::Zstd => by_name("zstd").unwrap_or_default(),
            Self::Snappy => snappy(data),
            Self::Lz4 => lz4(data),
            Self::Unknown => Vec::new(),
        }
    }
}

/// What came out so far.
struct Output(Vec<u8>);

impl Output {
    fn is_full(&self) -> bool {
        self.0.len() >= DECODED_BYTES
    }

    fn literal(&mut self, bytes: &[u8]) {
        let room = DECODED_BYTES.saturating_sub(self.0.len());
        self.0.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Repeats `length` bytes from `offset` before the end.
    fn copy(&mut self, offset: usize, length: usize) -> Option<()> {
        let start = self.0.len().checked_sub(offset).filter(|_| offset > 0)?;
        for place in start..start + length.min(DECODED_BYTES.saturating_sub(self.0.len())) {
            let byte = *self.0.get(place)?;
            self.0.push(byte);
        }
        Some(())
    }
}

/// Snappy: one block, or the framing of the Java library: a header of 16 bytes, and blocks with a length of 4 bytes.
fn snappy(data: &[u8]) -> Vec<u8> {
    let mut out = Output(Vec::new());
    let Some(mut rest) = data.strip_prefix(b"\x82SNAPPY\0").and_then(|rest| rest.get(8..)) else {
        snappy_block(data, &mut out);
        return out.0;
    };
    while let (false, Some((length, after))) = (out.is_full(), rest.split_first_chunk()) {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (block, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        if snappy_block(block, &mut out).is_none() {
            break;
        }
        rest = after;
    }
    out.0
}

fn snappy_block(data: &[u8], out: &mut Output) -> Option<()> {
    let header = data
        .iter()
        .position(|byte| byte & 0x80 == 0)
        .filter(|end| *end < 5)?;
    let mut rest = data.get(header + 1..)?;
    // Offsets do not reach into the block before.
    let mut block = Output(Vec::new());
    let result = loop {
        let Some((&tag, after)) = rest.split_first() else {
            break Some(());
        };
        if block.is_full() {
            break Some(());
        }
        let high = usize::from(tag >> 2);
        let extra = match tag & 3 {
            0 => high.saturating_sub(59),
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let Some((number, after)) = after.split_at_checked(extra) else {
            break None;
        };
        let number = number
            .iter()
            .rev()
            .fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        rest = after;
        let copied = match tag & 3 {
            0 => {
                let length = if extra == 0 {
                    high + 1
                } else {
                    number.saturating_add(1)
                };
                let (bytes, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                block.literal(bytes);
                rest = after;
                Some(())
            }
            1 => block.copy((high >> 3) << 8 | number, 4 + (high & 7)),
            _ => block.copy(number, high + 1),
        };
        if copied.is_none() {
            break None;
        }
    };
    out.literal(&block.0);
    result
}

/// Frames of LZ4: a header, blocks with a length of 4 bytes, a length of 0.
fn lz4(data: &[u8]) -> Vec<u8> {
    let mut out = Output(Vec::new());
    _ = lz4_frame(data, &mut out);
    out.0
}

fn lz4_frame(data: &[u8], out: &mut Output) -> Option<()> {
    let rest = data.strip_prefix(&[0x04, 0x22, 0x4d, 0x18])?;
    let (&flags, rest) = rest.split_first()?;
    let has = |bit: u8| flags & bit != 0;
    // Size of a block, then what the flags say, then a check sum.
    let header = 1 + if has(0x08) { 8 } else { 0 } + if has(0x01) { 4 } else { 0 } + 1;
    let mut rest = rest.get(header..)?;
    while !out.is_full() {
        let (length, after) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return Some(());
        }
        let bytes = usize::try_from(length & 0x7fff_ffff).ok()?;
        let (block, after) = after.split_at_checked(bytes).unwrap_or((after, &[]));
        if length >> 31 == 1 {
            out.literal(block);
        } else {
            lz4_block(block, out)?;
        }
        rest = if has(0x10) { after.get(4..)? } else { after };
    }
    Some(())
}

fn lz4_block(mut rest: &[u8], out: &mut Output) -> Option<()> {
    while let (false, Some((&token, after))) = (out.is_full(), rest.split_first()) {
        rest = after;
        let length = lz4_length(token >> 4, &mut rest)?;
        let (bytes, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        out.literal(bytes);
        let Some((offset, after)) = after.split_first_chunk() else {
            return Some(());
        };
        rest = after;
        let length = lz4_length(token & 0x0f, &mut rest)?;
        out.copy(u16::from_le_bytes(*offset).into(), length.saturating_add(4))?;
    }
    Some(())
}

/// Four bits, and after 15 of them bytes up to one below 255.
fn lz4_length(low: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(low);
    if low == 15 {
        loop {
            let (&byte, after) = rest.split_first()?;
            *rest = after;
            length = length.saturating_add(byte.into());
            if byte < 255 {
                break;
            }
        }
    }
    Some(length)
}
