//! Events and artifacts as JSON lines.

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use qtap_plugin::json;
use qtap_plugin::schema::{Artifact, ArtifactKind, ArtifactRecord, Content, Event, Summary, Timestamp};
use serde::{Serialize, Serializer};

/// `event` as one line with its line end.
pub(crate) fn of_event(event: &Event) -> serde_json::Result<Vec<u8>> {
    ended(json::to_vec(event)?)
}

/// `artifact` as one line with its line end. JSON is embedded as it is under `data`, text in base64 under `dataBase64`.
pub(crate) fn of_artifact(artifact: &Artifact, digest: &str) -> serde_json::Result<Vec<u8>> {
    let text = match &artifact.content {
        Content::Json(_) => None,
        Content::Text(text) => Some(Base64(text)),
    };
    let mut line = json::to_vec(&ArtifactLine {
        kind_of_event: "artifact",
        kind: artifact.kind,
        connection_id: &artifact.connection_id,
        endpoint_id: &artifact.endpoint_id,
        request_id: &artifact.request_id,
        tags: &artifact.tags,
        timestamp: artifact.timestamp,
        content_type: artifact.content.mime_type(),
        digest,
        summary: &artifact.summary,
        data_base64: text,
    })?;
    if let Content::Json(data) = &artifact.content {
        // An object ends with its brace; the content, which is on one line, goes before that without being parsed again.
        line.pop();
        line.reserve_exact(data.bytes().len() + 10);
        line.extend_from_slice(br#","data":"#);
        line.extend_from_slice(data.bytes());
        line.push(b'}');
    }
    ended(line)
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
    data_base64: Option<Base64<'a>>,
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}
