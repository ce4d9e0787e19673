//! Artifacts and their records (`surface.md` §7.6).

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Timestamp;
use crate::json::JsonLine;

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A whole HTTP transaction.
    HttpTransaction,
}

/// Flat map of what is to be found by: key to text or number, in order, empty texts left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary(Vec<(&'static str, SummaryValue)>);

/// Entries that there is room for from the first.
const SUMMARY_ENTRIES: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum SummaryValue {
    Text(String),
    Number(u64),
}

impl Summary {
    /// Adds a text unless it is empty.
    pub fn text(&mut self, key: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.push(key, SummaryValue::Text(value));
        }
    }

    /// Adds a number.
    pub fn number(&mut self, key: &'static str, value: u64) {
        self.push(key, SummaryValue::Number(value));
    }

    fn push(&mut self, key: &'static str, value: SummaryValue) {
        if self.0.capacity() == 0 {
            self.0.reserve(SUMMARY_ENTRIES);
        }
        self.0.push((key, value));
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// What an artifact holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// `application/json`: one value on one line.
    Json(JsonLine),
    /// `text/plain`, UTF-8.
    Text(Bytes),
}

impl Content {
    /// Its MIME type.
    #[must_use]
    pub const fn mime_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Text(_) => "text/plain",
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Json(json) => json.bytes(),
            Self::Text(text) => text,
        }
    }
}

/// Payload for an object store.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// The connection it comes from.
    pub connection_id: String,
    /// Domain, or address of the server end.
    pub endpoint_id: String,
    /// The transaction it comes from.
    pub request_id: String,
    /// `key:value`.
    pub tags: Vec<String>,
    /// Time of completion.
    pub timestamp: Timestamp,
    /// What is stored.
    pub content: Content,
    /// What to find it by.
    pub summary: Summary,
}

impl Artifact {
    /// SHA-256 of the bytes in hex (the original takes SHA-1). Costs a pass over them.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(ring::digest::digest(&ring::digest::SHA256, self.content.bytes()))
    }
}

/// Says that an artifact was stored, and where.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRecord {
    /// What it is (`type` in the original, which is the type of the event here).
    pub kind: ArtifactKind,
    /// The connection it comes from.
    pub connection_id: String,
    /// Domain, or address of the server end.
    pub endpoint_id: String,
    /// The transaction it comes from.
    pub request_id: String,
    /// `key:value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Time of completion.
    pub timestamp: Timestamp,
    /// See [`Artifact::digest`].
    pub digest: String,
    /// Where it is.
    pub url: String,
    /// What to find it by.
    #[serde(skip_serializing_if = "Summary::is_empty")]
    pub summary: Summary,
}
