//! Compact JSON that is harmless on a terminal, through serde.
//!
//! The same text as `serde_json::to_string` makes, with more escapes. A formatter for `serde_json` gives that too, but half of what a
//! record costs was then the search for what to escape, byte by byte and twice: here it is made once, eight bytes at a time. Instructions for
//! the plugin and the store at level headers of `http_capture`, SHA-256 left out: 38,100 with `serde_json`, 31,100 with this.

mod members;

use std::io::Write;

use serde::ser::{Error as _, Impossible, Serialize, Serializer};
use serde_json::{Error, Result};

use self::members::Members;
use super::VERBATIM;
use crate::exchange::text as lossy;
use crate::unsafe_text::is_unsafe;

/// Writes JSON at the end of `out`.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The next text is JSON already.
    verbatim: bool,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, verbatim: false }
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: impl itoa::Integer) {
        self.raw(itoa::Buffer::new().format(number));
    }

    pub(super) fn text(&mut self, text: &(impl AsRef<[u8]> + ?Sized)) {
        self.out.push(b'"');
        self.inside(text.as_ref());
        self.out.push(b'"');
    }

    /// What stands between the quotes of a text. Where it is not UTF-8 it has U+FFFD.
    pub(super) fn inside(&mut self, text: &[u8]) {
        if is_plain(text) {
            self.out.extend_from_slice(text);
        } else {
            self.escaped(&lossy(text));
        }
    }

    /// `"key":` for a word of the schema, which needs no escapes.
    fn word(&mut self, key: &'static str) {
        debug_assert!(is_plain(key.as_bytes()));
        self.out.push(b'"');
        self.raw(key);
        self.raw("\":");
    }

    #[cold]
    fn escaped(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let plain = rest
                .bytes()
                .position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))
                .unwrap_or(rest.len());
            let (before, from) = rest.split_at_checked(plain).unwrap_or((rest, ""));
            self.raw(before);
            let mut characters = from.chars();
            let Some(character) = characters.next() else {
                return;
            };
            rest = characters.as_str();
            self.character(character);
        }
    }

    /// One that is not plain.
    fn character(&mut self, character: char) {
        match character {
            '"' => self.raw("\\\""),
            '\\' => self.raw("\\\\"),
            '\n' => self.raw("\\n"),
            '\r' => self.raw("\\r"),
            '\t' => self.raw("\\t"),
            '\u{8}' => self.raw("\\b"),
            '\u{c}' => self.raw("\\f"),
            _ if character < ' ' || is_unsafe(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a vector cannot fail.
                    _ = write!(self.out, "\\u{unit:04x}");
                }
            }
            _ => self.raw(character.encode_utf8(&mut [0; 4])),
        }
    }
}

/// Whether every byte is printable ASCII other than `"` and `\`: text that is written as it is.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let special = words.iter().fold(0, |found, word| found | marks(*word));
    let tail = match (rest, text.last_chunk::<8>()) {
        ([], _) => 0,
        // Some bytes are looked at twice, which is cheaper than putting the others into a word.
        (_, Some(word)) => marks(*word),
        (_, None) => marks(short_word(text)),
    };
    (special | tail) & 0x8080_8080_8080_8080 == 0
}

/// One to seven bytes as eight, some of them twice, or with blanks after them.
fn short_word(text: &[u8]) -> [u8; 8] {
    match (text, text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (_, Some([a, b, c, d]), Some([e, f, g, h])) => [*a, *b, *c, *d, *e, *f, *g, *h],
        ([a, b, c], ..) => [*a, *b, *c, b' ', b' ', b' ', b' ', b' '],
        ([a, b], ..) => [*a, *b, b' ', b' ', b' ', b' ', b' ', b' '],
        ([a], ..) => [*a, b' ', b' ', b' ', b' ', b' ', b' ', b' '],
        _ => [b' '; 8],
    }
}

/// The highest bit of some byte is set when one of eight bytes is a control character, `"`, `\`, DEL or not ASCII. It need not be that
/// byte's: what is borrowed from a byte, or carried to it, comes from one that is marked.
const fn marks(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(word);
    // Of the bytes below 0x80, control characters and `"`, whose code is 0x22, are those below 0x21 when their second bit is turned.
    let below_or_quote = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let del = word.wrapping_add(ONES);
    word | below_or_quote | backslash | del
}

/// Whole numbers, of any width.
macro_rules! numbers {
    ($($method:ident: $number:ty,)*) => {
        $(fn $method(self, value: $number) -> Result<()> {
            self.number(value);
            Ok(())
        })*
    };
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'w, 'a>;
    type SerializeTuple = Members<'w, 'a>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Members<'w, 'a>;
    type SerializeStruct = Members<'w, 'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.raw(if value { "true" } else { "false" });
        Ok(())
    }

    numbers! {
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        serde_json::to_writer(&mut *self.out, &value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        if std::mem::take(&mut self.verbatim) {
            self.raw(value);
        } else {
            self.text(value);
        }
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.raw("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<()> {
        self.text(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.raw("{");
        self.word(variant);
        value.serialize(&mut *self)?;
        self.raw("}");
        Ok(())
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Self::SerializeSeq> {
        Ok(Members::of(self, "[", "]"))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self::SerializeTuple> {
        Ok(Members::of(self, "[", "]"))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct> {
        Err(unused_form(name))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        Err(unused_form(name))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap> {
        Ok(Members::of(self, "{", "}"))
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Self::SerializeStruct> {
        if name == VERBATIM {
            return Ok(Members::of(self, "", ""));
        }
        Ok(Members::of(self, "{", "}"))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant> {
        Err(unused_form(name))
    }
}

/// No record has enum variants with several fields, or tuples with a name.
fn unused_form(name: &str) -> Error {
    Error::custom(format!("{name} has a form that records do not have"))
}

#[cfg(test)]
mod tests;
