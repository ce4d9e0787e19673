//! gRPC over HTTP/2, and gRPC-Web over any HTTP: what the HTTP parsers do not know of a call.
//!
//! In: heads, bodies and holes of one HTTP transaction, into a [`Tracker`]. Out: a [`Call`] with the messages of each side counted and
//! sized, and the trailers that gRPC-Web puts into the body. What a finished call came to is worked out by pure functions:
//! [`status()`], [`timeout`], [`split`]. Nothing is kept of a message but five bytes of its prefix, and nothing is allocated by a length
//! that a peer announces.
//!
//! Sources: "gRPC over HTTP2" (`PROTOCOL-HTTP2.md`), "gRPC Web" (`PROTOCOL-WEB.md`), "HTTP to gRPC Status Code Mapping"
//! (`http-grpc-status-mapping.md`), all of the gRPC project. Requirements: `protocols.md` §5 (P-G1 to P-G7).
//!
//! ```
//! use qtap_protocol::grpc::Dialect;
//!
//! assert_eq!(Dialect::of(b"application/grpc+proto"), Some(Dialect::Native));
//! assert_eq!(Dialect::of(b"application/grpc-web-text"), Some(Dialect::WebText));
//! assert_eq!(Dialect::of(b"application/json"), None);
//! ```

mod base64;
mod framer;
mod messages;
mod status;
mod timeout;
mod tracker;

pub use framer::Messages;
pub use messages::{MAX_LISTED, Message, split};
pub use status::{Code, Source, Status, status};
pub use timeout::{has_passed, timeout};
pub use tracker::{Call, Tracker};

use crate::RequestHead;

/// How the messages of a body are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `application/grpc`: messages with a prefix of five bytes; the status is in HTTP trailers.
    Native,
    /// `application/grpc-web`: the same, and the trailers are a last frame with flag 0x80.
    Web,
    /// `application/grpc-web-text`: the same in Base64, padded anywhere.
    WebText,
}

impl Dialect {
    /// The dialect of a content type; `None` for one that is not gRPC's.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let suffix = strip_prefix_ignoring_case(content_type, b"application/grpc")?;
        let is_end = |rest: &[u8]| matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
        if strip_prefix_ignoring_case(suffix, b"-web-text").is_some_and(is_end) {
            return Some(Self::WebText);
        }
        if strip_prefix_ignoring_case(suffix, b"-web").is_some_and(is_end) {
            return Some(Self::Web);
        }
        Some(Self::Native)
    }

    /// The dialect of a request.
    #[must_use]
    pub fn of_request(head: &RequestHead) -> Option<Self> {
        head.field("content-type").and_then(Self::of)
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Service and method of a path: what stands before and behind its last slash. Both `*` when the path is not known.
///
/// ```
/// use qtap_protocol::grpc::service_and_method;
///
/// let path = "/grpc.health.v1.Health/Check";
/// assert_eq!(service_and_method(path), ("grpc.health.v1.Health", "Check"));
/// assert_eq!(service_and_method("*"), ("*", "*"));
/// ```
#[must_use]
pub fn service_and_method(path: &str) -> (&str, &str) {
    if path == "*" {
        return ("*", "*");
    }
    let path = path.split_once('?').map_or(path, |(path, _query)| path);
    let path = path.strip_prefix('/').unwrap_or(path);
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-G5: recognised by content type, in every form, without regard to case.
    #[test]
    fn p_g5_content_types_name_the_dialect() {
        for (content_type, dialect) in [
            ("application/grpc", Some(Dialect::Native)),
            ("application/grpc+proto", Some(Dialect::Native)),
            ("Application/gRPC+json; charset=utf-8", Some(Dialect::Native)),
            ("application/grpc;x=y", Some(Dialect::Native)),
            ("application/grpc-web", Some(Dialect::Web)),
            ("application/grpc-web+proto", Some(Dialect::Web)),
            ("application/grpc-web ; x=y", Some(Dialect::Web)),
            ("application/grpc-web-text", Some(Dialect::WebText)),
            ("APPLICATION/GRPC-WEB-TEXT+proto", Some(Dialect::WebText)),
            ("application/grpc-websocket", Some(Dialect::Native)),
            ("application/grp", None),
            ("application/json", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Dialect::of(content_type.as_bytes()), dialect, "{content_type}");
        }
    }

    #[test]
    fn the_last_slash_splits_a_path() {
        for (path, service, method) in [
            ("/grpc.health.v1.Health/Check", "grpc.health.v1.Health", "Check"),
            ("/prefix/pkg.Service/Method", "prefix/pkg.Service", "Method"),
            ("/pkg.Service/Method?a=/b", "pkg.Service", "Method"),
            ("/Method", "", "Method"),
            ("Service/", "Service", ""),
            ("/", "", ""),
            ("", "", ""),
            ("*", "*", "*"),
        ] {
            assert_eq!(service_and_method(path), (service, method), "{path}");
        }
    }
}
