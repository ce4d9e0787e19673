//! Events and artifacts as JSON lines.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qtap_plugin::json::{self, ObjectLine};
use qtap_plugin::schema::{Artifact, ArtifactRecord, Content, Event};

/// Room for what a line holds besides its parts.
const FRAME: usize = 256;

/// `event` as one line with its line end.
pub(crate) fn of_event(event: &Event) -> serde_json::Result<Vec<u8>> {
    if let Event::ArtifactRecord(record) = event {
        return Ok(of_record(record));
    }
    let mut line = json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

/// `artifact` as one line with its line end. JSON is embedded as it is under `data`, text in base64 under `dataBase64`.
pub(crate) fn of_artifact(artifact: &Artifact, digest: &str) -> Vec<u8> {
    let (provenance, summary) = (artifact.provenance.members(), artifact.summary.bytes());
    let data = match &artifact.content {
        Content::Json(json) => Cow::Borrowed(json.bytes()),
        Content::Text(text) => Cow::Owned(format!("\"{}\"", STANDARD.encode(text)).into_bytes()),
    };
    let mut line = ObjectLine::new("artifact", provenance.len() + summary.len() + data.len() + FRAME);
    line.members(provenance);
    line.plain("contentType", artifact.content.mime_type());
    line.plain("digest", digest);
    if !artifact.summary.is_empty_object() {
        line.json("summary", summary);
    }
    let key = match &artifact.content {
        Content::Json(_) => "data",
        Content::Text(_) => "dataBase64",
    };
    line.json(key, &data);
    line.end()
}

/// The record of an artifact stored at `url`.
pub(crate) fn record_of(artifact: Artifact, digest: String, url: String) -> ArtifactRecord {
    ArtifactRecord {
        provenance: artifact.provenance,
        digest,
        url,
        summary: artifact.summary,
    }
}

/// As the record serialises, from the parts that are JSON already.
fn of_record(record: &ArtifactRecord) -> Vec<u8> {
    let (provenance, summary) = (record.provenance.members(), record.summary.bytes());
    let mut line = ObjectLine::new("artifact_record", provenance.len() + summary.len() + FRAME);
    line.members(provenance);
    line.plain("digest", &record.digest);
    line.plain("url", &record.url);
    if !record.summary.is_empty_object() {
        line.json("summary", summary);
    }
    line.end()
}
