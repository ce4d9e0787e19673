//! Content codings of bodies (P-B1 to P-B3).
//!
//! In: the value of `Content-Encoding` and a body as captured, perhaps cut at the capture limit. Out: the
//! decoded body, never more than the bounds allow. Nothing is allocated from a size that the data claim.
//!
//! ```
//! use qtap_protocol::encoding;
//!
//! let decoded = encoding::decode("identity", b"hello", 1 << 20)?;
//! assert_eq!((&decoded.bytes[..], decoded.truncated), (&b"hello"[..], false));
//! # Ok::<(), encoding::DecodeError>(())
//! ```

mod coders;
mod stream;

use bytes::Bytes;

pub use stream::StreamDecoder;

/// No body is decoded beyond this (P-B3).
pub const MAX_DECODED_BYTES: usize = 16 << 20;
/// No body is decoded beyond so many times its encoded size (P-B3).
pub const MAX_RATIO: usize = 200;
/// Codings laid one over the other; more is an attack.
const MAX_CODINGS: usize = 4;

/// A decoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The content.
    pub bytes: Bytes,
    /// The content goes on: the encoded data were cut, or a bound was reached.
    pub truncated: bool,
}

/// Why a body could not be decoded. The raw body is still what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A coding that is not known here.
    #[error("unknown content coding {0:?}")]
    Unknown(String),
    /// The data are not what the coding says.
    #[error("corrupt {coding} data after {decoded} decoded bytes")]
    Corrupt {
        /// The coding.
        coding: &'static str,
        /// Bytes that were decoded before the fault.
        decoded: usize,
    },
    /// More codings than anyone uses.
    #[error("{0} content codings, at most 4 are removed")]
    TooMany(usize),
}

/// One coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The coding of that name (RFC 9110 §8.4.1); `None` for those that change nothing.
    fn parse(name: &str) -> Result<Option<Self>, DecodeError> {
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" => Ok(Some(Self::Deflate)),
            "br" => Ok(Some(Self::Brotli)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => Err(DecodeError::Unknown(name.to_owned())),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn remove(self, data: &[u8], out: &mut Output) -> coders::Ended {
        match self {
            Self::Gzip => coders::gzip(data, out),
            Self::Deflate => coders::deflate(data, out),
            Self::Brotli => coders::brotli(data, out),
            Self::Zstd => coders::zstd(data, out),
        }
    }
}

/// Decoded bytes, bounded.
#[derive(Debug)]
struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    /// Adds `piece`. Returns whether all of it fitted.
    fn push(&mut self, piece: &[u8]) -> bool {
        let room = self.limit.saturating_sub(self.bytes.len());
        let kept = piece.get(..room).unwrap_or(piece);
        self.bytes.extend_from_slice(kept);
        kept.len() == piece.len()
    }
}

/// Removes the codings that `encoding`, the value of `Content-Encoding`, lists, the last one first. The
/// result is at most `limit` bytes, and within the bounds of P-B3.
///
/// # Errors
/// See [`DecodeError`]. Data that merely end too early are no error: they decode as far as they go.
pub fn decode(encoding: &str, data: &[u8], limit: usize) -> Result<Decoded, DecodeError> {
    let codings = encoding
        .split(',')
        .filter_map(|name| Coding::parse(name.trim()).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    if codings.len() > MAX_CODINGS {
        return Err(DecodeError::TooMany(codings.len()));
    }
    let bound = MAX_DECODED_BYTES.min(data.len().saturating_mul(MAX_RATIO));
    let mut truncated = false;
    let mut decoded: Option<Vec<u8>> = None;
    for (index, coding) in codings.iter().enumerate().rev() {
        // The caller's limit is for the content, not for what lies between two codings.
        let mut out = Output {
            bytes: Vec::new(),
            limit: if index == 0 { bound.min(limit) } else { bound },
        };
        let input = decoded.as_deref().unwrap_or(data);
        if !input.is_empty() {
            match coding.remove(input, &mut out) {
                coders::Ended::Whole => {}
                coders::Ended::Early | coders::Ended::Full => truncated = true,
                coders::Ended::Corrupt => {
                    return Err(DecodeError::Corrupt {
                        coding: coding.name(),
                        decoded: out.bytes.len(),
                    });
                }
            }
        }
        decoded = Some(out.bytes);
    }
    let bytes = match decoded {
        Some(bytes) => bytes.into(),
        None => {
            let kept = data.get(..limit).unwrap_or(data);
            truncated = kept.len() < data.len();
            Bytes::copy_from_slice(kept)
        }
    };
    Ok(Decoded { bytes, truncated })
}

#[cfg(test)]
mod tests;
