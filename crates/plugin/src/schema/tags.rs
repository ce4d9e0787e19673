//! Tags of a connection.

use std::ops::Deref;

use serde::{Serialize, Serializer};

use crate::json::JsonLine;

/// `key:value` each, and their JSON: every record of a connection says them, so they are written as JSON once.
#[derive(Clone, Debug)]
pub struct Tags {
    list: Vec<String>,
    json: JsonLine,
}

impl Tags {
    /// The tags of `list`.
    #[must_use]
    pub fn new(list: Vec<String>) -> Self {
        Self {
            json: JsonLine::of_texts(&list),
            list,
        }
    }

    /// An array of texts.
    pub(crate) fn json(&self) -> &[u8] {
        self.json.bytes()
    }
}

impl Deref for Tags {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.list
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Whether the key may be left out.
pub(crate) fn no_tags(tags: &Tags) -> bool {
    tags.is_empty()
}
