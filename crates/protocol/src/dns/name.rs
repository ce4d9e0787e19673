//! Names as DNS writes them.

use std::fmt;

use super::MessageError;

/// Bytes of a name on the wire (RFC 1035, section 3.1).
const MOST_BYTES: usize = 255;
/// A label's first byte: its length, or the upper half of where the rest of the name is (section 4.1.4).
const POINTER: u8 = 0xc0;

/// A name in lower case and without the dot at its end; the root is empty. What is no letter, digit, hyphen or underscore is written as
/// `\DDD` (section 5.1), so that a name never breaks a line or a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Reads the name at `at` in `message`, and returns where it ends.
    pub(super) fn read(message: &[u8], at: usize) -> Result<(Self, usize), MessageError> {
        let mut name = String::new();
        let (mut place, mut end, mut bytes) = (at, None, 0);
        // Where the last jump led: each has to lead further to the front, so that they come to an end.
        let mut limit = at;
        loop {
            let first = *message.get(place).ok_or(MessageError::Short)?;
            match first & POINTER {
                0 if first == 0 => {
                    return Ok((Self(name), end.unwrap_or(place + 1)));
                }
                0 => {
                    let length = usize::from(first);
                    let label = message
                        .get(place + 1..place + 1 + length)
                        .ok_or(MessageError::Short)?;
                    bytes += 1 + length;
                    if bytes >= MOST_BYTES {
                        return Err(MessageError::Name);
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    label.iter().for_each(|byte| write_byte(&mut name, *byte));
                    place += 1 + length;
                }
                POINTER => {
                    let low = *message.get(place + 1).ok_or(MessageError::Short)?;
                    let target = usize::from(first & !POINTER) << 8 | usize::from(low);
                    if target >= limit {
                        return Err(MessageError::Name);
                    }
                    end = end.or(Some(place + 2));
                    (place, limit) = (target, target);
                }
                _ => return Err(MessageError::Name),
            }
        }
    }

    /// Where the name at `at` ends, without following it.
    pub(super) fn end(message: &[u8], at: usize) -> Result<usize, MessageError> {
        let mut place = at;
        loop {
            let first = *message.get(place).ok_or(MessageError::Short)?;
            match first & POINTER {
                0 if first == 0 => return Ok(place + 1),
                0 => place += 1 + usize::from(first),
                POINTER if place + 1 < message.len() => return Ok(place + 2),
                POINTER => return Err(MessageError::Short),
                _ => return Err(MessageError::Name),
            }
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn write_byte(name: &mut String, byte: u8) {
    use fmt::Write;
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
        b'A'..=b'Z' => name.push(char::from(byte.to_ascii_lowercase())),
        // Writing to a string does not fail.
        _ => _ = write!(name, "\\{byte:03}"),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8], at: usize) -> Result<(String, usize), MessageError> {
        Name::read(message, at).map(|(name, end)| (name.as_str().to_owned(), end))
    }

    #[test]
    fn labels_are_joined_in_lower_case() {
        assert_eq!(
            read(b"\x03WWW\x07example\x03com\0", 0),
            Ok(("www.example.com".into(), 17))
        );
        assert_eq!(read(b"\0", 0), Ok((String::new(), 1)));
    }

    #[test]
    fn a_pointer_leads_to_the_rest_and_ends_the_name() {
        let message = b"\x03com\0\x03api\xc0\x00rest";
        assert_eq!(read(message, 5), Ok(("api.com".into(), 11)));
    }

    #[test]
    fn pointers_to_themselves_or_forward_are_refused() {
        assert_eq!(read(b"\xc0\x00", 0), Err(MessageError::Name));
        assert_eq!(read(b"\xc0\x02\x00", 0), Err(MessageError::Name));
        assert_eq!(read(b"\x01a\xc0\x00", 0), Err(MessageError::Name));
    }

    #[test]
    fn odd_bytes_are_escaped() {
        assert_eq!(read(b"\x04a.\n\xff\0", 0).unwrap().0, "a\\046\\010\\255");
    }

    #[test]
    fn names_are_bounded_and_whole() {
        let long = [&[0x3f_u8][..], &[b'x'; 63]].concat().repeat(4);
        assert_eq!(
            read(&[long.as_slice(), b"\0"].concat(), 0),
            Err(MessageError::Name)
        );
        assert_eq!(read(b"\x05abc", 0), Err(MessageError::Short));
        assert_eq!(read(b"\x40", 0), Err(MessageError::Name));
    }
}
