//! What our events say beyond the original's (DESIGN §5, P-L7): how a transaction ended and what is missing of it.

use qtap_engine::{Body, Transaction};
use qtap_protocol::{Outcome, Upgrade};
use serde::Serialize;

use super::{MessageNotes, is_false, is_zero};

/// Additions to `request` events, artifacts and JSON access logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Notes {
    /// `complete`, `canceled`, `reset`, `refused`, `timeout`, `incomplete` or `upgraded`; `open` of an event stream that goes on.
    pub outcome: &'static str,
    /// It goes on: the record says what it came to so far, and another one with its id follows.
    #[serde(skip_serializing_if = "is_false")]
    pub partial: bool,
    /// Error code of the reset (RFC 9113 §7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u32>,
    /// Bytes of it were not captured.
    #[serde(skip_serializing_if = "is_false")]
    pub incomplete: bool,
    /// How many, both directions.
    #[serde(skip_serializing_if = "is_zero")]
    pub gap_bytes: u64,
    /// The server answered whole, and then wanted no more of the request: its body is what the client had sent by then.
    #[serde(skip_serializing_if = "is_false")]
    pub request_aborted: bool,
    /// No response head, or none with a status, was seen: the 422 of the compatible field is not from the wire.
    #[serde(skip_serializing_if = "is_false")]
    pub status_unknown: bool,
    /// Fields of either head, or trailers, could not be decoded or were cut.
    #[serde(skip_serializing_if = "is_false")]
    pub headers_partial: bool,
    /// Interim statuses in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interim: Vec<u16>,
    /// `websocket`, `h2c`, `tunnel` or the token of the `Upgrade` field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgraded_to: Option<String>,
    /// Last request byte → first response byte, milliseconds with microseconds as decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<f64>,
    /// First request byte → last byte of all, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<f64>,
    /// Of WebSockets and event streams.
    #[serde(flatten)]
    pub messages: MessageNotes,
}

impl Notes {
    /// Notes on `transaction`.
    #[must_use]
    pub fn new(transaction: &Transaction) -> Self {
        let response = transaction.response.as_ref();
        let gap_bytes = transaction.gap_bytes();
        Self {
            outcome: outcome_of(transaction),
            partial: transaction.partial,
            error_code: match transaction.outcome {
                Outcome::Reset(code) => Some(code),
                _ => None,
            },
            incomplete: gap_bytes > 0 || transaction.outcome == Outcome::Incomplete,
            gap_bytes,
            request_aborted: transaction.is_request_aborted(),
            status_unknown: response.is_none_or(|head| head.status == 0),
            headers_partial: is_headers_partial(transaction),
            interim: transaction.interim.clone(),
            upgraded_to: transaction
                .upgraded_to
                .as_ref()
                .map(|to| upgrade_name(to).to_owned()),
            ttfb_ms: transaction.ttfb_ns().map(milliseconds),
            total_ms: transaction.total_ns().map(milliseconds),
            messages: MessageNotes::new(transaction),
        }
    }
}

/// Additions about one body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BodyNotes {
    /// `body` is not all of it, because of a limit.
    #[serde(skip_serializing_if = "is_false")]
    pub body_truncated: bool,
    /// Length as sent, content coding kept, beyond limits and over gaps.
    #[serde(skip_serializing_if = "is_zero")]
    pub body_size_total: u64,
    /// Bytes of that which were not captured.
    #[serde(skip_serializing_if = "is_zero")]
    pub body_gap_bytes: u64,
    /// Content coding of the message; it has been removed from `body` unless `decode_error` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<String>,
    /// Why the content coding could not be removed; `body` is as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_error: Option<String>,
}

impl From<&Body> for BodyNotes {
    fn from(body: &Body) -> Self {
        Self {
            body_truncated: body.truncated,
            body_size_total: body.total,
            body_gap_bytes: body.gap_bytes,
            body_encoding: body.encoding.clone(),
            decode_error: body.decode_error.clone(),
        }
    }
}

/// `outcome` of `transaction`, which may go on.
#[must_use]
pub const fn outcome_of(transaction: &Transaction) -> &'static str {
    match transaction.outcome {
        Outcome::Complete if transaction.partial => "open",
        outcome => outcome_name(outcome),
    }
}

/// Fields of either head could not be decoded or were cut.
pub(crate) fn is_headers_partial(transaction: &Transaction) -> bool {
    let response = transaction.response.as_ref();
    transaction.request.partial
        || transaction.request.truncated
        || response.is_some_and(|head| head.partial || head.truncated)
        || transaction.request_half.trailers_partial
        || transaction.response_half.trailers_partial
}

/// `outcome` in events.
#[must_use]
pub const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Canceled => "canceled",
        Outcome::Reset(_) => "reset",
        Outcome::Refused => "refused",
        Outcome::Timeout => "timeout",
        Outcome::Incomplete => "incomplete",
        Outcome::Upgraded => "upgraded",
    }
}

/// `upgraded_to` in events.
#[must_use]
pub fn upgrade_name(upgrade: &Upgrade) -> &str {
    match upgrade {
        Upgrade::WebSocket => "websocket",
        Upgrade::H2c => "h2c",
        Upgrade::Tunnel => "tunnel",
        Upgrade::Other(token) => token,
    }
}

/// Milliseconds with three decimals.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53 microseconds, 285 years"
)]
pub(super) fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1_000) as f64 / 1_000.0
}

/// [`milliseconds`] as JSON at the end of `out`: the digits are known, so they need not be searched for.
pub(crate) fn write_milliseconds(nanoseconds: u64, out: &mut Vec<u8>) {
    let microseconds = nanoseconds / 1_000;
    let (whole, [hundreds, tens, ones]) = (microseconds / 1_000, digits(microseconds % 1_000));
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    out.extend_from_slice(&[b'.', hundreds]);
    if ones != b'0' {
        out.extend_from_slice(&[tens, ones]);
    } else if tens != b'0' {
        out.push(tens);
    }
}

/// Digits of a number below 1,000.
fn digits(number: u64) -> [u8; 3] {
    [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn milliseconds_are_written_as_the_number_they_are(nanoseconds in prop_oneof![0..5_000_000_u64, 0..1_u64 << 60]) {
            let mut out = Vec::new();
            write_milliseconds(nanoseconds, &mut out);
            let expected = serde_json::to_string(&milliseconds(nanoseconds)).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
