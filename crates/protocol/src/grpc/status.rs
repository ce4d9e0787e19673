//! How a call ended in gRPC's own terms.

use crate::{Field, Outcome, ResponseHead};

/// Longest value of `grpc-status` that is shown as it was sent.
const VALUE_CHARS: usize = 32;

/// A status code (`statuscodes.md` of gRPC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    const OK: Self = Self(0);
    const CANCELLED: Self = Self(1);
    const UNKNOWN: Self = Self(2);
    const DEADLINE_EXCEEDED: Self = Self(4);
    const PERMISSION_DENIED: Self = Self(7);
    const RESOURCE_EXHAUSTED: Self = Self(8);
    const UNIMPLEMENTED: Self = Self(12);
    const INTERNAL: Self = Self(13);
    const UNAVAILABLE: Self = Self(14);
    const UNAUTHENTICATED: Self = Self(16);

    /// Canonical name; `UNKNOWN` for a code that has none.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        let index = usize::try_from(self.0).unwrap_or(usize::MAX);
        NAMES.get(index).copied().unwrap_or("UNKNOWN")
    }

    /// HTTP status that stands for it where a status of HTTP is wanted (P-G2).
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self.0 {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        }
    }

    /// The code of a call.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == Self::OK.0
    }

    /// What a client makes of an HTTP status where no status of gRPC came (`http-grpc-status-mapping.md`).
    const fn of_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// What a client makes of a reset (`PROTOCOL-HTTP2.md`, "Errors"; codes of RFC 9113 §7).
    const fn of_reset(code: u32) -> Self {
        match code {
            5 | 13.. => Self::UNKNOWN,
            7 => Self::UNAVAILABLE,
            8 => Self::CANCELLED,
            11 => Self::RESOURCE_EXHAUSTED,
            12 => Self::PERMISSION_DENIED,
            _ => Self::INTERNAL,
        }
    }
}

/// What a status is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `grpc-status` in trailers, of HTTP/2 or in the body of gRPC-Web.
    Trailers,
    /// `grpc-status` in the head of the response ("trailers-only").
    Head,
    /// The client cancelled when the timeout that it had declared was over.
    Deadline,
    /// The stream was reset.
    Reset,
    /// The server never processed the stream (GOAWAY).
    Refused,
    /// The status of HTTP, which is not 200.
    Http,
    /// The connection closed first.
    Closed,
}

impl Source {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trailers => "trailers",
            Self::Head => "head",
            Self::Deadline => "deadline",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Http => "http",
            Self::Closed => "closed",
        }
    }

    /// The server said it.
    #[must_use]
    pub const fn is_sent(self) -> bool {
        matches!(self, Self::Trailers | Self::Head)
    }
}

/// The status of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code; 2 (`UNKNOWN`) for a value that is no number, as clients take it.
    pub code: Code,
    /// Value of `grpc-status` as sent; the number of a code that was not sent.
    pub value: String,
    /// `grpc-message`, decoded; as sent where it cannot be.
    pub message: Option<String>,
    /// What it is known from.
    pub source: Source,
    /// `grpc-status-details-bin` came with it.
    pub has_details: bool,
}

impl Status {
    fn sent(fields: &[Field], source: Source) -> Option<Self> {
        let field = |name: &str| {
            let is_it = |field: &&Field| field.name.eq_ignore_ascii_case(name.as_bytes());
            fields.iter().find(is_it).map(|field| &field.value[..])
        };
        let value: String = String::from_utf8_lossy(field("grpc-status")?)
            .trim()
            .chars()
            .take(VALUE_CHARS)
            .collect();
        Some(Self {
            code: value.parse().map_or(Code::UNKNOWN, Code),
            value,
            message: field("grpc-message").map(percent_decoded),
            source,
            has_details: field("grpc-status-details-bin").is_some(),
        })
    }

    fn derived(code: Code, source: Source) -> Self {
        Self {
            code,
            value: code.0.to_string(),
            message: None,
            source,
            has_details: false,
        }
    }
}

/// The status of a call that ended: what the server said, else what clients make of how it ended. `None` where that is not known: the
/// trailers were not captured, or their fields could not be decoded. `timed_out`: the declared timeout had passed.
#[must_use]
pub fn status(
    response: Option<&ResponseHead>,
    trailers: &[Field],
    outcome: Outcome,
    timed_out: bool,
) -> Option<Status> {
    const NO_ERROR: u32 = 0;
    const CANCEL: u32 = 8;
    let head = response.map_or(&[][..], |head| &head.fields);
    let sent = Status::sent(trailers, Source::Trailers).or_else(|| Status::sent(head, Source::Head));
    if sent.is_some() {
        return sent;
    }
    match (response.map_or(0, |head| head.status), outcome) {
        (0 | 200, Outcome::Reset(NO_ERROR | CANCEL)) if timed_out => {
            Some(Status::derived(Code::DEADLINE_EXCEEDED, Source::Deadline))
        }
        (0 | 200, Outcome::Reset(code)) => Some(Status::derived(Code::of_reset(code), Source::Reset)),
        (0 | 200, Outcome::Refused) => Some(Status::derived(Code::UNAVAILABLE, Source::Refused)),
        (0 | 200, Outcome::Canceled) => Some(Status::derived(Code::CANCELLED, Source::Closed)),
        (0 | 200, Outcome::Complete | Outcome::Incomplete | Outcome::Timeout | Outcome::Upgraded) => None,
        (http, _) => Some(Status::derived(Code::of_http(http), Source::Http)),
    }
}

/// Only `%XX` is an escape; with one that is not, or text that is not UTF-8, the message is as sent (P-G1).
fn percent_decoded(message: &[u8]) -> String {
    let raw = || String::from_utf8_lossy(message).into_owned();
    let mut decoded = Vec::with_capacity(message.len());
    let mut rest = message;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = after else {
            return raw();
        };
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return raw();
        };
        decoded.push(high << 4 | low);
        rest = after;
    }
    String::from_utf8(decoded).unwrap_or_else(|_| raw())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Version;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        let field = |(name, value): &(&str, &str)| Field {
            name: Bytes::copy_from_slice(name.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        pairs.iter().map(field).collect()
    }

    fn head(status: u16, pairs: &[(&str, &str)]) -> ResponseHead {
        ResponseHead {
            status,
            reason: Bytes::new(),
            version: Version::Http2,
            fields: fields(pairs),
            partial: false,
            truncated: false,
            framing_conflict: false,
        }
    }

    /// P-G1: only `%XX` is decoded, `+` stays, and what cannot be decoded stays as it is.
    #[test]
    fn p_g1_messages_are_percent_decoded_and_nothing_else() {
        for (sent, decoded) in [
            ("plain", "plain"),
            ("a+b c", "a+b c"),
            ("gr%C3%BC%c3%9fe%0A", "grüße\n"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zz%41"),
            ("%ff", "%ff"),
            ("", ""),
        ] {
            assert_eq!(percent_decoded(sent.as_bytes()), decoded, "{sent}");
        }
    }

    /// P-G1: presence of details; trailers win over the head.
    #[test]
    fn p_g1_the_server_says_the_status_in_trailers_or_in_the_head() {
        let trailers = fields(&[
            ("grpc-status", "5"),
            ("grpc-message", "no%20such"),
            ("grpc-status-details-bin", "AA"),
        ]);
        let found = status(Some(&head(200, &[])), &trailers, Outcome::Complete, false).unwrap();
        assert_eq!(
            (found.code, found.code.name(), &*found.value),
            (Code(5), "NOT_FOUND", "5")
        );
        assert_eq!(
            (found.message.as_deref(), found.source),
            (Some("no such"), Source::Trailers)
        );
        assert!(found.has_details);
        let only = head(200, &[("Grpc-Status", " 12 ")]);
        let found = status(Some(&only), &[], Outcome::Complete, false).unwrap();
        assert_eq!((found.code.name(), found.source), ("UNIMPLEMENTED", Source::Head));
        assert_eq!((found.message, found.has_details), (None, false));
        // A server may reset after its trailers, to stop a client that still sends.
        let found = status(Some(&head(200, &[])), &trailers, Outcome::Reset(0), true).unwrap();
        assert_eq!((found.code, found.source), (Code(5), Source::Trailers));
    }

    #[test]
    fn a_status_without_a_name_is_unknown_and_shown_as_sent() {
        for (value, code) in [("17", 17), ("4294967296", 2), ("x", 2), ("-1", 2), ("", 2)] {
            let trailers = fields(&[("grpc-status", value)]);
            let found = status(None, &trailers, Outcome::Complete, false).unwrap();
            assert_eq!(
                (found.code.0, &*found.value, found.code.name()),
                (code, value, "UNKNOWN")
            );
        }
        let long = fields(&[("grpc-status", &"9".repeat(100))]);
        assert_eq!(
            status(None, &long, Outcome::Complete, false).unwrap().value.len(),
            32
        );
    }

    /// What is not sent is told apart from what is, by its source; what cannot be known is not made up.
    #[test]
    fn without_a_status_it_is_what_clients_make_of_the_end() {
        let ok = head(200, &[]);
        for (response, outcome, timed_out, expected) in [
            (
                Some(&ok),
                Outcome::Reset(8),
                true,
                Some(("DEADLINE_EXCEEDED", Source::Deadline)),
            ),
            (
                None,
                Outcome::Reset(0),
                true,
                Some(("DEADLINE_EXCEEDED", Source::Deadline)),
            ),
            (
                Some(&ok),
                Outcome::Reset(8),
                false,
                Some(("CANCELLED", Source::Reset)),
            ),
            (
                Some(&ok),
                Outcome::Reset(7),
                true,
                Some(("UNAVAILABLE", Source::Reset)),
            ),
            (
                Some(&ok),
                Outcome::Reset(11),
                false,
                Some(("RESOURCE_EXHAUSTED", Source::Reset)),
            ),
            (
                Some(&ok),
                Outcome::Reset(12),
                false,
                Some(("PERMISSION_DENIED", Source::Reset)),
            ),
            (
                Some(&ok),
                Outcome::Reset(1),
                false,
                Some(("INTERNAL", Source::Reset)),
            ),
            (
                Some(&ok),
                Outcome::Reset(999),
                false,
                Some(("UNKNOWN", Source::Reset)),
            ),
            (
                None,
                Outcome::Refused,
                false,
                Some(("UNAVAILABLE", Source::Refused)),
            ),
            (
                Some(&ok),
                Outcome::Canceled,
                false,
                Some(("CANCELLED", Source::Closed)),
            ),
            (Some(&ok), Outcome::Complete, false, None),
            (Some(&ok), Outcome::Incomplete, true, None),
            (None, Outcome::Timeout, true, None),
        ] {
            let found = status(response, &[], outcome, timed_out);
            let found = found.map(|found| (found.code.name(), found.source));
            assert_eq!(found, expected, "{outcome:?}");
        }
        for (http, name) in [
            (400, "INTERNAL"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "UNIMPLEMENTED"),
            (429, "UNAVAILABLE"),
            (502, "UNAVAILABLE"),
            (503, "UNAVAILABLE"),
            (504, "UNAVAILABLE"),
            (500, "UNKNOWN"),
            (302, "UNKNOWN"),
        ] {
            let found = status(Some(&head(http, &[])), &[], Outcome::Complete, false).unwrap();
            assert_eq!((found.code.name(), found.source), (name, Source::Http), "{http}");
        }
    }

    /// P-G2: the mapping of `protocols.md` §5, whole.
    #[test]
    fn p_g2_every_code_has_a_status_of_http() {
        let expected = [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500,
        ];
        let mapped: Vec<u16> = (0..18).map(|code| Code(code).http_status()).collect();
        assert_eq!(mapped, expected);
    }
}
