//! The messages in a body that was captured.

use bytes::Bytes;

use super::base64::Base64;
use super::framer::{COMPRESSED, PREFIX_BYTES};
use super::{Dialect, Messages};
use crate::encoding;

/// Messages of one side that are shown one by one.
pub const MAX_LISTED: usize = 100;

/// One message as captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Length as sent, without its prefix.
    pub size: u32,
    /// It is compressed on the wire.
    pub compressed: bool,
    /// Its bytes, compression **removed** when that worked, else as sent.
    pub data: Bytes,
    /// `data` is not all of it: a limit was reached, or bytes are missing.
    pub truncated: bool,
    /// Why the compression could not be removed.
    pub decode_error: Option<String>,
}

/// Splits `body`, the first bytes of a body as captured, into its messages (P-G3), and removes their compression (P-G4), which
/// `encoding`, the value of `grpc-encoding`, names. At most [`MAX_LISTED`] messages, and at most `limit` bytes in all. Of a body with a
/// hole those in front of it.
#[must_use]
pub fn split(
    body: &Bytes,
    counted: &Messages,
    dialect: Dialect,
    encoding: Option<&[u8]>,
    limit: usize,
) -> Vec<Message> {
    let whole = counted.whole_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let body = body.slice(..whole.unwrap_or(usize::MAX).min(body.len()));
    let mut rest = match dialect {
        Dialect::Native | Dialect::Web => body,
        Dialect::WebText => {
            let mut decoded = Vec::new();
            // What comes before a fault is good; the fault itself was told when it passed.
            let _ = Base64::default().decode(&body, &mut decoded);
            decoded.into()
        }
    };
    let (mut found, mut room) = (Vec::new(), limit);
    while found.len() < MAX_LISTED
        && let Some((prefix, _)) = rest.split_first_chunk::<PREFIX_BYTES>()
    {
        let [flags, length @ ..] = *prefix;
        let size = u32::from_be_bytes(length);
        let mut payload = rest.split_off(PREFIX_BYTES);
        rest = payload.split_off(usize::try_from(size).unwrap_or(usize::MAX).min(payload.len()));
        match flags {
            0 | COMPRESSED => {
                let message = message(size, flags == COMPRESSED, payload, encoding, room);
                room -= message.data.len().min(room);
                found.push(message);
            }
            // The trailers of gRPC-Web, or no prefix at all, which was told when it passed.
            _ => break,
        }
    }
    found
}

fn message(size: u32, compressed: bool, mut payload: Bytes, encoding: Option<&[u8]>, room: usize) -> Message {
    let mut message = Message {
        size,
        compressed,
        truncated: payload.len() < usize::try_from(size).unwrap_or(usize::MAX),
        data: Bytes::new(),
        decode_error: None,
    };
    if compressed {
        match decode(encoding, &payload, room) {
            Ok(decoded) => {
                message.truncated |= decoded.truncated;
                message.data = decoded.bytes;
                return message;
            }
            Err(error) => message.decode_error = Some(error),
        }
    }
    message.truncated |= payload.len() > room;
    payload.truncate(room);
    message.data = payload;
    message
}

fn decode(encoding: Option<&[u8]>, payload: &[u8], room: usize) -> Result<encoding::Decoded, String> {
    let name = encoding.map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase());
    match name.as_deref() {
        None | Some("" | "identity") => Err("compressed, and no encoding was named".to_owned()),
        Some(name) => encoding::decode(name, payload, room).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[flags][..], &length, payload].concat()
    }

    fn split_native(body: Vec<u8>, encoding: Option<&str>, limit: usize) -> Vec<Message> {
        let counted = Messages::default();
        split(
            &body.into(),
            &counted,
            Dialect::Native,
            encoding.map(str::as_bytes),
            limit,
        )
    }

    /// P-G3, P-G4
    #[test]
    fn p_g4_messages_are_split_and_gzip_is_removed() {
        let packed = gzip(&[b'x'; 100]);
        let body = [frame(0, b"one"), frame(1, &packed), frame(0, b"")].concat();
        let found = split_native(body, Some("gzip"), 1 << 20);
        let outline: Vec<_> = found
            .iter()
            .map(|message| {
                (
                    message.size as usize,
                    message.compressed,
                    message.data.len(),
                    message.truncated,
                )
            })
            .collect();
        assert_eq!(
            outline,
            [
                (3, false, 3, false),
                (packed.len(), true, 100, false),
                (0, false, 0, false)
            ]
        );
        assert_eq!(
            (&found[0].data[..], &found[1].data[..]),
            (&b"one"[..], &[b'x'; 100][..])
        );
    }

    /// P-G4: others are reported, and the data stay as sent.
    #[test]
    fn p_g4_what_cannot_be_decoded_says_why() {
        for (encoding, said) in [
            (Some("snappy"), "unknown content coding \"snappy\""),
            (Some("gzip"), "corrupt gzip data"),
            (Some("identity"), "no encoding was named"),
            (None, "no encoding was named"),
        ] {
            let found = split_native(frame(1, b"not packed at all"), encoding, 1 << 20);
            let error = found[0].decode_error.as_deref().unwrap();
            assert!(error.contains(said), "{error}");
            assert_eq!(&found[0].data[..], b"not packed at all");
        }
    }

    /// P-B3, P-M4: inflation is bounded, and an announced length allocates nothing.
    #[test]
    fn p_b3_inflation_is_bounded_by_the_limit_and_the_ratio() {
        let packed = gzip(&vec![0; 1 << 20]);
        let found = split_native(frame(1, &packed), Some("gzip"), 10_000);
        assert_eq!((found[0].data.len(), found[0].truncated), (10_000, true));
        let found = split_native(frame(1, &packed), Some("gzip"), usize::MAX);
        assert_eq!(
            (found[0].data.len(), found[0].truncated),
            (200 * packed.len(), true)
        );
        let found = split_native(vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2], None, 1 << 20);
        assert_eq!(
            (found[0].size, found[0].data.len(), found[0].truncated),
            (u32::MAX, 2, true)
        );
    }

    #[test]
    fn all_messages_together_keep_the_limit() {
        let body = [frame(0, b"abc"), frame(0, b"def"), frame(0, b"ghi")].concat();
        let found = split_native(body, None, 4);
        let data: Vec<_> = found
            .iter()
            .map(|message| (&message.data[..], message.truncated))
            .collect();
        assert_eq!(data, [(&b"abc"[..], false), (b"d", true), (b"", true)]);
        let many = split_native(frame(0, b"a").repeat(1000), None, 1 << 20);
        assert_eq!(many.len(), MAX_LISTED);
    }

    #[test]
    fn nothing_behind_a_hole_is_split() {
        let body = [frame(0, b"abc"), frame(0, b"def")].concat();
        let counted = Messages {
            whole_bytes: Some(10),
            ..Messages::default()
        };
        let found = split(&body.into(), &counted, Dialect::Native, None, 1 << 20);
        assert_eq!(found.len(), 1);
        assert_eq!(&found[0].data[..], b"abc");
    }

    /// P-G5
    #[test]
    fn p_g5_trailers_of_the_web_are_no_message_and_text_is_decoded() {
        let body = [frame(0, b"abc"), frame(0x80, b"grpc-status: 0\r\n")].concat();
        let counted = Messages::default();
        let found = split(&body.into(), &counted, Dialect::Web, None, 1 << 20);
        assert_eq!(found.len(), 1);
        let text = Bytes::from_static(b"AAAAAAM=YWJj");
        let found = split(&text, &counted, Dialect::WebText, None, 1 << 20);
        assert_eq!((found.len(), &found[0].data[..]), (1, &b"abc"[..]));
    }
}
