//! Content coding of a body that is read while it passes.

use std::io::{self, Write};

use super::{Coding, DecodeError, MAX_RATIO};

/// Bytes decoded at a time, so that what comes out is looked at before more goes in.
const STEP_BYTES: usize = 1024;
/// Most that one step may yield.
const YIELD_BYTES: usize = 1 << 20;
/// Window of zstd: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;
/// Buffer of the decoder of brotli.
const BUFFER_BYTES: usize = 4096;

/// What a decoder wrote; takes no more than a step may yield.
#[derive(Debug, Default)]
struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.0.len() + data.len() > YIELD_BYTES {
            return Err(io::Error::other("grows too much"));
        }
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    /// The coding is not told yet: zlib or raw deflate.
    Unknown(Vec<u8>),
    Gzip(Box<flate2::write::MultiGzDecoder<Sink>>),
    Zlib(Box<flate2::write::ZlibDecoder<Sink>>),
    Raw(Box<flate2::write::DeflateDecoder<Sink>>),
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Sink>>),
}

/// Removes one content coding piece by piece.
pub struct StreamDecoder {
    coding: Coding,
    decoder: Decoder,
    read: u64,
    written: u64,
    failed: bool,
}

impl std::fmt::Debug for StreamDecoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StreamDecoder({})", self.coding.name())
    }
}

impl StreamDecoder {
    /// A decoder of `encoding`, the value of `Content-Encoding`; `None` when that changes nothing.
    ///
    /// # Errors
    /// A coding that is not known, or several.
    pub fn new(encoding: &str) -> Result<Option<Self>, DecodeError> {
        let mut codings = encoding
            .split(',')
            .filter_map(|name| Coding::parse(name.trim()).transpose());
        let Some(coding) = codings.next().transpose()? else {
            return Ok(None);
        };
        if codings.next().is_some() {
            return Err(DecodeError::TooMany(encoding.split(',').count()));
        }
        let decoder = match coding {
            Coding::Gzip => Decoder::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Sink::default()))),
            Coding::Deflate => Decoder::Unknown(Vec::new()),
            Coding::Brotli => {
                let writer = brotli::DecompressorWriter::new(Sink::default(), BUFFER_BYTES);
                Decoder::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut writer = zstd::stream::write::Decoder::new(Sink::default())
                    .map_err(|_| DecodeError::Unknown(encoding.to_owned()))?;
                writer
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .map_err(|_| DecodeError::Unknown(encoding.to_owned()))?;
                Decoder::Zstd(Box::new(writer))
            }
        };
        Ok(Some(Self {
            coding,
            decoder,
            read: 0,
            written: 0,
            failed: false,
        }))
    }

    /// Decodes `data`, handing what comes out to `sink` in pieces of at most 1 MiB.
    ///
    /// # Errors
    /// The data are not of the coding, or grow beyond 200 times their size (P-B3). Nothing can be decoded after that.
    pub fn push(&mut self, data: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), DecodeError> {
        for piece in data.chunks(STEP_BYTES) {
            if self.failed || self.step(piece).is_err() {
                self.failed = true;
            }
            self.read += piece.len() as u64;
            let fresh = self.fresh();
            self.written += fresh.len() as u64;
            let bound = self.read.saturating_mul(MAX_RATIO as u64).max(YIELD_BYTES as u64);
            self.failed |= self.written > bound;
            if !fresh.is_empty() {
                sink(&fresh);
            }
            if self.failed {
                return Err(DecodeError::Corrupt {
                    coding: self.coding.name(),
                    decoded: usize::try_from(self.written).unwrap_or(usize::MAX),
                });
            }
        }
        Ok(())
    }

    /// Bytes held, about: what its kind of decoder allocates.
    #[must_use]
    pub const fn held(&self) -> usize {
        match &self.decoder {
            Decoder::Unknown(_) => 0,
            Decoder::Gzip(_) | Decoder::Zlib(_) | Decoder::Raw(_) => 80 << 10,
            Decoder::Brotli(_) => 256 << 10,
            Decoder::Zstd(_) => 512 << 10,
        }
    }

    fn step(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Decoder::Unknown(start) = &mut self.decoder {
            start.extend_from_slice(piece);
            let &[method, flags, ..] = start.as_slice() else {
                return Ok(());
            };
            let is_zlib = method & 0x0f == 8
                && method >> 4 <= 7
                && (u16::from(method) << 8 | u16::from(flags)).is_multiple_of(31);
            let start = std::mem::take(start);
            self.decoder = if is_zlib {
                Decoder::Zlib(Box::new(flate2::write::ZlibDecoder::new(Sink::default())))
            } else {
                Decoder::Raw(Box::new(flate2::write::DeflateDecoder::new(Sink::default())))
            };
            return self.write(&start);
        }
        self.write(piece)
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let writer: &mut dyn Write = match &mut self.decoder {
            Decoder::Unknown(_) => return Ok(()),
            Decoder::Gzip(writer) => writer,
            Decoder::Zlib(writer) => writer,
            Decoder::Raw(writer) => writer,
            Decoder::Brotli(writer) => writer,
            Decoder::Zstd(writer) => writer,
        };
        writer.write_all(piece)?;
        writer.flush()
    }

    /// What came out since the last call.
    fn fresh(&mut self) -> Vec<u8> {
        let sink = match &mut self.decoder {
            Decoder::Unknown(_) => return Vec::new(),
            Decoder::Gzip(writer) => writer.get_mut(),
            Decoder::Zlib(writer) => writer.get_mut(),
            Decoder::Raw(writer) => writer.get_mut(),
            Decoder::Brotli(writer) => writer.get_mut(),
            Decoder::Zstd(writer) => writer.get_mut(),
        };
        std::mem::take(&mut sink.0)
    }
}
