//! The Base64 of `application/grpc-web-text` as a stream.

/// Value of a digit (RFC 4648 §4).
const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes groups of four digits wherever they are cut. Servers encode each piece that they send on its own, so padding may end any group
/// and not only the last. The crate `base64` does not take that.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// The group under way: its digits so far, and how many.
    bits: u32,
    digits: u8,
    /// Padding of the group so far.
    padding: u8,
}

/// A byte that is no digit, or padding where none may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotBase64;

impl Base64 {
    /// Appends what `text` decodes to. Line ends are passed over.
    pub(super) fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        out.reserve(text.len() / 4 * 3 + 3);
        for &byte in text {
            match byte {
                b'\r' | b'\n' => continue,
                b'=' if self.digits >= 2 => {
                    self.padding += 1;
                    self.bits <<= 6;
                }
                _ => match digit(byte) {
                    Some(value) if self.padding == 0 => {
                        self.digits += 1;
                        self.bits = self.bits << 6 | u32::from(value);
                    }
                    _ => return Err(NotBase64),
                },
            }
            if self.digits + self.padding == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                let decoded = usize::from(3 - self.padding);
                out.extend_from_slice(bytes.get(..decoded).unwrap_or_default());
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// Whether a group is under way.
    pub(super) const fn is_inside(&self) -> bool {
        self.digits > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pieces: &[&str]) -> Result<(Vec<u8>, bool), NotBase64> {
        let (mut decoder, mut out) = (Base64::default(), Vec::new());
        for piece in pieces {
            decoder.decode(piece.as_bytes(), &mut out)?;
        }
        Ok((out, decoder.is_inside()))
    }

    #[test]
    fn padding_may_end_any_group_and_cuts_may_be_anywhere() {
        for (pieces, expected) in [
            (&["Zm9vYmFy"][..], "foobar"),
            (&["Zg==Zm8=Zm9v"], "ffofoo"),
            (&["Z", "g=", "=", "Z", "m8", "="], "ffo"),
            (&["Zm9v\r\nYmFy"], "foobar"),
            (&["+/+/"], "\u{fb}"),
            (&[], ""),
        ] {
            let (bytes, is_inside) = decoded(pieces).unwrap();
            assert!(!is_inside, "{pieces:?}");
            match expected {
                "\u{fb}" => assert_eq!(bytes, [0xfb, 0xff, 0xbf]),
                text => assert_eq!(bytes, text.as_bytes()),
            }
        }
        assert_eq!(decoded(&["Zm9vYm"]), Ok((b"foo".to_vec(), true)));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["Zm9v*", "=", "Z===", "Zg=a", "Zm-v", "Zm9v Zm9v"] {
            assert_eq!(decoded(&[text]), Err(NotBase64), "{text}");
        }
    }
}
