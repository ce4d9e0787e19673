//! Events and artifacts as JSON lines.

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use qtap_plugin::json;
use qtap_plugin::schema::{Artifact, ArtifactKind, ArtifactRecord, Event, Summary, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// `event` as one line with its line end.
pub(crate) fn of_event(event: &Event) -> serde_json::Result<Vec<u8>> {
    ended(json::to_vec(event)?)
}

/// `artifact` as one line with its line end. JSON content is embedded as it is under `data`, other content in base64
/// under `dataBase64`; so is content that calls itself JSON and is not.
pub(crate) fn of_artifact(artifact: &Artifact, digest: &str) -> serde_json::Result<Vec<u8>> {
    let embedded = embeddable(artifact);
    let line = ArtifactLine {
        kind_of_event: "artifact",
        kind: artifact.kind,
        connection_id: &artifact.connection_id,
        endpoint_id: &artifact.endpoint_id,
        request_id: &artifact.request_id,
        tags: &artifact.tags,
        timestamp: artifact.timestamp,
        content_type: artifact.content_type,
        digest,
        summary: &artifact.summary,
        data: embedded,
        data_base64: embedded.is_none().then_some(Base64(&artifact.data)),
    };
    ended(json::to_vec(&line)?)
}

/// The record of an artifact stored at `url`.
pub(crate) fn record_of(artifact: Artifact, digest: String, url: String) -> ArtifactRecord {
    ArtifactRecord {
        kind: artifact.kind,
        connection_id: artifact.connection_id,
        endpoint_id: artifact.endpoint_id,
        request_id: artifact.request_id,
        tags: artifact.tags,
        timestamp: artifact.timestamp,
        digest,
        url,
        summary: artifact.summary,
    }
}

/// The content, if it is JSON that stays on one line.
fn embeddable(artifact: &Artifact) -> Option<&RawValue> {
    if artifact.content_type != "application/json" || artifact.data.contains(&b'\n') {
        return None;
    }
    serde_json::from_slice(&artifact.data).ok()
}

#[expect(clippy::unnecessary_wraps, reason = "ends a chain of results")]
fn ended(mut line: Vec<u8>) -> serde_json::Result<Vec<u8>> {
    line.push(b'\n');
    Ok(line)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLine<'a> {
    #[serde(rename = "type")]
    kind_of_event: &'static str,
    kind: ArtifactKind,
    connection_id: &'a str,
    endpoint_id: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    timestamp: Timestamp,
    content_type: &'a str,
    digest: &'a str,
    #[serde(skip_serializing_if = "Summary::is_empty")]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<Base64<'a>>,
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}
