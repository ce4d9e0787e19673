//! Keeps what peers send from talking to the terminal.

use std::fmt::Write;

use crate::unsafe_text::is_unsafe;

/// Appends `bytes` as text fit for a terminal: control characters, escape sequences, characters that reorder text, and
/// bytes that are not UTF-8 become visible escapes. With `multiline`, line feeds (and carriage returns before them) and
/// tabs stay.
pub(super) fn sanitise(out: &mut String, bytes: &[u8], multiline: bool) {
    for chunk in bytes.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\n' | '\t' if multiline => out.push(character),
                '\r' if multiline && characters.peek() == Some(&'\n') => {}
                // Each byte of an escape is shown, so nothing is lost to the reader. Writing to a String cannot fail.
                unsafe_one if is_unsafe(unsafe_one) => _ = write!(out, "{}", unsafe_one.escape_default()),
                harmless => out.push(harmless),
            }
        }
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(bytes: &[u8], multiline: bool) -> String {
        let mut out = String::new();
        sanitise(&mut out, bytes, multiline);
        out
    }

    #[test]
    fn escapes_are_visible_and_text_is_kept() {
        for (bytes, multiline, expected) in [
            (&b"plain, text"[..], false, "plain, text"),
            ("grüße ☃".as_bytes(), false, "grüße ☃"),
            (b"\x1b[2J\x07", false, "\\u{1b}[2J\\u{7}"),
            (b"a\r\nb\n\tc", true, "a\nb\n\tc"),
            (b"a\r\nb", false, "a\\r\\nb"),
            (b"overwrite\rme", true, "overwrite\\rme"),
            (b"\xc2\x9b31m", false, "\\u{9b}31m"),
            (b"\xff\x9b", false, "\\xff\\x9b"),
            ("a\u{202e}b".as_bytes(), false, "a\\u{202e}b"),
        ] {
            assert_eq!(clean(bytes, multiline), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_unsafe_survives(bytes in proptest::collection::vec(any::<u8>(), 0..200), multiline: bool) {
            let text = clean(&bytes, multiline);
            let allowed = |c| multiline && matches!(c, '\n' | '\t');
            prop_assert!(!text.chars().any(|c| is_unsafe(c) && !allowed(c)), "{text:?}");
        }
    }
}
