//! Artifacts and their records (`surface.md` §7.6).

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Timestamp;
use super::tags::{Tags, no_tags};
use crate::json::{JsonLine, members};

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A whole HTTP transaction.
    HttpTransaction,
    /// A whole call of gRPC.
    GrpcTransaction,
}

/// Flat map of what is to be found by: key to text or number, in order, empty texts left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a>(Vec<(&'static str, SummaryValue<'a>)>);

/// Entries that there is room for from the first.
const SUMMARY_ENTRIES: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum SummaryValue<'a> {
    Text(Cow<'a, str>),
    Number(u64),
}

impl<'a> Summary<'a> {
    /// Adds a text unless it is empty.
    pub fn text(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        if !value.is_empty() {
            self.push(key, SummaryValue::Text(value));
        }
    }

    /// Adds a number.
    pub fn number(&mut self, key: &'static str, value: u64) {
        self.push(key, SummaryValue::Number(value));
    }

    fn push(&mut self, key: &'static str, value: SummaryValue<'a>) {
        if self.0.capacity() == 0 {
            self.0.reserve(SUMMARY_ENTRIES);
        }
        self.0.push((key, value));
    }
}

impl Serialize for Summary<'_> {
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

/// A value and its JSON. What goes into both an artifact and its record is written as JSON once.
#[derive(Clone, Debug)]
pub struct Rendered<T> {
    value: T,
    json: JsonLine,
}

impl<T: Serialize> Rendered<T> {
    /// `value` with its JSON.
    ///
    /// # Errors
    /// When it fails to serialise.
    pub fn new(value: T) -> serde_json::Result<Self> {
        let json = JsonLine::of(&value)?;
        Ok(Self { value, json })
    }

    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.json.bytes()
    }

    /// The JSON of an object without its braces; empty for other values.
    #[must_use]
    pub fn members(&self) -> &[u8] {
        members(self.json.bytes())
    }
}

impl<T> Deref for Rendered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for Rendered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// What an artifact is and what it comes from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What it is (`type` in the original, which is the type of the event here).
    pub kind: ArtifactKind,
    /// The connection it comes from.
    pub connection_id: Arc<str>,
    /// Domain, or address of the server end.
    pub endpoint_id: Arc<str>,
    /// The transaction it comes from.
    pub request_id: Arc<str>,
    /// `key:value`.
    #[serde(skip_serializing_if = "no_tags")]
    pub tags: Arc<Tags>,
    /// Time of completion.
    pub timestamp: Timestamp,
}

/// Payload for an object store.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// What it is and what it comes from.
    pub provenance: Rendered<Provenance>,
    /// What is stored.
    pub content: Content,
    /// What to find it by.
    pub summary: JsonLine,
}

impl Artifact {
    /// SHA-256 of the bytes in hex (the original takes SHA-1). Costs a pass over them.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.content.bytes());
        let mut text = vec![0; 2 * digest.as_ref().len()];
        // The room is exact, and hexadecimal digits are ASCII.
        let written = hex::encode_to_slice(digest, &mut text);
        debug_assert!(written.is_ok());
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Says that an artifact was stored, and where.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRecord {
    /// What it is and what it comes from.
    #[serde(flatten)]
    pub provenance: Rendered<Provenance>,
    /// See [`Artifact::digest`].
    pub digest: String,
    /// Where it is.
    pub url: String,
    /// What to find it by.
    #[serde(skip_serializing_if = "JsonLine::is_empty_object")]
    pub summary: JsonLine,
}
