//! JSON objects written member by member, for what every transaction makes.
//!
//! The same text as [`super::to_vec`] makes of a struct with these members. Without serde keys come with their quotes and colon, parts that
//! a connection's records have alike are copied as they are, and nothing is collected before it is written.

use super::writer::Writer;

/// A key as it is written.
macro_rules! key {
    ($key:literal) => {
        concat!("\"", $key, "\":")
    };
}
pub(crate) use key;

/// Members of an object. Each has a comma behind it, the last one too, until the object ends.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Writes members at the end of `out`; the braces are the caller's.
    pub(crate) const fn members(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes an object at the end of `out`, with the members that `fill` gives it.
    pub(crate) fn write(out: &'a mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        fill(&mut Object { out });
        match out.last_mut() {
            Some(last) if *last == b',' => *last = b'}',
            _ => out.push(b'}'),
        }
    }

    /// Members as another `Object` wrote them.
    pub(crate) fn parts(&mut self, members: &[u8]) {
        self.out.extend_from_slice(members);
    }

    #[inline]
    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A text, with U+FFFD where it is not UTF-8.
    #[inline]
    pub(crate) fn text(&mut self, key: &'static str, text: &(impl AsRef<[u8]> + ?Sized)) {
        self.raw(key);
        self.quoted(text.as_ref());
    }

    fn quoted(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        Writer::new(self.out).text(text);
        self.out.push(b',');
    }

    /// A text, left out when it is empty.
    #[inline]
    pub(crate) fn text_if_any(&mut self, key: &'static str, text: &(impl AsRef<[u8]> + ?Sized)) {
        if !text.as_ref().is_empty() {
            self.text(key, text);
        }
    }

    /// One text in several parts.
    pub(crate) fn joined(&mut self, key: &'static str, parts: &[&[u8]]) {
        self.raw(key);
        self.out.push(b'"');
        let mut writer = Writer::new(self.out);
        parts.iter().for_each(|part| writer.inside(part));
        self.raw("\",");
    }

    /// A text that needs no escapes: an id, a word of the schema.
    #[inline]
    pub(crate) fn word(&mut self, key: &'static str, word: &str) {
        self.raw(key);
        self.raw("\"");
        self.raw(word);
        self.raw("\",");
    }

    /// A number.
    #[inline]
    pub(crate) fn number(&mut self, key: &'static str, number: u64) {
        self.raw(key);
        self.raw(itoa::Buffer::new().format(number));
        self.out.push(b',');
    }

    /// A number, left out when it is 0.
    #[inline]
    pub(crate) fn number_if_any(&mut self, key: &'static str, number: u64) {
        if number > 0 {
            self.number(key, number);
        }
    }

    /// `true`; nothing otherwise.
    #[inline]
    pub(crate) fn flag(&mut self, key: &'static str, flag: bool) {
        if flag {
            self.raw(key);
            self.raw("true,");
        }
    }

    /// A value that is JSON already.
    pub(crate) fn json(&mut self, key: &'static str, json: &[u8]) {
        self.raw(key);
        self.out.extend_from_slice(json);
        self.out.push(b',');
    }

    /// A value that `write` puts at the end.
    #[inline]
    pub(crate) fn value(&mut self, key: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.raw(key);
        write(self.out);
        self.out.push(b',');
    }

    /// An object with the members that `fill` gives it.
    #[inline]
    pub(crate) fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.value(key, |out| Object::write(out, fill));
    }

    /// A text whose key comes from outside.
    pub(crate) fn entry(&mut self, key: &[u8], text: &[u8]) {
        self.out.reserve(key.len() + text.len() + 6);
        Writer::new(self.out).text(key);
        self.out.push(b':');
        Writer::new(self.out).text(text);
        self.out.push(b',');
    }

    /// A list of texts whose key comes from outside.
    pub(crate) fn entry_list<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        Writer::new(self.out).text(key);
        self.raw(":");
        texts_of(self.out, texts);
        self.out.push(b',');
    }
}

/// An array of texts.
pub(super) fn texts_of<T: AsRef<str>>(out: &mut Vec<u8>, texts: &[T]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        Writer::new(out).text(text.as_ref().as_bytes());
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        Object::write(&mut out, fill);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_have_commas_between_them_only() {
        assert_eq!(written(|_| {}), "{}");
        let json = written(|object| {
            object.text(key!("a"), "x\"\u{9b}");
            object.text_if_any(key!("b"), "");
            object.object(key!("c"), |inner| inner.flag(key!("no"), false));
            object.object(key!("d"), |inner| {
                inner.entry(b"e\\", b",");
                inner.entry_list("f", &["", "\n"]);
            });
            object.joined(key!("g"), &[b"h\"", b"", b"i"]);
            object.number(key!("j"), 0);
            object.number_if_any(key!("k"), 0);
            object.flag(key!("l"), true);
            object.json(key!("m"), b"[1]");
        });
        let expected = concat!(
            r#"{"a":"x\"\u009b","c":{},"d":{"e\\":",","f":["","\n"]},"#,
            r#""g":"h\"i","j":0,"l":true,"m":[1]}"#
        );
        assert_eq!(json, expected);
    }
}
