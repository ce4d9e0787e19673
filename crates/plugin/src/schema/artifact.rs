//! Artifacts and their records (`surface.md` §7.6).

use serde::Serialize;

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A whole HTTP transaction.
    HttpTransaction,
    /// A whole call of gRPC.
    GrpcTransaction,
}

impl ArtifactKind {
    /// Name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpTransaction => "http_transaction",
            Self::GrpcTransaction => "grpc_transaction",
        }
    }
}

/// What an artifact holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// `application/json`: one value on one line.
    Json(&'a [u8]),
    /// `text/plain`, UTF-8.
    Text(&'a [u8]),
}

impl<'a> Content<'a> {
    /// Its MIME type.
    #[must_use]
    pub const fn mime_type(self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Text(_) => "text/plain",
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Json(bytes) | Self::Text(bytes) => bytes,
        }
    }
}

/// Payload for an object store, lent for the call: what makes it serves the next one. Its parts go into the artifact and its record as
/// they are, so they are JSON already.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    /// What it is and what it comes from, members of an object without its braces: `kind` (`type` in the original, which is the type of
    /// the event here), `connectionId`, `endpointId` (domain, or address of the server end), `requestId`, `tags` if there are any
    /// (`key:value`), `timestamp` (time of completion).
    pub provenance: &'a [u8],
    /// What is stored.
    pub content: Content<'a>,
    /// What to find it by, an object: key to text or number, empty texts left out.
    pub summary: &'a [u8],
}

impl Artifact<'_> {
    /// SHA-256 of the bytes (the original takes SHA-1). Costs a pass over them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.content.bytes());
        let mut text = [b'0'; DIGEST_LENGTH];
        // The room is exact.
        let written = hex::encode_to_slice(digest, &mut text);
        debug_assert!(written.is_ok());
        Digest(text)
    }
}

/// Digits of a digest.
const DIGEST_LENGTH: usize = 64;

/// A SHA-256 in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_LENGTH]);

impl Digest {
    /// The digits, in ASCII.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Says that an artifact was stored, and where.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactRecord<'a> {
    /// See [`Artifact::provenance`].
    pub provenance: &'a [u8],
    /// See [`Artifact::digest`].
    pub digest: Digest,
    /// The store where it is: its URL is this, `://` and the digest.
    pub scheme: &'static str,
    /// See [`Artifact::summary`].
    pub summary: &'a [u8],
}
