//! Events and artifacts as JSON lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qtap_plugin::json;
use qtap_plugin::schema::{Artifact, ArtifactRecord, Content, Digest, Event};

/// A summary without entries, which is left out.
const NOTHING: &[u8] = b"{}";

/// `event` as one line with its line end.
pub(crate) fn of_event(event: &Event) -> serde_json::Result<Vec<u8>> {
    let mut line = json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

/// Hands the line of `artifact`, line end included, to `write` in parts. JSON is embedded as it is under `data`, text in base64 under
/// `dataBase64`.
pub(crate) fn with_artifact<T>(
    artifact: &Artifact<'_>,
    digest: &Digest,
    write: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let encoded;
    let (before, content, end): (&[u8], &[u8], &[u8]) = match artifact.content {
        Content::Json(json) => (b",\"data\":", json, b"}\n"),
        Content::Text(text) => {
            encoded = STANDARD.encode(text);
            (b",\"dataBase64\":\"", encoded.as_bytes(), b"\"}\n")
        }
    };
    let [key, summary] = summary(artifact.summary);
    write(&[
        br#"{"type":"artifact","#,
        artifact.provenance,
        br#","contentType":""#,
        artifact.content.mime_type().as_bytes(),
        br#"","digest":""#,
        digest.bytes(),
        b"\"",
        key,
        summary,
        before,
        content,
        end,
    ])
}

/// The line of `record`, line end included, in parts.
pub(crate) fn of_record<'a>(record: &'a ArtifactRecord<'_>) -> [&'a [u8]; 12] {
    let [key, summary] = summary(record.summary);
    [
        br#"{"type":"artifact_record","#,
        record.provenance,
        br#","digest":""#,
        record.digest.bytes(),
        br#"","url":""#,
        record.scheme.as_bytes(),
        b"://",
        record.digest.bytes(),
        b"\"",
        key,
        summary,
        b"}\n",
    ]
}

/// Key and value of the member, if there is one.
fn summary(summary: &[u8]) -> [&[u8]; 2] {
    if summary == NOTHING {
        [b"", b""]
    } else {
        [br#","summary":"#, summary]
    }
}
