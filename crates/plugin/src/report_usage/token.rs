//! Credentials in requests: recognised, masked and hashed, never copied.

use qtap_protocol::RequestHead;

use crate::agent::Agent;

/// Headers that carry credentials; the first present counts.
const SOURCES: [&str; 5] = ["Authorization", "X-API-Key", "Api-Key", "APIKey", "X-Auth-Token"];

/// Longest credential of which nothing is shown.
const SHORT: usize = 16;

/// What may be said of a credential. All empty: there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// Four characters, `…`, four characters; `…` alone for short ones and for `basic`, whose end is the end of a
    /// password.
    pub(super) mask: String,
    /// HMAC of the whole header value.
    pub(super) hash: String,
    /// Name of the header, as listed here.
    pub(super) source: String,
    /// What it is.
    pub(super) kind: &'static str,
}

/// The credential of a request.
pub(super) fn find(request: &RequestHead, agent: &Agent) -> Option<Token> {
    let (source, value) = SOURCES
        .into_iter()
        .find_map(|name| Some((name, request.field(name)?)))?;
    let text = String::from_utf8_lossy(value);
    let (kind, credential) = classify(source, text.trim());
    Some(Token {
        mask: if kind == "basic" {
            "…".to_owned()
        } else {
            mask(credential)
        },
        hash: agent.token_hash(value),
        source: source.to_owned(),
        kind,
    })
}

/// Type, and the value without its scheme.
fn classify<'a>(source: &str, value: &'a str) -> (&'static str, &'a str) {
    if source != "Authorization" {
        return (if is_jwt(value) { "jwt" } else { "api_key" }, value);
    }
    let (scheme, credential) = value
        .split_once(' ')
        .map_or(("", value), |(scheme, rest)| (scheme, rest.trim()));
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" if is_jwt(credential) => ("jwt", credential),
        "bearer" => ("bearer", credential),
        "basic" => ("basic", credential),
        "aws4-hmac-sha256" => ("aws_sigv4", credential),
        "apikey" | "api-key" => ("api_key", credential),
        "" if is_jwt(credential) => ("jwt", credential),
        _ => ("unknown", credential),
    }
}

/// Three base64url parts of which the first begins with `{"` (RFC 7519).
fn is_jwt(value: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='))
    };
    value.starts_with("eyJ") && value.split('.').count() == 3 && value.split('.').all(is_part)
}

fn mask(credential: &str) -> String {
    let length = credential.chars().count();
    if length <= SHORT {
        return "…".to_owned();
    }
    let first: String = credential.chars().take(4).collect();
    let last: String = credential.chars().skip(length - 4).collect();
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{agent, field, transaction};

    fn token(fields: &[(&str, &str)]) -> Option<Token> {
        let mut request = transaction().request;
        request
            .fields
            .extend(fields.iter().map(|(name, value)| field(name, value)));
        find(&request, &agent())
    }

    #[test]
    fn types_and_masks() {
        for (name, value, kind, mask) in [
            (
                "authorization",
                "Bearer abcdefghijklmnopqrst",
                "bearer",
                "abcd…qrst",
            ),
            ("Authorization", "bearer short", "bearer", "…"),
            (
                "Authorization",
                "Bearer eyJhbGciOi.eyJzdWIi.c2lnbmF0",
                "jwt",
                "eyJh…bmF0",
            ),
            (
                "Authorization",
                "Basic dXNlcjp2ZXJ5bG9uZ3Bhc3N3b3Jk",
                "basic",
                "…",
            ),
            (
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=AKID/x, Signature=abcdef",
                "aws_sigv4",
                "Cred…cdef",
            ),
            (
                "Authorization",
                "Digest username=mufasa12345",
                "unknown",
                "user…2345",
            ),
            ("x-api-key", "0123456789abcdefg", "api_key", "0123…defg"),
            ("X-Auth-Token", "€uro€uro€uro€uro€", "api_key", "€uro…uro€"),
        ] {
            let token = token(&[(name, value)]).unwrap();
            assert_eq!((token.kind, token.mask.as_str()), (kind, mask), "{value}");
        }
    }

    #[test]
    fn first_source_wins_and_none_is_none() {
        let both = token(&[("X-API-Key", "0123456789abcdefg"), ("Authorization", "Bearer t")]).unwrap();
        assert_eq!(both.source, "Authorization");
        assert_eq!(token(&[("Cookie", "session=1")]), None);
    }

    #[test]
    fn hashes_are_keyed_per_run_and_stable_within() {
        let (first, second) = (agent(), agent());
        assert_eq!(first.token_hash(b"t"), first.token_hash(b"t"));
        assert_ne!(first.token_hash(b"t"), second.token_hash(b"t"));
        assert_eq!(first.token_hash(b"t").len(), 64);
    }
}
