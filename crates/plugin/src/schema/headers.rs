//! Header fields as a JSON map.

use std::borrow::Cow;

use qtap_protocol::Field;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::exchange::text;

/// Value of one name: a string, or a list of strings in the order sent when the name repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HeaderValue<'a> {
    /// The name occurs once.
    One(Cow<'a, str>),
    /// It repeats.
    Many(Vec<Cow<'a, str>>),
}

/// Map of name to value in the order of first occurrence (P-X3). Names that differ only in letter case are one name, in
/// the spelling that came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap<'a> {
    entries: Vec<(Cow<'a, str>, HeaderValue<'a>)>,
}

impl<'a> HeaderMap<'a> {
    /// `pseudo` fields (`:method` …) first, then `fields`.
    #[must_use]
    pub fn new(pseudo: impl IntoIterator<Item = (&'static str, Cow<'a, str>)>, fields: &'a [Field]) -> Self {
        let mut map = Self {
            entries: Vec::with_capacity(4 + fields.len()),
        };
        for (name, value) in pseudo {
            map.push(name.into(), value);
        }
        for field in fields {
            map.push(text(&field.name), text(&field.value));
        }
        map
    }

    /// Adds one field; a name already there becomes a list. Linear in the number of names, of which parsers keep 256.
    pub fn push(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
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
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue<'a>)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }
}

impl Serialize for HeaderMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (name, value) in &self.entries {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
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
        let json = serde_json::to_string(&HeaderMap::new([(":status", "200".into())], &fields)).unwrap();
        assert_eq!(
            json,
            r#"{":status":"200","Set-Cookie":["a=1","b=2","a=1"],"Content-Type":"text/plain"}"#
        );
    }
}
