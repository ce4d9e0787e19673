//! The decoders, each over data that may end anywhere.

use std::io::{ErrorKind, Read};

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, enc::StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::Output;

/// Bytes decoded at a time.
const STEP_BYTES: usize = 16 << 10;
/// Window that RFC 9659 allows a zstd body: 8 MiB. It bounds what the decoder allocates.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a decoder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// At the end of the coded data.
    Whole,
    /// The data end too early.
    Early,
    /// The output is full, and more would come.
    Full,
    /// The data are not of this coding.
    Corrupt,
}

/// gzip (RFC 1952), any number of members. What follows the last member, if it is none, is padding.
pub(super) fn gzip(mut data: &[u8], out: &mut Output) -> Ended {
    let mut buffer = vec![0; STEP_BYTES];
    let mut is_first = true;
    while is_first || data.starts_with(&[0x1f]) {
        if !is_first && data.get(1).is_some_and(|byte| *byte != 0x8b) {
            break;
        }
        let mut decoder = GzDecoder::new(data);
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    if !out.push(buffer.get(..length).unwrap_or_default()) {
                        return Ended::Full;
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ended::Early,
                Err(_) => return Ended::Corrupt,
            }
        }
        data = decoder.into_inner();
        is_first = false;
    }
    Ended::Whole
}

/// `deflate`: zlib (RFC 1950) by the book, raw deflate (RFC 1951) from many servers. The two-byte zlib
/// header tells them apart; should a raw stream happen to look like one, it is tried as such after all.
pub(super) fn deflate(data: &[u8], out: &mut Output) -> Ended {
    let is_zlib = match data {
        [method] => method & 0x0f == 8,
        [method, flags, ..] => {
            method & 0x0f == 8 && method >> 4 <= 7 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
        }
        [] => false,
    };
    let ended = inflate(Decompress::new(is_zlib), data, out);
    if ended == Ended::Corrupt && is_zlib && out.bytes.is_empty() {
        return inflate(Decompress::new(false), data, out);
    }
    ended
}

fn inflate(mut state: Decompress, data: &[u8], out: &mut Output) -> Ended {
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        let (read, written) = (state.total_in(), state.total_out());
        let rest = usize::try_from(read)
            .ok()
            .and_then(|read| data.get(read..))
            .unwrap_or_default();
        let Ok(status) = state.decompress(rest, &mut buffer, FlushDecompress::None) else {
            return Ended::Corrupt;
        };
        let length = usize::try_from(state.total_out() - written).unwrap_or(0);
        if !out.push(buffer.get(..length).unwrap_or_default()) {
            return Ended::Full;
        }
        if status == Status::StreamEnd {
            return Ended::Whole;
        }
        if length == 0 && state.total_in() == read {
            return Ended::Early;
        }
    }
}

/// `br` (RFC 7932).
pub(super) fn brotli(data: &[u8], out: &mut Output) -> Ended {
    let mut buffer = vec![0; STEP_BYTES];
    let mut state = BrotliState::new(
        StandardAlloc::default(),
        StandardAlloc::default(),
        StandardAlloc::default(),
    );
    let (mut available, mut offset, mut total) = (data.len(), 0, 0);
    loop {
        let (mut room, mut written) = (buffer.len(), 0);
        let result = BrotliDecompressStream(
            &mut available,
            &mut offset,
            data,
            &mut room,
            &mut written,
            &mut buffer,
            &mut total,
            &mut state,
        );
        if !out.push(buffer.get(..written).unwrap_or_default()) {
            return Ended::Full;
        }
        match result {
            BrotliResult::ResultSuccess => return Ended::Whole,
            BrotliResult::NeedsMoreInput if written == 0 => return Ended::Early,
            // More may be decoded than fitted the buffer, whichever of the two is said.
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Ended::Corrupt,
        }
    }
}

/// `zstd` (RFC 8878), any number of frames.
pub(super) fn zstd(data: &[u8], out: &mut Output) -> Ended {
    let Ok(mut decoder) = Decoder::new() else {
        return Ended::Corrupt;
    };
    if decoder
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
        .is_err()
    {
        return Ended::Corrupt;
    }
    let mut buffer = vec![0; STEP_BYTES];
    let mut input = InBuffer::around(data);
    loop {
        let read = input.pos();
        let mut output = OutBuffer::around(&mut buffer);
        let Ok(hint) = decoder.run(&mut input, &mut output) else {
            return Ended::Corrupt;
        };
        let written = output.pos();
        if !out.push(buffer.get(..written).unwrap_or_default()) {
            return Ended::Full;
        }
        let is_read = input.pos() == data.len();
        if hint == 0 && is_read {
            return Ended::Whole;
        }
        if written == 0 && input.pos() == read {
            return Ended::Early;
        }
    }
}
