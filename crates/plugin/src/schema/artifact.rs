//! Artifacts and their records (`surface.md` §7.6).

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{Error as _, Serializer};

use super::Timestamp;
use crate::json::{self, JsonLine, members};

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A whole HTTP transaction.
    HttpTransaction,
}

/// Flat map of what is to be found by: key to text or number, in order, empty texts left out. Written as JSON as it grows, since that
/// is all that becomes of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The members, without braces.
    members: Vec<u8>,
}

/// Bytes that there is room for from the first: more than most take.
const SUMMARY_BYTES: usize = 512;

impl Summary {
    /// Adds a text unless it is empty. The key needs no escapes.
    pub fn text(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.key(key);
            json::append_text(&mut self.members, value);
        }
    }

    /// Adds a number. The key needs no escapes.
    pub fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.members
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn key(&mut self, key: &'static str) {
        if self.members.is_empty() {
            self.members.reserve(SUMMARY_BYTES);
        } else {
            self.members.push(b',');
        }
        self.members.push(b'"');
        self.members.extend_from_slice(key.as_bytes());
        self.members.extend_from_slice(b"\":");
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The JSON of its members, without braces.
    #[must_use]
    pub fn members(&self) -> &[u8] {
        &self.members
    }
}

/// For stores that do not write JSON; costs a parse.
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = [b"{", &self.members[..], b"}"].concat();
        let values: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&object).map_err(S::Error::custom)?;
        values.serialize(serializer)
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
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub tags: Arc<[String]>,
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
    pub summary: Summary,
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
    #[serde(skip_serializing_if = "Summary::is_empty")]
    pub summary: Summary,
}
