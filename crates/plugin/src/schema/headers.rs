//! Header fields as a JSON map.

use qtap_protocol::Field;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// Value of one name: a string, or a list of strings in the order sent when the name repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HeaderValue {
    /// The name occurs once.
    One(String),
    /// It repeats.
    Many(Vec<String>),
}

/// Map of name to value in the order of first occurrence (P-X3). Names that differ only in letter case are one name, in
/// the spelling that came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap {
    entries: Vec<(String, HeaderValue)>,
}

impl HeaderMap {
    /// `pseudo` fields (`:method` …) first, then `fields`.
    #[must_use]
    pub fn new(pseudo: &[(&str, &[u8])], fields: &[Field]) -> Self {
        let mut map = Self {
            entries: Vec::with_capacity(pseudo.len() + fields.len()),
        };
        for (name, value) in pseudo {
            map.push((*name).to_owned(), text(value));
        }
        for field in fields {
            map.push(text(&field.name), text(&field.value));
        }
        map
    }

    /// Adds one field; a name already there becomes a list. Linear in the number of names, of which parsers keep 256.
    pub fn push(&mut self, name: String, value: String) {
        match self
            .entries
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            None => self.entries.push((name, HeaderValue::One(value))),
            Some((_, HeaderValue::Many(values))) => values.push(value),
            Some((_, slot)) => {
                let former = std::mem::replace(slot, HeaderValue::Many(Vec::with_capacity(2)));
                if let (HeaderValue::One(former), HeaderValue::Many(values)) = (former, slot) {
                    values.extend([former, value]);
                }
            }
        }
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Serialize for HeaderMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (name, value) in &self.entries {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Lossy UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::field;

    #[test]
    fn repeated_names_become_lists_in_order_and_the_rest_strings() {
        let fields = [
            field("Set-Cookie", "a=1"),
            field("Content-Type", "text/plain"),
            field("set-cookie", "b=2"),
            field("Set-Cookie", "a=1"),
        ];
        let json = serde_json::to_string(&HeaderMap::new(&[(":status", b"200")], &fields)).unwrap();
        assert_eq!(
            json,
            r#"{":status":"200","Set-Cookie":["a=1","b=2","a=1"],"Content-Type":"text/plain"}"#
        );
    }
}
