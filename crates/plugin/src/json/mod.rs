//! JSON that is harmless on a terminal.

mod object;
mod writer;

use std::cell::RefCell;

use serde::ser::{Error as _, SerializeStruct};
use serde::{Serialize, Serializer};

pub(crate) use object::{Object, key};
use writer::Writer;

/// `value` as compact JSON on one line. Characters that act on a terminal or reorder text, which JSON need not escape
/// (DEL, C1, bidirectional controls), are escaped too: what peers send cannot take over a terminal that shows the line,
/// and parsers read the same text.
///
/// # Errors
/// When `value` fails to serialise.
pub fn to_vec(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        value.serialize(&mut Writer::new(scratch))?;
        let json = scratch.to_vec();
        if scratch.capacity() > SCRATCH_BYTES {
            *scratch = Vec::new();
        }
        Ok(json)
    })
}

/// Writes `value` at the end of `out`, as [`to_vec`] does.
///
/// # Errors
/// When it fails to serialise.
pub fn append(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut Writer::new(out))
}

/// One JSON value on one line: what [`to_vec`] makes, and nothing else, so that it can be put into other JSON as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonLine(Vec<u8>);

impl JsonLine {
    /// `value` as [`to_vec`] writes it.
    ///
    /// # Errors
    /// When `value` fails to serialise.
    pub fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        to_vec(value).map(Self)
    }

    /// An array of texts.
    #[must_use]
    pub fn of_texts(texts: &[String]) -> Self {
        let mut json = Vec::new();
        object::texts_of(&mut json, texts);
        Self(json)
    }

    /// The JSON.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How `serde_json` (with its feature `raw_value`) names a struct whose only field is JSON already.
const VERBATIM: &str = "$serde_json::private::RawValue";

impl Serialize for JsonLine {
    /// As it is, with [`to_vec`] and with `serde_json`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = std::str::from_utf8(&self.0).map_err(S::Error::custom)?;
        let mut verbatim = serializer.serialize_struct(VERBATIM, 1)?;
        verbatim.serialize_field(VERBATIM, json)?;
        verbatim.end()
    }
}

/// What a thread keeps for its next record.
const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// Where records grow, so that each costs one allocation of its own length and none on the way.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unsafe_text::is_unsafe;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        let text = "a\u{7f}b\u{9b}31m\u{202e}c\u{1b}[2Jé☃\"\\\n";
        assert_eq!(
            to_vec(&text).unwrap(),
            r#""a\u007fb\u009b31m\u202ec\u001b[2Jé☃\"\\\n""#.as_bytes()
        );
    }

    #[test]
    fn what_is_json_already_is_written_as_it_is() {
        let texts = ["a".to_owned(), "\u{9b}\"".to_owned()];
        let line = JsonLine::of_texts(&texts);
        assert_eq!(line, JsonLine::of(&texts).unwrap());
        let both = [line.clone(), JsonLine::of(&1).unwrap()];
        let expected = r#"[["a","\u009b\""],1]"#;
        assert_eq!(String::from_utf8(to_vec(&both).unwrap()).unwrap(), expected);
        assert_eq!(serde_json::to_string(&both).unwrap(), expected);
        // What follows is text again.
        assert_eq!(to_vec(&(line, "\"")).unwrap(), br#"[["a","\u009b\""],"\""]"#);
        assert_eq!(JsonLine::of_texts(&[]).bytes(), b"[]");
    }

    proptest! {
        #[test]
        fn parsers_read_the_same_text(text in any::<String>()) {
            let json = to_vec(&text).unwrap();
            prop_assert!(!std::str::from_utf8(&json).unwrap().contains(is_unsafe));
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
